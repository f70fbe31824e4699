//! How long frames take at one stage of their way: typical and worst values of the last seconds, and a histogram since the
//! start for those who collect over time. Bounded, whatever comes.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Percentiles are over this long.
const WINDOW: Duration = Duration::from_secs(5);
/// Enough for `WINDOW` at 100 frames a second; beyond that the window is shorter.
const MOST_SAMPLES: usize = 512;

/// Upper bounds of the histogram's buckets, in milliseconds; a last bucket takes what is longer.
pub const LATENCY_BOUNDS_MS: [u64; 12] = [1, 2, 5, 10, 20, 33, 50, 100, 200, 500, 1000, 2000];

/// Takes one stage's durations. A sample costs a few dozen nanoseconds and no memory once the window is full.
#[derive(Default)]
pub struct LatencyWindow {
    samples: VecDeque<(Instant, Duration)>,
    histogram: LatencyHistogram,
}

/// One stage's durations, as they stand at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LatencyFigures {
    /// Half of the window's frames were at most this long.
    pub p50: Option<Duration>,
    pub p95: Option<Duration>,
    pub p99: Option<Duration>,
    /// Frames in the window.
    pub count: usize,
    pub histogram: LatencyHistogram,
}

/// All durations since the start.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LatencyHistogram {
    /// By `LATENCY_BOUNDS_MS`, each without those before it; the last are longer than all bounds.
    pub buckets: [u64; LATENCY_BOUNDS_MS.len() + 1],
    pub sum: Duration,
}

impl LatencyWindow {
    pub fn record(&mut self, now: Instant, took: Duration) {
        if self.samples.len() == MOST_SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back((now, took));
        let is_beyond = |bound: &&u64| took > Duration::from_millis(**bound);
        self.histogram.buckets[LATENCY_BOUNDS_MS.iter().take_while(is_beyond).count()] += 1;
        self.histogram.sum = self.histogram.sum.saturating_add(took);
    }

    pub fn read(&self, now: Instant) -> LatencyFigures {
        let recent = self.samples.iter().filter(|(at, _)| is_recent(*at, now));
        let mut sorted: Vec<_> = recent.map(|(_, took)| *took).collect();
        sorted.sort_unstable();
        // The smallest value that so many of a hundred do not exceed.
        let percentile = |percent: usize| {
            let rank = (sorted.len() * percent).div_ceil(100);
            sorted.get(rank.checked_sub(1)?).copied()
        };
        LatencyFigures {
            p50: percentile(50),
            p95: percentile(95),
            p99: percentile(99),
            count: sorted.len(),
            histogram: self.histogram.clone(),
        }
    }
}

fn is_recent(at: Instant, now: Instant) -> bool {
    now.saturating_duration_since(at) <= WINDOW
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(milliseconds: impl Iterator<Item = u64>) -> (LatencyWindow, Instant) {
        let (mut window, now) = (LatencyWindow::default(), Instant::now());
        milliseconds.for_each(|took| window.record(now, Duration::from_millis(took)));
        (window, now)
    }

    #[test]
    fn percentiles_are_values_that_occurred() {
        let (window, now) = filled((1..=100).rev());
        let figures = window.read(now);
        let percentiles = [figures.p50, figures.p95, figures.p99].map(Option::unwrap);
        assert_eq!(percentiles, [50, 95, 99].map(Duration::from_millis));
        let (window, now) = filled(std::iter::once(7));
        assert_eq!(window.read(now).p99, Some(Duration::from_millis(7)));
        assert_eq!(LatencyWindow::default().read(now), LatencyFigures::default());
    }

    #[test]
    fn the_window_moves_on_and_the_histogram_keeps_all() {
        let (window, now) = filled([1, 2, 3, 5000].into_iter());
        let figures = window.read(now + WINDOW + Duration::from_millis(1));
        assert_eq!((figures.count, figures.p50), (0, None));
        let histogram = figures.histogram;
        assert_eq!((histogram.buckets[..3].to_vec(), histogram.buckets[12]), (vec![1, 1, 1], 1));
        assert_eq!(histogram.sum, Duration::from_millis(5006));
    }

    #[test]
    fn a_fast_stream_takes_no_more_memory() {
        let (window, now) = filled((0..10_000).map(|n| n % 10));
        assert_eq!((window.samples.len(), window.read(now).count), (MOST_SAMPLES, MOST_SAMPLES));
    }
}
