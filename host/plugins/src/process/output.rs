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

/// How long after a panic what is printed still belongs to it: hints and backtraces.
const PANIC_ECHO: Duration = Duration::from_secs(1);

/// What a worker wrote itself last: often says why it died. A panic is more telling than what is printed after it.
#[derive(Clone, Default)]
pub(super) struct LastWords(Arc<Mutex<Words>>);

#[derive(Default)]
struct Words {
    line: Option<String>,
    panic: Option<Panic>,
}

struct Panic {
    text: String,
    /// Rust prints the place on one line and the message on the next.
    has_message: bool,
    at: Instant,
}

impl LastWords {
    pub(super) fn get(&self) -> Option<String> {
        let words = lock(&self.0);
        words.panic.as_ref().map(|panic| panic.text.clone()).or_else(|| words.line.clone())
    }

    fn add(&self, line: &str, now: Instant) {
        let mut words = lock(&self.0);
        if line.contains("panicked at ") {
            words.panic = Some(Panic { text: line.to_owned(), has_message: false, at: now });
            return;
        }
        match &mut words.panic {
            Some(panic) if !panic.has_message => {
                panic.text = format!("{} {line}", panic.text);
                panic.has_message = true;
            }
            Some(panic) if now.duration_since(panic.at) < PANIC_ECHO => {}
            // The worker survived that panic.
            _ => *words = Words { line: Some(line.to_owned()), panic: None },
        }
    }
}

/// One of a worker's output pipes.
pub(super) struct Output {
    pipe: OwnedFd,
    plugin: String,
    pid: u32,
    line: Vec<u8>,
    last_words: LastWords,
    rate: Rate,
}

impl Output {
    pub(super) fn new(
        pipe: OwnedFd,
        plugin: &str,
        pid: u32,
        last_words: LastWords,
    ) -> io::Result<Self> {
        let flags = rustix::fs::fcntl_getfl(&pipe)?;
        rustix::fs::fcntl_setfl(&pipe, flags | OFlags::NONBLOCK)?;
        let rate = Rate { since: Instant::now(), lines: 0 };
        Ok(Self { pipe, plugin: plugin.into(), pid, line: Vec::new(), last_words, rate })
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
                self.last_words.add(line, Instant::now());
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

    fn last_words(lines: &[(u64, &str)]) -> Option<String> {
        let (words, start) = (LastWords::default(), Instant::now());
        for (second, line) in lines {
            words.add(line, start + Duration::from_secs(*second));
        }
        words.get()
    }

    #[test]
    fn a_panic_and_its_message_are_the_last_words() {
        let panic = [
            (0, "ready"),
            (1, "thread 'stream' panicked at src/lib.rs:7:9:"),
            (1, "the picture is too blue"),
            (1, "note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace"),
        ];
        let told = "thread 'stream' panicked at src/lib.rs:7:9: the picture is too blue";
        assert_eq!(last_words(&panic).as_deref(), Some(told));
        let survived = [&panic[..], &[(9, "free(): invalid pointer")]].concat();
        assert_eq!(last_words(&survived).as_deref(), Some("free(): invalid pointer"));
        assert_eq!(last_words(&[]), None);
    }

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
