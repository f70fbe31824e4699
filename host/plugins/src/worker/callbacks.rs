//! What a plugin's calls of the host do in a worker.

use crate::message::FromStream;
use crate::packets::Packets;
use crate::process::output::LOG_MARK;
use plugin_api::LogLevel;
use plugin_api::loader::Callbacks;
use rustix::event::{PollFd, PollFlags, Timespec};
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Progress is passed on no more often than this.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(50);

/// More of one frame, and longer names, are not passed on: an answer has to fit a packet.
const MAX_METRICS: usize = 32;
const MAX_METRIC_NAME: usize = 64;

/// For calls without a stream: lines go to the log, everything else nowhere.
pub(super) struct LogOnly;

impl Callbacks for LogOnly {
    fn log(&self, level: LogLevel, text: &str) {
        log(level, text);
    }

    fn progress(&self, _fraction: f32, _what: &str) {}

    fn is_cancelled(&self) -> bool {
        false
    }

    fn metric(&self, name: &str, value: f64) {
        log(LogLevel::Debug, &format!("{name} = {value}"));
    }
}

/// For a stream, and for the pipeline that was opened for it.
pub(super) struct StreamCallbacks {
    socket: Arc<Packets>,
    /// Progress is only awaited then.
    is_opening: AtomicBool,
    last_progress: Mutex<Option<Instant>>,
    /// Of the frame that is being made.
    metrics: Mutex<Vec<(String, f64)>>,
}

impl StreamCallbacks {
    pub(super) fn new(socket: Arc<Packets>) -> Self {
        Self {
            socket,
            is_opening: AtomicBool::new(true),
            last_progress: Mutex::default(),
            metrics: Mutex::default(),
        }
    }

    pub(super) fn finish_opening(&self) {
        self.is_opening.store(false, Ordering::Release);
    }

    fn keep(&self, name: &str, value: f64) {
        let mut metrics = self.metrics.lock().unwrap_or_else(PoisonError::into_inner);
        if metrics.len() < MAX_METRICS && name.len() <= MAX_METRIC_NAME {
            metrics.push((name.to_owned(), value));
        }
    }

    /// What was measured since the last call.
    pub(super) fn take_metrics(&self) -> Vec<(String, f64)> {
        std::mem::take(&mut *self.metrics.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether it is time to pass progress on again.
    fn is_due(&self) -> bool {
        let now = Instant::now();
        let mut last = self.last_progress.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = last.is_none_or(|last| now.duration_since(last) >= PROGRESS_INTERVAL);
        if is_due {
            *last = Some(now);
        }
        is_due
    }
}

impl Callbacks for StreamCallbacks {
    fn log(&self, level: LogLevel, text: &str) {
        log(level, text);
    }

    fn progress(&self, fraction: f32, what: &str) {
        if self.is_opening.load(Ordering::Acquire) && self.is_due() {
            // A host that hung up is noticed by `is_cancelled`.
            let _ = self.socket.send(&FromStream::Progress { fraction, what: what.into() });
        }
    }

    /// The host cancels by hanging up.
    fn is_cancelled(&self) -> bool {
        let mut socket = [PollFd::from_borrowed_fd(self.socket.socket(), PollFlags::empty())];
        let polled = rustix::event::poll(&mut socket, Some(&Timespec::default()));
        polled.is_err() || socket[0].revents().intersects(PollFlags::HUP | PollFlags::ERR)
    }

    fn metric(&self, name: &str, value: f64) {
        LogOnly.metric(name, value);
        self.keep(name, value);
    }
}

fn log(level: LogLevel, text: &str) {
    let level = match level {
        LogLevel::Error => 1,
        LogLevel::Warn => 2,
        LogLevel::Info => 3,
        LogLevel::Debug => 4,
    };
    let mut stdout = std::io::stdout().lock();
    for line in text.lines() {
        // Without a host there is nobody to log for.
        let _ = writeln!(stdout, "{LOG_MARK}{level}{line}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_of_one_frame_are_bounded_and_given_once() {
        let (_, socket) = Packets::pair().unwrap();
        let callbacks = StreamCallbacks::new(Arc::new(Packets::new(socket)));
        callbacks.keep(&"x".repeat(MAX_METRIC_NAME + 1), 1.0);
        (0..100).for_each(|value| callbacks.keep("unet_ms", f64::from(value)));
        let metrics = callbacks.take_metrics();
        assert_eq!((metrics.len(), &metrics[0]), (MAX_METRICS, &("unet_ms".to_owned(), 0.0)));
        assert_eq!(callbacks.take_metrics(), []);
    }
}
