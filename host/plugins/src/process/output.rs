//! What a worker prints, line by line into the log: bounded in length and in number.

use super::lock;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::OFlags;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Longer lines are cut, in bytes.
const MAX_LINE: usize = 2000;
/// More lines are dropped and counted.
const LINES_PER_SECOND: u32 = 200;
/// First character of a line that the plugin wrote through the host's log function; the level follows.
pub(crate) const LOG_MARK: char = '\u{1e}';

/// The last line that a worker wrote itself: often says why it died.
#[derive(Clone, Default)]
pub(super) struct LastLine(Arc<Mutex<Option<String>>>);

impl LastLine {
    pub(super) fn get(&self) -> Option<String> {
        lock(&self.0).clone()
    }

    fn set(&self, line: &str) {
        *lock(&self.0) = Some(line.to_owned());
    }
}

/// One of a worker's output pipes.
pub(super) struct Output {
    pipe: OwnedFd,
    plugin: String,
    pid: u32,
    line: Vec<u8>,
    last_line: LastLine,
    rate: Rate,
}

impl Output {
    pub(super) fn new(
        pipe: OwnedFd,
        plugin: &str,
        pid: u32,
        last_line: LastLine,
    ) -> io::Result<Self> {
        let flags = rustix::fs::fcntl_getfl(&pipe)?;
        rustix::fs::fcntl_setfl(&pipe, flags | OFlags::NONBLOCK)?;
        let rate = Rate { since: Instant::now(), lines: 0 };
        Ok(Self { pipe, plugin: plugin.into(), pid, line: Vec::new(), last_line, rate })
    }

    /// Reads once; false at the end.
    pub(super) fn read_some(&mut self) -> bool {
        let mut buffer = [0; 4096];
        match rustix::io::read(&self.pipe, &mut buffer) {
            Ok(0) => {
                self.finish_line();
                false
            }
            Ok(length) => {
                self.take(&buffer[..length]);
                true
            }
            Err(error) => error == rustix::io::Errno::AGAIN || error == rustix::io::Errno::INTR,
        }
    }

    /// Reads what a dead process left, at most a pipe full.
    pub(super) fn drain(&mut self) {
        let mut buffer = [0; 4096];
        for _ in 0..64 {
            match rustix::io::read(&self.pipe, &mut buffer) {
                Ok(length) if length > 0 => self.take(&buffer[..length]),
                _ => break,
            }
        }
        self.finish_line();
    }

    fn take(&mut self, bytes: &[u8]) {
        for byte in bytes {
            match byte {
                b'\n' => self.finish_line(),
                // The rest of an overlong line is left out.
                _ if self.line.len() >= MAX_LINE => {}
                byte => self.line.push(*byte),
            }
        }
    }

    fn finish_line(&mut self) {
        let line = String::from_utf8_lossy(&self.line).trim_end().to_owned();
        self.line.clear();
        if line.is_empty() {
            return;
        }
        match self.rate.admit(Instant::now()) {
            Admission::Pass => {}
            Admission::PassAfter { dropped } => {
                tracing::warn!(
                    plugin = self.plugin,
                    pid = self.pid,
                    dropped,
                    "worker lines dropped"
                );
            }
            Admission::Drop => return,
        }
        self.log(&line);
    }

    fn log(&self, line: &str) {
        let (plugin, pid) = (self.plugin.as_str(), self.pid);
        let marked = line.strip_prefix(LOG_MARK).and_then(|line| line.split_at_checked(1));
        match marked {
            Some(("1", text)) => tracing::error!(plugin, pid, "{text}"),
            Some(("2", text)) => tracing::warn!(plugin, pid, "{text}"),
            Some(("3", text)) => tracing::info!(plugin, pid, "{text}"),
            Some((_, text)) => tracing::debug!(plugin, pid, "{text}"),
            None => {
                self.last_line.set(line);
                tracing::info!(plugin, pid, "{line}");
            }
        }
    }
}

impl AsFd for Output {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }
}

/// Counts lines by the second.
struct Rate {
    since: Instant,
    lines: u32,
}

#[derive(Debug, PartialEq, Eq)]
enum Admission {
    Pass,
    /// The first line after `dropped` others.
    PassAfter {
        dropped: u32,
    },
    Drop,
}

impl Rate {
    fn admit(&mut self, now: Instant) -> Admission {
        let dropped = self.lines.saturating_sub(LINES_PER_SECOND);
        if now.duration_since(self.since) >= Duration::from_secs(1) {
            *self = Self { since: now, lines: 1 };
            return if dropped > 0 { Admission::PassAfter { dropped } } else { Admission::Pass };
        }
        self.lines = self.lines.saturating_add(1);
        if self.lines > LINES_PER_SECOND { Admission::Drop } else { Admission::Pass }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_lines_is_cut_to_so_many_a_second() {
        let start = Instant::now();
        let mut rate = Rate { since: start, lines: 0 };
        let passed = (0..1000).filter(|_| rate.admit(start) == Admission::Pass).count();
        assert_eq!(passed, LINES_PER_SECOND as usize);
        let later = start + Duration::from_secs(1);
        assert_eq!(rate.admit(later), Admission::PassAfter { dropped: 800 });
        assert_eq!(rate.admit(later), Admission::Pass);
    }
}
