//! What a plugin's calls of the host do in a worker.

use super::processors::Processors;
use crate::marks::Mark;
use crate::message::{FromStream, Notice};
use crate::notices::Notices;
use crate::packets::Packets;
use crate::process::output::LOG_MARK;
use crate::sys::{Note, enter};
use plugin_api::loader::{Callbacks, Lendable, Said};
use plugin_api::{Error, ErrorCode, Feature, LogLevel};
use rustix::event::{PollFd, PollFlags, Timespec};
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Progress is passed on no more often than this.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(50);

/// More of one frame, and longer names, are not passed on: an answer has to fit a packet.
const MAX_METRICS: usize = 32;
const MAX_METRIC_NAME: usize = 64;

/// For plans: lines go to the log, processors are lent, everything else goes nowhere.
pub(super) struct PlanCallbacks {
    pub processors: Processors,
}

impl Callbacks for PlanCallbacks {
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

    fn lent(&self, feature: Feature, name: &str) -> Result<Lendable, Error> {
        self.processors.find(feature, name)
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
    notices: Mutex<Notices>,
    processors: Mutex<Processors>,
    /// Those that are being called: one may call another.
    calls: Mutex<Vec<Call>>,
    note: Arc<Note>,
}

struct Call {
    mark: Mark,
    /// Whom the thread that makes it called until then.
    before: Mark,
}

impl StreamCallbacks {
    pub(super) fn new(socket: Arc<Packets>, processors: Processors, note: Arc<Note>) -> Self {
        Self {
            socket,
            processors: Mutex::new(processors),
            calls: Mutex::default(),
            note,
            is_opening: AtomicBool::new(true),
            last_progress: Mutex::default(),
            metrics: Mutex::default(),
            notices: Mutex::default(),
        }
    }

    pub(super) fn finish_opening(&self) {
        self.is_opening.store(false, Ordering::Release);
    }

    /// Processors that the stream may ask for from now on.
    pub(super) fn processors(&self) -> MutexGuard<'_, Processors> {
        self.processors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes whom the stream calls now, where the host finds it when this process is gone.
    fn note_call(&self, change: impl FnOnce(&mut Vec<Call>)) {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut calls);
        self.note.set(calls.last().map_or(Mark::OWN, |call| call.mark));
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

    /// What is to be told now, if that has changed since the last call.
    pub(super) fn news(&self) -> Option<Vec<Notice>> {
        self.notices().news()
    }

    fn notices(&self) -> MutexGuard<'_, Notices> {
        self.notices.lock().unwrap_or_else(PoisonError::into_inner)
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
        log(LogLevel::Debug, &format!("{name} = {value}"));
        self.keep(name, value);
    }

    fn notice(&self, said: Said<'_>) {
        self.notices().say(said);
    }

    fn gone(&self, by: u64) {
        self.notices().forget(by);
    }

    fn lent(&self, feature: Feature, name: &str) -> Result<Lendable, Error> {
        self.processors().find(feature, name)
    }

    fn calls(&self, name: &str) -> Result<(), Error> {
        let mark = self.processors().mark(name)?;
        self.note_call(|calls| calls.push(Call { mark, before: enter(mark) }));
        Ok(())
    }

    fn called(&self, name: &str, took: Duration, error: Option<&Error>) {
        let mark = self.processors().mark_of(name);
        self.note_call(|calls| {
            let last = calls.iter().rposition(|call| Some(call.mark) == mark);
            last.map(|last| enter(calls.remove(last).before));
        });
        self.metric(&format!("{name}_ms"), took.as_secs_f64() * 1000.0);
        let is_failure =
            |error: &&Error| error.code != ErrorCode::Cancelled || !self.is_cancelled();
        let Some(error) = error.filter(is_failure) else { return };
        let reason = error.message.clone();
        if self.processors().switch_off(name, reason.clone()) {
            // A host that hung up wants no news.
            let _ = self.socket.send(&FromStream::SwitchedOff { name: name.to_owned(), reason });
        }
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
    use crate::sys::{HostNotes, WorkerNotes};

    #[test]
    fn metrics_of_one_frame_are_bounded_and_given_once() {
        let (_, socket) = Packets::pair().unwrap();
        let notes = HostNotes::new().unwrap().file().try_clone_to_owned().unwrap();
        let note = Note::new(WorkerNotes::open(&notes).unwrap(), 0).unwrap();
        let socket = Arc::new(Packets::new(socket));
        let callbacks = StreamCallbacks::new(socket, Processors::default(), note.into());
        callbacks.keep(&"x".repeat(MAX_METRIC_NAME + 1), 1.0);
        (0..100).for_each(|value| callbacks.keep("unet_ms", f64::from(value)));
        let metrics = callbacks.take_metrics();
        assert_eq!((metrics.len(), &metrics[0]), (MAX_METRICS, &("unet_ms".to_owned(), 0.0)));
        assert_eq!(callbacks.take_metrics(), []);
    }
}
