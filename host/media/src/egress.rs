//! What a path shows: the last frame, and an encoder for each codec in use.

use crate::audio::Audio;
use crate::codecs::{Codec, Codecs};
use crate::congestion;
use crate::counters::EgressCounters;
use crate::encoder::{Encoder, Outlet};
use crate::encoding::Encoding;
use crate::unit::{AudioCodec, Unit};
use host_ports::{Frame, SessionId, VideoSettings};
use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{broadcast, mpsc, watch};

/// How long an encoder is kept for the next reader after the last one left.
pub(crate) const IDLE: Duration = Duration::from_secs(5);

pub(crate) struct Egress {
    pub path: u64,
    pub codecs: Arc<Codecs>,
    pub bitrate_kbps: u32,
    pub opened_at: Instant,
    /// To the peer connections.
    pub units: mpsc::Sender<Unit>,
    /// To all other readers.
    pub feeds: broadcast::Sender<Unit>,
    pub audio: Arc<Audio>,
    pub counters: Arc<EgressCounters>,
    pub state: Mutex<EgressState>,
    /// Whether a frame was shown, for those who wait for the first.
    pub has_shown: watch::Sender<bool>,
}

#[derive(Default)]
pub(crate) struct EgressState {
    shown: Option<Frame>,
    settings: VideoSettings,
    encoders: HashMap<Codec, Running>,
    /// What the estimates to the readers carry that tell, in kbit/s.
    estimates: HashMap<SessionId, (Codec, u32)>,
}

struct Running {
    encoder: Encoder,
    readers: usize,
    idle_since: Instant,
}

impl EgressState {
    fn share_out(&mut self, codec: Codec, most_kbps: u32) {
        let Some(running) = self.encoders.get(&codec) else { return };
        let estimates = self.estimates.values().filter(|(of, _)| *of == codec);
        let kbps =
            congestion::common(estimates.map(|(_, kbps)| *kbps).collect()).unwrap_or(most_kbps);
        running.encoder.set_bitrate(kbps);
    }
}

impl Egress {
    pub fn show(&self, frame: Frame) {
        let mut state = self.lock();
        for running in state.encoders.values() {
            if !running.encoder.show(frame.clone()) {
                self.counters.frames_dropped.add(1);
            }
        }
        state.shown = Some(frame);
        self.has_shown.send_if_modified(|has_shown| !std::mem::replace(has_shown, true));
    }

    pub fn shown(&self) -> Option<Frame> {
        self.lock().shown.clone()
    }

    /// How frames are encoded from the next one on.
    pub fn set_video(&self, settings: VideoSettings) {
        let mut state = self.lock();
        state.settings = settings;
        for running in state.encoders.values() {
            running.encoder.set(settings);
        }
    }

    /// A reader's way carries so much. Its codec is encoded for what most of its readers can take.
    pub fn note_estimate(&self, reader: &SessionId, codec: Codec, kbps: u32) {
        let mut state = self.lock();
        state.estimates.insert(reader.clone(), (codec, kbps));
        state.share_out(codec, self.bitrate_kbps);
    }

    pub fn forget_estimate(&self, reader: &SessionId) {
        let mut state = self.lock();
        if let Some((codec, _)) = state.estimates.remove(reader) {
            state.share_out(codec, self.bitrate_kbps);
        }
    }

    /// What is sent now at most of a codec in use, in kbit/s.
    pub fn bitrate(&self, codec: Codec) -> Option<u32> {
        self.lock().encoders.get(&codec).map(|running| running.encoder.bitrate_kbps())
    }

    /// What is sent now at most, of each codec in use, in kbit/s.
    pub fn bitrates(&self) -> Vec<u32> {
        self.lock().encoders.values().map(|running| running.encoder.bitrate_kbps()).collect()
    }

    /// What readers are sent who take several.
    pub fn preferred_codec(&self) -> Option<Codec> {
        Codec::of(self.lock().settings.codec)
    }

    pub fn has_shown(&self) -> bool {
        self.lock().shown.is_some()
    }

    /// Counts a reader in; the first one of a codec starts its encoder.
    pub fn admit(&self, codec: Codec, audio: Option<AudioCodec>) -> io::Result<()> {
        let mut state = self.lock();
        if !state.encoders.contains_key(&codec) {
            let encoder = self.start(codec, state.settings)?;
            if let Some(frame) = &state.shown {
                // It has lain there for as long as nobody watched: that is no part of its way.
                let mut frame = frame.clone();
                (frame.made_at, frame.stamp.id) = (None, 0);
                encoder.show(frame);
            }
            state
                .encoders
                .insert(codec, Running { encoder, readers: 0, idle_since: Instant::now() });
        }
        if let Some(running) = state.encoders.get_mut(&codec) {
            running.readers += 1;
        }
        drop(state);
        audio.into_iter().for_each(|codec| self.audio.admit(codec));
        Ok(())
    }

    fn start(&self, codec: Codec, settings: VideoSettings) -> io::Result<Encoder> {
        let encoding = Encoding { settings, bitrate_kbps: self.bitrate_kbps };
        let outlet = Outlet {
            path: self.path,
            opened_at: self.opened_at,
            units: self.units.clone(),
            feeds: self.feeds.clone(),
            audio: self.audio.clone(),
            counters: self.counters.clone(),
        };
        Encoder::start(codec, self.codecs.encoders_of(codec), encoding, outlet)
    }

    /// Counts a reader out. Call `reap` after `IDLE`.
    pub fn release(&self, codec: Codec, audio: Option<AudioCodec>) {
        audio.into_iter().for_each(|codec| self.audio.release(codec));
        if let Some(running) = self.lock().encoders.get_mut(&codec) {
            running.readers = running.readers.saturating_sub(1);
            running.idle_since = Instant::now();
        }
    }

    /// Stops encoders that had no reader for long.
    pub fn reap(&self) {
        let is_idle =
            |running: &Running| running.readers == 0 && running.idle_since.elapsed() >= IDLE;
        self.lock().encoders.retain(|_, running| !is_idle(running));
        self.audio.reap();
    }

    pub fn want_key_frame(&self, codec: Codec) {
        if let Some(running) = self.lock().encoders.get(&codec) {
            running.encoder.want_key_frame();
        }
    }

    pub fn codecs_in_use(&self) -> Vec<&'static str> {
        let mut names: Vec<_> = self.lock().encoders.keys().map(|codec| codec.name()).collect();
        names.sort_unstable();
        names
    }

    /// Stops all encoders and gives the frame memory back.
    pub fn close(&self) {
        let mut state = self.lock();
        state.encoders.clear();
        state.shown = None;
        state.estimates.clear();
        drop(state);
        self.audio.close();
    }

    fn lock(&self) -> MutexGuard<'_, EgressState> {
        // Whole values are put in or taken out: a panic elsewhere leaves nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
