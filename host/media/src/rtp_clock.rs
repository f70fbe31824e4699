//! The clock of a track in RTP, and what its sender says of it (RFC 3550, 6.4.1).

use crate::audio::Nanos;
use std::time::Duration;

/// Reads the time stamps of one track.
#[derive(Debug)]
pub(crate) struct RtpClock {
    /// Ticks in a second.
    rate: u32,
    ticks: Unwrapped,
    /// A report that came before any packet.
    early: Option<(u32, Nanos)>,
    /// What is added to the track's time to be its sender's wall clock.
    origin: Option<Nanos>,
}

impl RtpClock {
    pub fn new(rate: u32) -> Self {
        Self { rate, ticks: Unwrapped::default(), early: None, origin: None }
    }

    /// Forgets all: other packets come, by another clock.
    pub fn restart(&mut self) {
        *self = Self::new(self.rate);
    }

    /// The time of a packet, of any origin.
    pub fn read(&mut self, timestamp: u32) -> Duration {
        let ticks = self.ticks.read(timestamp);
        if let Some((timestamp, wall)) = self.early.take() {
            self.report(timestamp, wall);
        }
        Duration::from_nanos(u64::try_from(self.nanos(ticks)).unwrap_or(0))
    }

    /// Its sender says which time of the wall clock a time stamp is; of which year, nobody asks.
    pub fn report(&mut self, timestamp: u32, wall: Nanos) {
        let Some(last) = self.ticks.last() else {
            self.early = Some((timestamp, wall));
            return;
        };
        // It is close to the last packet's, whose upper bits it lacks.
        let ahead = timestamp.wrapping_sub(last as u32).cast_signed();
        self.origin = last
            .checked_add_signed(ahead.into())
            .map(|ticks| wall.saturating_sub(self.nanos(ticks)))
            .or(self.origin);
    }

    /// What this clock of audio is to be added to, to be that of video; none before both were reported on.
    pub fn skew(&self, video: &Self) -> Option<Nanos> {
        Some(self.origin?.saturating_sub(video.origin?))
    }

    fn nanos(&self, ticks: u64) -> Nanos {
        let nanos = u128::from(ticks) * 1_000_000_000 / u128::from(self.rate.max(1));
        Nanos::try_from(nanos).unwrap_or(Nanos::MAX)
    }
}

/// A clock of 32 bits that turns over, as one that does not.
#[derive(Debug, Default)]
struct Unwrapped(Option<u64>);

impl Unwrapped {
    fn read(&mut self, timestamp: u32) -> u64 {
        // Room for steps back from the first one.
        let last = self.0.unwrap_or(1 << 32 | u64::from(timestamp));
        // Steps back are small; larger ones are steps forward.
        let step = timestamp.wrapping_sub(last as u32).cast_signed();
        let now = last.saturating_add_signed(step.into());
        self.0 = Some(now);
        now
    }

    fn last(&self) -> Option<u64> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Nanos = 1_000_000_000;

    #[test]
    fn a_clock_goes_on_where_its_bits_end() {
        let mut clock = RtpClock::new(1000);
        let start = clock.read(u32::MAX - 9);
        assert_eq!(clock.read(10) - start, Duration::from_millis(20));
        assert_eq!(clock.read(u32::MAX - 9), start);
    }

    /// The tracks of a sender whose audio, of one second, is captured with the video of the same second.
    fn skew_of(audio_begins: u32, video_begins: u32, reports: &[(bool, u32)]) -> Option<Nanos> {
        let (mut audio, mut video) = (RtpClock::new(48_000), RtpClock::new(90_000));
        let (heard, seen) = (audio.read(audio_begins), video.read(video_begins));
        for (is_audio, second) in reports {
            let wall = Nanos::from(*second) * SECOND;
            match is_audio {
                true => audio.report(audio_begins.wrapping_add(second * 48_000), wall),
                false => video.report(video_begins.wrapping_add(second * 90_000), wall),
            }
        }
        let skew = audio.skew(&video)?;
        let apart = seen.as_nanos() as Nanos - heard.as_nanos() as Nanos;
        Some(skew - apart)
    }

    #[test]
    fn reports_on_both_tracks_relate_them_wherever_their_clocks_begin_and_turn_over() {
        assert_eq!(skew_of(7, 9, &[(true, 1)]), None);
        for (audio, video) in [(0, 0), (5, u32::MAX - 3), (u32::MAX - 30_000, 1 << 31)] {
            for reports in [[(true, 1), (false, 3)], [(false, 2), (true, 1)]] {
                let off = skew_of(audio, video, &reports).unwrap();
                assert!(off.abs() <= 40_000, "{off} ns");
            }
        }
    }

    #[test]
    fn a_report_that_comes_before_the_first_packet_is_kept_for_it() {
        let (mut audio, mut video) = (RtpClock::new(48_000), RtpClock::new(90_000));
        audio.report(48_000, 10 * SECOND);
        video.report(0, 10 * SECOND);
        assert_eq!(audio.skew(&video), None);
        let (heard, seen) = (audio.read(48_000), video.read(90_000));
        let moment = |time: Duration| time.as_nanos() as Nanos;
        let skew = audio.skew(&video).unwrap();
        assert_eq!(moment(heard) + skew - (moment(seen) - SECOND), 0);
    }

    proptest! {
        #[test]
        fn no_sender_makes_it_overflow(
            steps in prop::collection::vec((any::<u32>(), any::<u32>(), any::<Nanos>()), 0..50),
            rate in 0..200_000_u32,
        ) {
            let (mut clock, mut other) = (RtpClock::new(rate), RtpClock::new(90_000));
            for (timestamp, reported, wall) in steps {
                other.report(reported, wall);
                clock.read(timestamp);
                other.read(reported);
                clock.report(reported, wall);
                prop_assert!(clock.skew(&other).is_some());
            }
        }
    }
}
