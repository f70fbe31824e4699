//! Decoded sound as one even run of samples: gaps are filled with silence, what overlaps is left out, so that an
//! encoder's output can be counted for hours without moving from the publisher's clock.

use super::codecs::{CHANNELS, RATE};
use super::sync::Nanos;

/// Times within this of where the samples stand are rounded or jitter.
const TOLERANCE: Nanos = 15_000_000;

/// A longer gap is no part of a run: another one begins after it.
const MAX_GAP: Nanos = 1_000_000_000;

/// Bytes of one sample of all channels.
const FRAME: usize = 2 * CHANNELS as usize;

const SECOND: Nanos = 1_000_000_000;

/// Where a run began, and how many samples it has.
pub(crate) struct Run {
    pub began: Nanos,
    samples: i64,
}

impl Run {
    pub fn new(began: Nanos) -> Self {
        Self { began, samples: 0 }
    }

    /// What is to be said next, so that `sound` stands at its time; none if that cannot be in this run.
    pub fn place(&mut self, theirs: Nanos, sound: &[u8]) -> Option<Vec<u8>> {
        let gap = theirs.saturating_sub(self.began.saturating_add(time_of(self.samples)));
        if gap.abs() > MAX_GAP {
            return None;
        }
        let missing = if gap.abs() <= TOLERANCE { 0 } else { gap * Nanos::from(RATE) / SECOND };
        let bytes = usize::try_from(missing.abs()).unwrap_or(0) * FRAME;
        let placed = if missing >= 0 {
            [&vec![0; bytes], sound].concat()
        } else {
            sound.get(bytes..).unwrap_or_default().to_vec()
        };
        self.samples += (placed.len() / FRAME) as i64;
        Some(placed)
    }

    /// When, since the run began, the last so many bytes of it are to be heard.
    pub fn time_of_last(&self, bytes: usize) -> Nanos {
        time_of(self.samples - (bytes / FRAME) as i64)
    }
}

/// How long so many samples sound.
pub(crate) fn time_of(samples: i64) -> Nanos {
    // In two parts: the product would not fit after some days.
    let rate = i64::from(RATE);
    samples / rate * SECOND + samples % rate * SECOND / rate
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Nanos = 1_000_000;

    fn sound(ms: usize) -> Vec<u8> {
        vec![1; ms * 48 * FRAME]
    }

    fn ms(bytes: &[u8]) -> usize {
        bytes.len() / 48 / FRAME
    }

    #[test]
    fn a_gap_is_filled_and_an_overlap_left_out() {
        let mut run = Run::new(7 * MS);
        assert_eq!(ms(&run.place(7 * MS, &sound(20)).unwrap()), 20);
        let filled = run.place(127 * MS, &sound(20)).unwrap();
        assert_eq!((ms(&filled), filled[0], filled.last()), (120, 0, Some(&1)));
        assert_eq!(ms(&run.place(107 * MS, &sound(60)).unwrap()), 20);
        assert_eq!(ms(&run.place(100 * MS, &sound(20)).unwrap()), 0);
    }

    #[test]
    fn rounding_changes_nothing() {
        let mut run = Run::new(0);
        let times = [0, 21, 43, 64, 85];
        assert!(
            times.iter().all(|at| run.place(at * MS, &sound(21)).unwrap().len() == sound(21).len())
        );
    }

    #[test]
    fn a_long_gap_and_a_step_back_end_the_run() {
        let mut run = Run::new(0);
        assert!(run.place(1001 * MS, &sound(20)).is_none());
        assert!(run.place(-1001 * MS, &sound(20)).is_none());
    }

    #[test]
    fn a_clock_that_runs_fast_or_slow_is_followed_for_hours() {
        for drift in [1.0002, 0.9998] {
            let mut run = Run::new(0);
            for packet in 0..360_000_i64 {
                let theirs = (packet as f64 * 20.0 * MS as f64 * drift) as Nanos;
                let placed = run.place(theirs, &sound(20)).unwrap();
                let ends = time_of(run.samples);
                let off = ends - placed.len() as i64 / FRAME as i64 * MS / 48 - theirs;
                assert!(off.abs() <= TOLERANCE + 21 * MS, "{off}");
                assert!((ends - theirs - 20 * MS).abs() <= TOLERANCE, "{}", ends - theirs);
            }
        }
    }

    #[test]
    fn samples_of_a_month_have_a_time() {
        assert_eq!(time_of(48_000 * 86_400 * 30 + 24), 86_400 * 30 * SECOND + SECOND / 2000);
    }
}
