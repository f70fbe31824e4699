//! Figures that hub and codec threads count and anyone may read.

use crate::audio::AudioStats;
use crate::codecs::Codec;
use crate::unit::AudioCodec;
use host_ports::{EgressStats, Frame, IngressStats, LatencyWindow};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

#[derive(Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Relaxed);
    }

    /// Counts one and returns the new sum.
    pub fn next(&self) -> u64 {
        self.0.fetch_add(1, Relaxed) + 1
    }

    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

#[derive(Default)]
pub(crate) struct IngressCounters {
    pub is_publishing: AtomicBool,
    codec: AtomicU8,
    pub frames_decoded: Counter,
    pub frames_delivered: Counter,
    pub frames_dropped: Counter,
    pub bytes_received: Counter,
    pub packets_received: Counter,
    pub packets_lost: Counter,
}

impl IngressCounters {
    pub fn set_codec(&self, codec: Codec) {
        self.codec.store(1 + codec as u8, Relaxed);
    }

    pub fn read(&self, audio: AudioStats) -> IngressStats {
        let codec =
            Codec::ALL.into_iter().find(|codec| 1 + *codec as u8 == self.codec.load(Relaxed));
        IngressStats {
            is_publishing: self.is_publishing.load(Relaxed),
            codec: codec.map(Codec::name),
            frames_decoded: self.frames_decoded.get(),
            frames_dropped: self.frames_dropped.get(),
            bytes_received: self.bytes_received.get(),
            packets_received: self.packets_received.get(),
            packets_lost: self.packets_lost.get(),
            audio_codec: audio.received.map(AudioCodec::name),
            audio_packets: audio.packets,
            audio_dropped: audio.dropped,
        }
    }
}

#[derive(Default)]
pub(crate) struct EgressCounters {
    pub frames_encoded: Counter,
    pub frames_dropped: Counter,
    pub bytes_sent: Counter,
    pub key_frames: Counter,
    latency: Mutex<Latency>,
}

#[derive(Default)]
struct Latency {
    encode: LatencyWindow,
    end_to_end: LatencyWindow,
}

impl EgressCounters {
    /// Times the way of a frame that was just encoded, if a pipeline made it. Only who reads the figures may hold the lock.
    pub fn time(&self, frame: &Frame) {
        let Some(made_at) = frame.made_at else { return };
        let now = Instant::now();
        let mut latency = self.latency.lock().unwrap_or_else(PoisonError::into_inner);
        latency.encode.record(now, now.saturating_duration_since(made_at));
        let captured_at = frame.stamp.captured_at;
        latency.end_to_end.record(now, now.saturating_duration_since(captured_at));
    }

    pub fn read(
        &self,
        readers: usize,
        codecs: Vec<&'static str>,
        bitrate_kbps: u32,
        audio: AudioStats,
    ) -> EgressStats {
        let now = Instant::now();
        let latency = self.latency.lock().unwrap_or_else(PoisonError::into_inner);
        EgressStats {
            readers,
            codecs,
            bitrate_kbps,
            frames_encoded: self.frames_encoded.get(),
            frames_dropped: self.frames_dropped.get(),
            bytes_sent: self.bytes_sent.get(),
            key_frames: self.key_frames.get(),
            encode_latency: latency.encode.read(now),
            end_to_end_latency: latency.end_to_end.read(now),
            audio_delay: audio.delay,
            audio_transcoded: audio.transcoded.map(AudioCodec::name),
        }
    }
}
