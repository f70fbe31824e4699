//! What MediaMTX prints, into the host's log, at the levels that it gives it.

use std::error::Error;
use std::fmt;
use std::io::{self, BufRead, BufReader, PipeReader};
use std::sync::{Mutex, PoisonError};

/// Of a line; the rest of it is left out.
const LONGEST_LINE: usize = 4 << 10;

/// An error with its causes.
pub struct Chain<'e>(pub &'e dyn Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(out, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Debug,
    Info,
    Warn,
    Error,
}

/// The last thing that it complained of, for whoever asks why it ended.
#[derive(Default)]
pub struct LastWords(Mutex<String>);

impl LastWords {
    pub fn get(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, words: &str) {
        words.clone_into(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Logs lines until there are no more. `secrets` are not logged.
pub fn log(output: PipeReader, secrets: &[String], words: &LastWords) {
    let mut output = BufReader::new(output);
    let mut line = Vec::new();
    // A broken pipe ends it as an end does.
    while let Ok(true) = next_line(&mut output, &mut line) {
        let text = String::from_utf8_lossy(&line);
        let text =
            secrets.iter().fold(text.into_owned(), |text, secret| text.replace(secret, "***"));
        let (level, text) = read(text.trim_end());
        if matches!(level, Level::Error | Level::Warn) {
            words.set(text);
        }
        match level {
            Level::Debug => tracing::debug!(target: "mediamtx", "{text}"),
            Level::Info => tracing::info!(target: "mediamtx", "{text}"),
            Level::Warn => tracing::warn!(target: "mediamtx", "{text}"),
            Level::Error => tracing::error!(target: "mediamtx", "{text}"),
        }
    }
}

/// Takes the next line, as much as fits of it. False at the end.
fn next_line(output: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    loop {
        let bytes = match output.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            bytes => bytes?,
        };
        if bytes.is_empty() {
            return Ok(!line.is_empty());
        }
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let part = &bytes[..end.unwrap_or(bytes.len())];
        line.extend_from_slice(&part[..part.len().min(LONGEST_LINE - line.len())]);
        let count = end.map_or(bytes.len(), |end| end + 1);
        output.consume(count);
        if end.is_some() {
            return Ok(true);
        }
    }
}

/// `2026/11/28 08:46:24 INF text`; before it has a log, `ERR: text`.
fn read(line: &str) -> (Level, &str) {
    let level = |word: &str| match word {
        "DEB" => Some(Level::Debug),
        "INF" => Some(Level::Info),
        "WAR" => Some(Level::Warn),
        "ERR" => Some(Level::Error),
        _ => None,
    };
    if let Some(text) = line.strip_prefix("ERR: ") {
        return (Level::Error, text);
    }
    let mut words = line.splitn(4, ' ');
    let found = (words.next(), words.next(), words.next().and_then(level), words.next());
    match found {
        (Some(_), Some(_), Some(level), Some(text)) => (level, text),
        _ => (Level::Info, line),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_the_level_that_they_are_given() {
        let line = "2026/11/28 08:46:24 WAR [path a] not ready yet";
        assert_eq!(read(line), (Level::Warn, "[path a] not ready yet"));
        assert_eq!(read("ERR: listen tcp :1: in use"), (Level::Error, "listen tcp :1: in use"));
        for odd in ["", "INF", "goroutine 1 [running]:", "a b ABC d"] {
            assert_eq!(read(odd), (Level::Info, odd));
        }
    }

    #[test]
    fn long_lines_are_cut_and_the_next_begins_where_they_end() {
        let long = "x".repeat(LONGEST_LINE * 3);
        let text = format!("{long}\nsecond\n\nlast");
        let mut output = BufReader::with_capacity(100, text.as_bytes());
        let mut lines = Vec::new();
        let mut line = Vec::new();
        while next_line(&mut output, &mut line).unwrap() {
            lines.push(line.len());
        }
        assert_eq!(lines, [LONGEST_LINE, 6, 0, 4]);
    }
}
