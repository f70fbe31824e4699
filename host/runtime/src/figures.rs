//! Counts a stream's frames and times their way. Bounded, whatever comes.

use crate::{Drops, FrameFigures};
use host_ports::{Frame, LatencyWindow, Metric};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// Rates and middle values are over this long.
const WINDOW: Duration = Duration::from_secs(5);
/// Enough for `WINDOW` at 100 frames a second; beyond that the window is shorter.
const MOST_SAMPLES: usize = 512;

/// Frames that the mean of a part is over, about.
const MEAN_OVER: f64 = 16.0;

/// Shared by the threads that move frames.
#[derive(Default)]
pub struct Figures {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    counted: FrameFigures,
    inputs: Window<()>,
    outputs: Window<Timing>,
    decode: LatencyWindow,
    wait: LatencyWindow,
    process: LatencyWindow,
}

/// Why a frame ended before the pipeline made something of it.
#[derive(Clone, Copy)]
pub enum DropCause {
    /// All frame memory was in use.
    NoMemory,
    /// Its publisher had left, or the stream ends.
    Late,
    /// A newer one took its place in the mailbox, or the pipeline stopped taking frames.
    Displaced,
    /// The call failed.
    Failed,
}

#[derive(Clone, Copy)]
struct Timing {
    process_time: Duration,
    age: Duration,
}

impl Figures {
    /// A decoded frame came at `now`.
    pub fn count_received(&self, frame: &Frame, now: Instant) {
        let mut state = self.state();
        state.count_received(now);
        state.decode.record(now, now.saturating_duration_since(frame.stamp.captured_at));
    }

    /// A decoded frame would have come, had there been memory for it.
    pub fn count_unleased(&self) {
        let mut state = self.state();
        state.count_received(Instant::now());
        state.count_dropped(DropCause::NoMemory);
    }

    pub fn count_dropped(&self, cause: DropCause) {
        self.state().count_dropped(cause);
    }

    pub fn count_skipped(&self) {
        self.state().counted.skipped += 1;
    }

    pub fn count_set_aside(&self) {
        self.state().counted.set_aside += 1;
    }

    /// A call that was given `input` at `started` has given `output`. Whether it is the stream's first.
    pub fn count_processed(&self, input: &Frame, started: Instant, output: &Frame) -> bool {
        let now = Instant::now();
        let process_time = now.saturating_duration_since(started);
        let age = now.saturating_duration_since(output.stamp.captured_at);
        let mut state = self.state();
        state.counted.processed += 1;
        let queued_at = input.queued_at.unwrap_or(started);
        state.wait.record(now, started.saturating_duration_since(queued_at));
        state.process.record(now, process_time);
        state.outputs.push(now, Timing { process_time, age });
        state.counted.processed == 1
    }

    /// What the pipeline measured while it made the output that was counted last. A part that it no longer has is gone.
    pub fn count_parts(&self, metrics: &[Metric]) {
        let mut state = self.state();
        let before = std::mem::take(&mut state.counted.parts_ms);
        let mut parts = BTreeMap::<String, f64>::new();
        for Metric { name, value } in metrics.iter().filter(|metric| metric.value.is_finite()) {
            if let Some(name) = name.strip_suffix("_ms") {
                *parts.entry(name.to_owned()).or_default() += value;
            }
        }
        for (name, value) in &mut parts {
            *value = before.get(name).map_or(*value, |mean| mean + (*value - mean) / MEAN_OVER);
        }
        state.counted.parts_ms = parts;
    }

