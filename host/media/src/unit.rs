//! What a path sends to its readers: encoded video and audio, with one time for both.

use crate::codecs::Codec;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// One encoded frame, or some milliseconds of encoded audio.
#[derive(Clone, Debug)]
pub(crate) struct Unit {
    /// The path it is shown on.
    pub path: u64,
    pub track: Track,
    /// H264 and H265 are byte streams that repeat the parameter sets before each key frame, AAC comes without headers.
    pub data: Arc<[u8]>,
    /// Whether decoding can start here. So it can at all audio.
    pub is_key_frame: bool,
    /// When it is due to be seen or heard.
    pub shown_at: Instant,
    /// The same since the path was opened: one clock for all tracks.
    pub time: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Track {
    Video(Codec),
    Audio(Arc<AudioFormat>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AudioCodec {
    Opus,
    Aac,
}

impl AudioCodec {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Opus => "Opus",
            Self::Aac => "AAC",
        }
    }

    /// What it is transcoded to.
    pub(crate) const fn other(self) -> Self {
        match self {
            Self::Opus => Self::Aac,
            Self::Aac => Self::Opus,
        }
    }
}

/// What a decoder must know before the first sound.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct AudioFormat {
    pub codec: AudioCodec,
    /// Samples per second. Opus always counts 48000.
    pub rate: u32,
    pub channels: u8,
    /// AAC's AudioSpecificConfig (ISO 14496-3, 1.6.2.1); empty for Opus.
    pub config: Arc<[u8]>,
}

impl Unit {
    /// Its time on a clock of so many ticks a second, as RTP and containers have them.
    pub fn ticks(&self, rate: u32) -> u64 {
        u64::try_from(self.time.as_nanos() * u128::from(rate) / 1_000_000_000).unwrap_or(u64::MAX)
    }
}
