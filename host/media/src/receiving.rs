//! What a publishing peer sends: video to its decoder, audio to the path, the clocks of both to where they are needed.

use crate::audio::Source;
use crate::codecs::Codec;
use crate::path::PathState;
use crate::reception::Reception;
use crate::unit::{AudioCodec, AudioFormat};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
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
        let time = self.video_track.time(data.time.numer());
        self.path.egress.audio.picture_came(self.source, time, now);
        self.video.take(data.data, data.contiguous, now)
    }

    pub fn audio(&mut self, data: MediaData, now: Instant) {
        self.count(&data, |receiving| &mut receiving.audio_track);
        let time = self.audio_track.time(data.time.numer());
        let packet = (data.data, time);
        self.path.egress.audio.take(self.source, &self.format, packet, now);
    }

    /// What the publisher says of a track's clock and the wall's.
    pub fn report(&mut self, report: &SenderFeedback, is_audio: bool) {
        let track = if is_audio { &mut self.audio_track } else { &mut self.video_track };
        let info = &report.sender_info;
        track.report(info.rtp_time.numer() as u32, info.ntp_time);
        if let (Some(audio), Some(video)) = (self.audio_track.origin, self.video_track.origin) {
            self.path.egress.audio.related(self.source, audio.saturating_sub(video));
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
    rate: u32,
    next_packet: Option<u64>,
    last_time: Option<u64>,
    /// What is added to the track's time to be the publisher's wall clock, in nanoseconds.
    origin: Option<i64>,
}

impl RtpTrack {
    const fn new(rate: u32) -> Self {
        Self { rate, next_packet: None, last_time: None, origin: None }
    }

    /// Packets lost before these.
    fn missing(&mut self, packets: &RangeInclusive<SeqNo>) -> u64 {
        let next = self.next_packet.replace(**packets.end() + 1);
        next.map_or(0, |next| packets.start().saturating_sub(next))
    }

    fn time(&mut self, ticks: u64) -> Duration {
        self.last_time = Some(ticks);
        self.duration(ticks)
    }

    fn duration(&self, ticks: u64) -> Duration {
        let nanos = u128::from(ticks) * 1_000_000_000 / u128::from(self.rate);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// Takes a sender report. One that comes before any packet says nothing yet.
    fn report(&mut self, ticks: u32, wall: SystemTime) {
        let Some(last) = self.last_time else { return };
        // Reports have the lower 32 bits, of a time close to the last packet's.
        let ahead = ticks.wrapping_sub(last as u32) as i32;
        let Some(ticks) = last.checked_add_signed(ahead.into()) else { return };
        let nanos = |time: Duration| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX);
        let wall = wall.duration_since(UNIX_EPOCH).map_or(0, nanos);
        self.origin = Some(wall.saturating_sub(nanos(self.duration(ticks))));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn a_report_tells_the_wall_clock_of_a_track_also_where_its_time_wraps() {
        let mut track = RtpTrack::new(90_000);
        track.report(90_000, at(10));
        assert_eq!(track.origin, None, "nothing came yet");
        assert_eq!(track.time((1 << 32) - 45_000), Duration::from_nanos(47_721_358_844_444));
        track.report(45_000, at(1_000_000));
        let wraps = ((1_u64 << 32) + 45_000) * 1_000_000_000 / 90_000;
        assert_eq!(track.origin, Some(1_000_000_000_000_000 - wraps as i64));
    }

    #[test]
    fn a_report_from_before_time_began_is_no_report() {
        let mut track = RtpTrack::new(48_000);
        track.time(5);
        track.report(u32::MAX - 100_000, at(10));
        assert_eq!(track.origin, None);
    }

    #[test]
    fn packets_that_did_not_come_are_missing_once() {
        let mut track = RtpTrack::new(48_000);
        let range = |from: u64, to: u64| SeqNo::from(from)..=SeqNo::from(to);
        assert_eq!(track.missing(&range(7, 9)), 0);
        assert_eq!(track.missing(&range(12, 12)), 2);
        assert_eq!(track.missing(&range(13, 13)), 0);
    }
}
