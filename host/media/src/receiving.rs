//! What a publishing peer sends: video to its decoder, audio to the path, the clocks of both to where they are needed.

use crate::audio::{Nanos, Source};
use crate::codecs::Codec;
use crate::path::PathState;
use crate::reception::Reception;
use crate::rtp_clock::RtpClock;
use crate::unit::{AudioCodec, AudioFormat};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Instant, UNIX_EPOCH};
use str0m::media::{MediaData, SenderFeedback};
use str0m::rtp::SeqNo;

const VIDEO_RATE: u32 = 90_000;
const AUDIO_RATE: u32 = 48_000;

pub(crate) struct Receiving {
    path: Arc<PathState>,
    video: Reception,
    source: Source,
    format: Arc<AudioFormat>,
    video_track: RtpTrack,
    audio_track: RtpTrack,
}

impl Receiving {
    pub fn start(path: &Arc<PathState>, codec: Codec, source: Source) -> std::io::Result<Self> {
        let video = Reception::start(path.clone(), codec)?;
        let (codec, config) = (AudioCodec::Opus, Arc::from([]));
        // What is coded as mono is decoded as stereo as well.
        let format = Arc::new(AudioFormat { codec, rate: AUDIO_RATE, channels: 2, config });
        let [video_track, audio_track] = [VIDEO_RATE, AUDIO_RATE].map(RtpTrack::new);
        Ok(Self { path: path.clone(), video, source, format, video_track, audio_track })
    }

    /// Takes a frame. False if it was of no use and nothing will be before a key frame.
    pub fn video(&mut self, data: MediaData, now: Instant) -> bool {
        self.count(&data, |receiving| &mut receiving.video_track);
        let time = self.video_track.clock.read(data.time.numer() as u32);
        self.path.egress.audio.picture_came(self.source, time, now);
        self.video.take(data.data, data.contiguous, now)
    }

    pub fn audio(&mut self, data: MediaData, now: Instant) {
        self.count(&data, |receiving| &mut receiving.audio_track);
        let time = self.audio_track.clock.read(data.time.numer() as u32);
        let packet = (data.data, time);
        self.path.egress.audio.take(self.source, &self.format, packet, now);
    }

    /// What the publisher says of a track's clock and the wall's.
    pub fn report(&mut self, report: &SenderFeedback, is_audio: bool) {
        let track = if is_audio { &mut self.audio_track } else { &mut self.video_track };
        let info = &report.sender_info;
        let since = info.ntp_time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let wall = Nanos::try_from(since.as_nanos()).unwrap_or(Nanos::MAX);
        track.clock.report(info.rtp_time.numer() as u32, wall);
        if let Some(skew) = self.audio_track.clock.skew(&self.video_track.clock) {
            self.path.egress.audio.related(self.source, skew);
        }
    }

    fn count(&mut self, data: &MediaData, track: impl Fn(&mut Self) -> &mut RtpTrack) {
        let missing = track(self).missing(&data.seq_range);
        let counters = &self.path.ingress_counters;
        let (first, last) = (**data.seq_range.start(), **data.seq_range.end());
        counters.bytes_received.add(data.data.len() as u64);
        counters.packets_received.add((last + 1).saturating_sub(first));
        counters.packets_lost.add(missing);
    }
}

/// A track's clock and packets.
struct RtpTrack {
    clock: RtpClock,
    next_packet: Option<u64>,
}

impl RtpTrack {
    fn new(rate: u32) -> Self {
        Self { clock: RtpClock::new(rate), next_packet: None }
    }

    /// Packets lost before these.
    fn missing(&mut self, packets: &RangeInclusive<SeqNo>) -> u64 {
        let next = self.next_packet.replace(**packets.end() + 1);
        next.map_or(0, |next| packets.start().saturating_sub(next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_that_did_not_come_are_missing_once() {
        let mut track = RtpTrack::new(48_000);
        let range = |from: u64, to: u64| SeqNo::from(from)..=SeqNo::from(to);
        assert_eq!(track.missing(&range(7, 9)), 0);
        assert_eq!(track.missing(&range(12, 12)), 2);
        assert_eq!(track.missing(&range(13, 13)), 0);
    }
}