    pub fn snapshot(&self) -> FrameFigures {
        let now = Instant::now();
        let state = self.state();
        let timings: Vec<_> = state.outputs.recent(now).collect();
        FrameFigures {
            input_fps: state.inputs.rate(now),
            output_fps: state.outputs.rate(now),
            process_time: middle(timings.iter().map(|timing| timing.process_time)),
            frame_age: middle(timings.iter().map(|timing| timing.age)),
            frame_age_max: timings.iter().map(|timing| timing.age).max(),
            last_input_at: state.inputs.last().map(|at| wall_clock(now, at)),
            last_output_at: state.outputs.last().map(|at| wall_clock(now, at)),
            decode_latency: state.decode.read(now),
            wait_latency: state.wait.read(now),
            process_latency: state.process.read(now),
            ..state.counted.clone()
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Counters hold at every step, even if a thread panicked between two.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn count_received(&mut self, now: Instant) {
        self.counted.received += 1;
        self.inputs.push(now, ());
    }

    fn count_dropped(&mut self, cause: DropCause) {
        self.counted.dropped += 1;
        let Drops { no_memory, late, displaced, failed } = &mut self.counted.drops;
        *match cause {
            DropCause::NoMemory => no_memory,
            DropCause::Late => late,
            DropCause::Displaced => displaced,
            DropCause::Failed => failed,
        } += 1;
    }
}

/// The samples of the last seconds.
struct Window<T> {
    samples: VecDeque<(Instant, T)>,
    since: Option<Instant>,
}

impl<T> Default for Window<T> {
    fn default() -> Self {
        Self { samples: VecDeque::new(), since: None }
    }
}

impl<T: Copy> Window<T> {
    fn push(&mut self, now: Instant, sample: T) {
        // After a long silence a window begins anew: what comes is not held to be few because nothing came before.
        if self.last().is_none_or(|last| now.saturating_duration_since(last) > WINDOW) {
            self.since = Some(now);
        }
        if self.samples.len() == MOST_SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back((now, sample));
    }

    fn recent(&self, now: Instant) -> impl Iterator<Item = T> {
        let is_recent = move |(at, _): &&(Instant, T)| now.saturating_duration_since(*at) <= WINDOW;
        self.samples.iter().filter(is_recent).map(|(_, sample)| *sample)
    }

    fn last(&self) -> Option<Instant> {
        self.samples.back().map(|(at, _)| *at)
    }

    /// Samples a second. Of a window that is not full yet, over the time since its first sample.
    fn rate(&self, now: Instant) -> f64 {
        let oldest = match self.samples.len() {
            MOST_SAMPLES => self.samples.front().map(|(at, _)| *at),
            _ => self.since,
        };
        let Some(oldest) = oldest else { return 0.0 };
        let span = now.saturating_duration_since(oldest).clamp(Duration::from_secs(1), WINDOW);
        self.recent(now).count() as f64 / span.as_secs_f64()
    }
}

fn middle(values: impl Iterator<Item = Duration>) -> Option<Duration> {
    let mut values: Vec<_> = values.collect();
    values.sort_unstable();
    values.get(values.len() / 2).copied()
}

fn wall_clock(now: Instant, at: Instant) -> SystemTime {
    SystemTime::now() - now.saturating_duration_since(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(count: u64, interval: Duration) -> (Window<u64>, Instant) {
        let start = Instant::now();
        let mut window = Window::default();
        (0..count).for_each(|n| window.push(start + interval * n as u32, n));
        (window, start + interval * count as u32)
    }

    #[test]
    fn rates_are_over_the_last_seconds_and_fall_to_nothing() {
        let (window, end) = filled(300, Duration::from_millis(40));
        assert!((window.rate(end) - 25.0).abs() < 0.5, "{}", window.rate(end));
        assert_eq!(window.rate(end + WINDOW), 0.0);
        assert_eq!(Window::<()>::default().rate(end), 0.0);
    }

    #[test]
    fn a_rate_is_right_at_once_after_a_long_silence() {
        let (mut window, end) = filled(300, Duration::from_millis(40));
        let back = end + 10 * WINDOW;
        (0..25).for_each(|n| window.push(back + Duration::from_millis(40) * n, 0));
        let rate = window.rate(back + Duration::from_secs(1));
        assert!((rate - 25.0).abs() < 0.5, "{rate}");
    }

    #[test]
    fn a_fast_stream_takes_no_more_memory() {
        let (window, end) = filled(10_000, Duration::from_millis(1));
        assert_eq!(window.samples.len(), MOST_SAMPLES);
        assert!((window.rate(end) - 512.0).abs() < 5.0, "{}", window.rate(end));
    }

    #[test]
    fn the_middle_of_nothing_is_nothing() {
        assert_eq!(middle(std::iter::empty()), None);
        let values = [9, 1, 5].map(Duration::from_secs);
        assert_eq!(middle(values.into_iter()), Some(Duration::from_secs(5)));
    }
}
