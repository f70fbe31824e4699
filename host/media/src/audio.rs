//! A publisher's audio on its way to the readers: delayed as the pictures are (`sync`, `line`, `held`), and made
//! another codec of where readers want one that the publisher does not send (`transcoder`, `evenly`, `codecs`).

mod codecs;
mod evenly;
mod held;
mod line;
mod opus;
mod sync;
mod transcoder;

use crate::codecs::Codecs;
use crate::egress::IDLE;
use crate::unit::{AudioCodec, AudioFormat};
use held::Held;
use line::Packet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use transcoder::Transcoder;

pub(crate) use codecs::AudioCodecs;
pub use codecs::MissingAudioElements;
pub(crate) use held::Outlet;
pub(crate) use sync::Nanos;

/// More than any codec makes of one packet.
const MAX_PACKET: usize = 16 * 1024;

/// A path's audio.
pub(crate) struct Audio {
    held: Arc<Held>,
    codecs: Arc<Codecs>,
    making: Mutex<Making>,
}

/// Names the publisher whose audio is taken: a newer one takes its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Source(u64);

#[derive(Default)]
struct Making {
    source: u64,
    /// What the publisher sends.
    format: Option<Arc<AudioFormat>>,
    readers: Readers,
    transcoder: Option<Transcoder>,
    /// That the machine cannot make what is wanted was told.
    is_refused: bool,
}

/// Those of each codec, and since when there are none.
#[derive(Default)]
struct Readers {
    opus: Reading,
    aac: Reading,
}

#[derive(Default)]
struct Reading {
    count: usize,
    idle_since: Option<Instant>,
}

/// What readers and operators are told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct AudioStats {
    pub received: Option<AudioCodec>,
    pub packets: u64,
    pub dropped: u64,
    pub delay: Option<Duration>,
    /// What is made of what is received.
    pub transcoded: Option<AudioCodec>,
}

impl Audio {
    pub fn new(codecs: Arc<Codecs>, outlet: Outlet) -> Self {
        Self { held: Held::new(outlet), codecs, making: Mutex::default() }
    }

    /// From now on only packets of this publisher are taken.
    pub fn begin(&self) -> Source {
        let mut making = self.lock();
        making.source += 1;
        let source = making.source;
        (making.format, making.is_refused) = (None, false);
        let retired = making.transcoder.take();
        self.held.restart(source);
        drop(making);
        // Its thread may wait for what was locked.
        drop(retired);
        Source(source)
    }

    /// A picture of the publisher's came; `time` is its own clock of video.
    pub fn picture_came(&self, source: Source, time: Duration, received_at: Instant) {
        self.held.picture_came(source.0, nanos(time), received_at);
    }

    /// The publisher's clocks tell the same moment when that of video is ahead by so much.
    pub fn related(&self, source: Source, skew: Nanos) {
        self.held.related(source.0, skew);
    }

    /// A picture that came at `captured_at` is shown at `now`.
    pub fn picture_shown(&self, captured_at: Instant, now: Instant) {
        self.held.picture_shown(captured_at, now);
    }

    /// Takes a packet; `time` is the publisher's own clock of audio, of any origin.
    pub fn take(
        &self,
        source: Source,
        format: &Arc<AudioFormat>,
        (data, time): (Arc<[u8]>, Duration),
        received_at: Instant,
    ) {
        let duration = duration(format, &data);
        let Some(duration) = duration.filter(|_| data.len() <= MAX_PACKET) else {
            return self.held.drop_one();
        };
        let theirs = nanos(time);
        let packet = Packet { format: format.clone(), data, theirs, duration };
        if self.held.take(source.0, packet.clone(), received_at) {
            self.transcode(source, packet);
        }
    }

    /// Gives a packet to the transcoder, which is started if readers want what it makes.
    fn transcode(&self, source: Source, packet: Packet) {
        let mut making = self.lock();
        if making.source != source.0 {
            return;
        }
        let mut retired = None;
        if making.format.as_ref() != Some(&packet.format) {
            retired = making.transcoder.take();
            (making.format, making.is_refused) = (Some(packet.format.clone()), false);
        }
        let (from, to) = (packet.format.codec, packet.format.codec.other());
        if making.transcoder.is_none() && !making.is_refused && making.readers.of(to).count > 0 {
            match self.start(source, from) {
                Ok(transcoder) => making.transcoder = Some(transcoder),
                Err(error) => {
                    making.is_refused = true;
                    tracing::warn!(error = %error, "readers of {} get no audio", to.name());
                }
            }
        }
        if making.transcoder.as_ref().is_some_and(|transcoder| !transcoder.push(packet)) {
            self.held.drop_one();
        }
        drop(making);
        drop(retired);
    }

    fn start(&self, source: Source, from: AudioCodec) -> Result<Transcoder, StartError> {
        let elements = self.codecs.audio.between(from, from.other())?;
        let held = self.held.clone();
        Ok(Transcoder::start(elements, move |packet| held.made(source.0, packet))?)
    }

    /// Counts a reader in.
    pub fn admit(&self, codec: AudioCodec) {
        let reading = &mut self.lock().readers;
        reading.of(codec).count += 1;
        self.held.count_readers(codec, reading.of(codec).count);
    }

    /// Counts a reader out. Call `reap` after `IDLE`.
    pub fn release(&self, codec: AudioCodec) {
        let reading = &mut self.lock().readers;
        let of_codec = reading.of(codec);
        of_codec.count = of_codec.count.saturating_sub(1);
        of_codec.idle_since = Some(Instant::now());
        self.held.count_readers(codec, of_codec.count);
    }

    /// Stops the transcoder if what it makes had no reader for long.
    pub fn reap(&self) {
        let mut making = self.lock();
        let Some(made) = making.format.as_ref().map(|format| format.codec.other()) else { return };
        let reading = making.readers.of(made);
        let is_idle = reading.idle_since.is_none_or(|since| since.elapsed() >= IDLE);
        let retired = (reading.count == 0 && is_idle).then(|| making.transcoder.take());
        drop(making);
        drop(retired);
    }

    /// Ends what runs for it.
    pub fn close(&self) {
        self.begin();
    }

    pub fn stats(&self) -> AudioStats {
        let making = self.lock();
        let received = making.format.as_ref().map(|format| format.codec);
        let transcoded = making.transcoder.as_ref().and(received).map(AudioCodec::other);
        AudioStats { received, transcoded, ..self.held.stats() }
    }

    fn lock(&self) -> MutexGuard<'_, Making> {
        // Whole values are put in or taken out: a panic elsewhere leaves nothing half done.
        self.making.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error(transparent)]
    Missing(#[from] MissingAudioElements),
    #[error("no thread to transcode audio")]
    Thread(#[from] std::io::Error),
}

impl Readers {
    const fn of(&mut self, codec: AudioCodec) -> &mut Reading {
        match codec {
            AudioCodec::Opus => &mut self.opus,
            AudioCodec::Aac => &mut self.aac,
        }
    }
}

/// How long a packet sounds; none if it is no packet of its codec.
fn duration(format: &AudioFormat, data: &[u8]) -> Option<Nanos> {
    match format.codec {
        AudioCodec::Opus => opus::duration(data),
        AudioCodec::Aac if data.is_empty() || format.rate == 0 => None,
        AudioCodec::Aac => Some(1024 * 1_000_000_000 / Nanos::from(format.rate)),
    }
}

fn nanos(time: Duration) -> Nanos {
    Nanos::try_from(time.as_nanos()).unwrap_or(Nanos::MAX)
}

#[cfg(test)]
#[path = "audio/path_tests.rs"]
mod tests;
