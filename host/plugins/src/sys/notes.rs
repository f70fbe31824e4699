//! What a worker notes where the host finds it when the worker is gone: whom each of its streams calls, and where the
//! thread was that brought it down.

use super::mapping::Words;
use crate::marks::Mark;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Streams that a worker can have.
pub(crate) const SEATS: u32 = 1023;
const WORDS: usize = 1 + SEATS as usize;
/// The word that is written by the thread that ends the worker; those of the seats follow.
const FAULT: usize = 0;

/// In the host.
pub(crate) struct HostNotes {
    file: OwnedFd,
    words: Words,
}

impl HostNotes {
    pub(crate) fn new() -> io::Result<Self> {
        let (file, words) = Words::of_new_file("sdh-notes", WORDS)?;
        Ok(Self { file, words })
    }

    pub(crate) fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Whom the thread called that brought the worker down; idle where it is not known.
    pub(crate) fn fault(&self) -> Mark {
        read(self.words.get(FAULT))
    }

    /// Whom the stream with this seat calls.
    pub(crate) fn call(&self, seat: u32) -> Mark {
        read(self.words.get(word_of(seat)))
    }

    pub(crate) fn calls(&self) -> impl Iterator<Item = Mark> {
        (0..SEATS).map(|seat| self.call(seat))
    }
}

/// In the worker, which has them for as long as it lives: its end is when they are needed.
pub(crate) struct WorkerNotes(Words);

impl WorkerNotes {
    pub(crate) fn open(file: &OwnedFd) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self(Words::new(file.as_fd(), WORDS)?)))
    }

    pub(super) fn fault(&self) -> &AtomicU64 {
        self.0.get(FAULT)
    }
}

/// That of one stream.
pub(crate) struct Note {
    notes: Arc<WorkerNotes>,
    seat: u32,
}

impl Note {
    /// None for a seat that does not exist.
    pub(crate) fn new(notes: Arc<WorkerNotes>, seat: u32) -> Option<Self> {
        (seat < SEATS).then_some(Self { notes, seat })
    }

    pub(crate) fn set(&self, mark: Mark) {
        self.notes.0.get(word_of(self.seat)).store(mark.0, Ordering::Release);
    }
}

fn word_of(seat: u32) -> usize {
    1 + seat as usize
}

fn read(word: &AtomicU64) -> Mark {
    Mark(word.load(Ordering::Acquire))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_reads_what_the_worker_notes() {
        let host = HostNotes::new().unwrap();
        let worker = WorkerNotes::open(&host.file().try_clone_to_owned().unwrap()).unwrap();
        assert!(Note::new(worker.clone(), SEATS).is_none());
        let note = Note::new(worker.clone(), SEATS - 1).unwrap();
        note.set(Mark(7));
        worker.fault().store(9, Ordering::Release);
        assert_eq!(
            (host.call(SEATS - 1), host.call(0), host.fault()),
            (Mark(7), Mark::IDLE, Mark(9))
        );
        assert_eq!(host.calls().filter(|mark| *mark != Mark::IDLE).count(), 1);
        assert!(rustix::fs::ftruncate(host.file(), 0).is_err());
    }
}
