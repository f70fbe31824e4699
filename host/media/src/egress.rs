//! What a path shows: the last frame, and an encoder for each codec in use.

use crate::audio::Audio;
use crate::codecs::{Codec, Codecs};
use crate::counters::EgressCounters;
use crate::encoder::{Encoder, Outlet};
use crate::unit::{AudioCodec, Unit};
use host_ports::Frame;
use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{broadcast, mpsc};

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
}

#[derive(Default)]
pub(crate) struct EgressState {
    shown: Option<Frame>,
    encoders: HashMap<Codec, Running>,
}

struct Running {
    encoder: Encoder,
    readers: usize,
    idle_since: Instant,
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
    }

    pub fn has_shown(&self) -> bool {
        self.lock().shown.is_some()
    }

    /// Counts a reader in; the first one of a codec starts its encoder.
    pub fn admit(&self, codec: Codec, audio: Option<AudioCodec>) -> io::Result<()> {
        let mut state = self.lock();
        if !state.encoders.contains_key(&codec) {
            let encoder = self.start(codec)?;
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

    fn start(&self, codec: Codec) -> io::Result<Encoder> {
        let outlet = Outlet {
            path: self.path,
            opened_at: self.opened_at,
            units: self.units.clone(),
            feeds: self.feeds.clone(),
            audio: self.audio.clone(),
            counters: self.counters.clone(),
        };
        Encoder::start(codec, self.codecs.encoders_of(codec), self.bitrate_kbps, outlet)
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
        *self.lock() = EgressState::default();
        self.audio.close();
    }

    fn lock(&self) -> MutexGuard<'_, EgressState> {
        // Whole values are put in or taken out: a panic elsewhere leaves nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
