//! One file into `blobs`: resumed, tried again, checked.

use crate::cancel::Cancel;
use crate::client::header;
use crate::error::{PullError, TransferError};
use crate::folder::ModelFolder;
use crate::names::FileName;
use crate::partial::Partial;
use crate::patience::{Patience, Timing, Trouble};
use crate::pull::Event;
use crate::repository::{Facts, Repository};
use std::io::Read;
use ureq::Body;
use ureq::http::Response;

const CHUNK: usize = 128 << 10;

pub struct Download<'a> {
    pub repository: &'a Repository<'a>,
    pub folder: &'a ModelFolder,
    pub timing: Timing,
    pub cancel: &'a Cancel,
    pub file: &'a FileName,
    pub facts: &'a Facts,
    pub url: &'a str,
    /// Bytes of the files before this one, and of all.
    pub before: u64,
    pub total: u64,
}

impl Download<'_> {
    /// Returns when the blob is there and its checksum right.
    pub fn run(&self, report: &mut dyn FnMut(Event<'_>)) -> Result<(), PullError> {
        let _lock = self.folder.lock_blob(&self.facts.checksum, self.cancel, report)?;
        // Another program may have fetched it while the lock was waited for.
        if self.folder.has_blob(self.facts)? {
            return Ok(());
        }
        let partial = self.folder.partial_path(&self.facts.checksum);
        let partial = Partial::open(partial, self.file, self.facts)?;
        let is_taken_up = partial.length() > 0;
        match self.complete(partial, report) {
            // What another run or program left may have been damaged, and is deleted now.
            Err(PullError::WrongChecksum { .. }) if is_taken_up => {
                let partial = self.folder.partial_path(&self.facts.checksum);
                self.complete(Partial::open(partial, self.file, self.facts)?, report)
            }
            result => result,
        }
    }

    fn complete(
        &self,
        mut partial: Partial<'_>,
        report: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), PullError> {
        let mut patience = Patience::new(self.timing, self.cancel, self.url);
        // A server that begins anew each time brings nothing new until it comes further than before.
        let mut furthest = partial.length();
        while !partial.is_whole() {
            let result = self.transfer(&mut partial, report);
            if partial.length() > furthest {
                furthest = partial.length();
                patience.renew();
            }
            if let Err(trouble) = result {
                patience.wait(trouble, report)?;
            }
        }
        partial.finish(&self.folder.blob_path(&self.facts.checksum))
    }

    /// One request.
    fn transfer(
        &self,
        partial: &mut Partial<'_>,
        report: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), Trouble> {
        if self.cancel.is_cancelled() {
            return Err(PullError::Cancelled.into());
        }
        let response = self.repository.open(self.url, self.file, partial.length())?;
        self.align(&response, partial)?;
        let mut body = response.into_body().into_reader();
        let mut buffer = vec![0; CHUNK];
        loop {
            let (file, done) = (self.file, self.before + partial.length());
            report(Event::Progress { file, done, total: self.total });
            if self.cancel.is_cancelled() {
                return Err(PullError::Cancelled.into());
            }
            match body.read(&mut buffer).map_err(TransferError::Read)? {
                0 if partial.is_whole() => return Ok(()),
                0 => {
                    let (got, size) = (partial.length(), self.facts.size);
                    return Err(TransferError::Cut { got, size }.into());
                }
                count => partial.append(&buffer[..count])?,
            }
        }
    }

    /// Makes what is there end where the answer begins, if the answer can be what was announced.
    fn align(&self, response: &Response<Body>, partial: &mut Partial<'_>) -> Result<(), Trouble> {
        let from = partial.length();
        let range = header(response, "Content-Range").unwrap_or_default();
        let bad_range = || TransferError::Range { from, range: range.chars().take(64).collect() };
        let (begin, whole) = match response.status().as_u16() {
            206 => {
                let parsed = parse_range(range).filter(|(begin, _)| *begin == from);
                let Some(parsed) = parsed else {
                    // The next try asks for all of it.
                    partial.restart()?;
                    return Err(bad_range().into());
                };
                parsed
            }
            200 => (0, response.body().content_length()),
            _ => {
                partial.restart()?;
                return Err(bad_range().into());
            }
        };
        if let Some(whole) = whole.filter(|whole| *whole != self.facts.size) {
            return Err(partial.wrong_size(whole.to_string()).into());
        }
        if begin == 0 && from > 0 {
            partial.restart()?;
        }
        Ok(())
    }
}

/// First byte and, where it is told, the size of the whole: `bytes 5-9/10`.
fn parse_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, whole) = text.strip_prefix("bytes ")?.split_once('/')?;
    let begin = range.split_once('-')?.0.parse().ok()?;
    let whole = if whole == "*" { None } else { Some(whole.parse().ok()?) };
    Some((begin, whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_and_nonsense_is_none() {
        assert_eq!(parse_range("bytes 5-9/10"), Some((5, Some(10))));
        assert_eq!(parse_range("bytes 5-9/*"), Some((5, None)));
        for text in ["", "bytes */10", "bytes 5/10", "bytes 5-9", "bytes -1-9/10", "items 5-9/10"] {
            assert_eq!(parse_range(text), None, "{text}");
        }
    }
}
