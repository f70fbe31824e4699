//! How often frames come, for encoders that share their bits out by the frame: told a rate of 30 frames/s, they would
//! give a pipeline of 10 a third of the bits that it may have.

use std::time::{Duration, Instant};

/// The rate that encoders are built for.
const NOMINAL: Duration = Duration::from_micros(33_333);

/// Beyond these a frame's share no longer changes.
const SHORTEST: Duration = Duration::from_micros(16_667);
const LONGEST: Duration = Duration::from_millis(200);

pub(crate) struct Pace {
    last: Option<Instant>,
    mean: Duration,
    /// What the encoder goes by.
    told: Duration,
}

impl Pace {
    /// Of an encoder that was just built.
    pub fn new() -> Self {
        Self { last: None, mean: NOMINAL, told: NOMINAL }
    }

    /// Notes a frame. When the pace has changed: what the encoder's bitrate is to be multiplied by.
    pub fn note(&mut self, now: Instant) -> Option<f64> {
        let last = self.last.replace(now)?;
        let took = now.saturating_duration_since(last).clamp(SHORTEST, LONGEST);
        // More frames than expected soon fill the way to the readers; fewer only leave it unused.
        self.mean =
            if took < self.mean { (self.mean + took) / 2 } else { self.mean * 7 / 8 + took / 8 };
        if self.mean.abs_diff(self.told) <= self.told / 4 {
            return None;
        }
        self.told = self.mean;
        Some(self.told.as_secs_f64() / NOMINAL.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The factor in effect after so many frames at each of these intervals, in milliseconds.
    fn after(frames: &[(u32, u64)]) -> f64 {
        let (mut pace, mut now, mut factor) = (Pace::new(), Instant::now(), 1.0);
        for (count, interval) in frames {
            for _ in 0..*count {
                now += Duration::from_millis(*interval);
                factor = pace.note(now).unwrap_or(factor);
            }
        }
        factor
    }

    #[test]
    fn slow_frames_get_the_bits_of_those_that_do_not_come() {
        assert!((2.3..=3.1).contains(&after(&[(60, 100)])), "{}", after(&[(60, 100)]));
        assert!((4.5..=6.0).contains(&after(&[(60, 5000)])), "{}", after(&[(60, 5000)]));
    }

    #[test]
    fn a_steady_pace_changes_nothing_and_a_quicker_one_counts_within_a_few_frames() {
        assert_eq!(after(&[(60, 33)]), 1.0);
        assert!(after(&[(60, 100), (6, 33)]) < 1.3, "{}", after(&[(60, 100), (6, 33)]));
    }
}
