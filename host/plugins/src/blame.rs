//! Who is to blame when a worker is lost: one of those that its streams were calling, the plugin of its pipelines, or
//! somebody unknown.

use crate::marks::Mark;
use crate::message::Offered;
use crate::sys::{HostNotes, SEATS};
use rustix::fd::BorrowedFd;
use std::collections::HashMap;
use std::io;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// One worker's notes, and what its streams may call.
pub(crate) struct Blame {
    notes: HostNotes,
    seats: Mutex<Seats>,
    /// Decided once, when the worker is lost: streams hear of that one after the other.
    verdict: OnceLock<Verdict>,
}

/// The streams that are open, or were when the worker was lost.
#[derive(Default)]
struct Seats {
    /// A seat that was left is taken again as late as can be: the worker closes its stream a moment later.
    next: u32,
    taken: HashMap<u32, Vec<Offered>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// None of those that are lent.
    Nobody,
    Lent(Offered),
    /// Several streams were at work, and nothing tells which of them it was.
    Unclear,
}

impl Blame {
    pub(crate) fn new() -> io::Result<Self> {
        let (seats, verdict) = (Mutex::default(), OnceLock::new());
        Ok(Self { notes: HostNotes::new()?, seats, verdict })
    }

    pub(crate) fn file(&self) -> BorrowedFd<'_> {
        self.notes.file()
    }

    /// The seat of a new stream; none when all are taken.
    pub(crate) fn take_seat(&self, offered: &[Offered]) -> Option<u32> {
        let mut seats = self.seats();
        let in_turn = (0..SEATS).map(|step| (seats.next + step) % SEATS);
        let seat = in_turn.into_iter().find(|seat| !seats.taken.contains_key(seat))?;
        seats.next = (seat + 1) % SEATS;
        seats.taken.insert(seat, offered.to_vec());
        Some(seat)
    }

    /// The stream may call these from now on.
    pub(crate) fn offer(&self, seat: u32, offered: &[Offered]) {
        if let Some(taken) = self.seats().taken.get_mut(&seat) {
            *taken = offered.to_vec();
        }
    }

    pub(crate) fn leave(&self, seat: u32) {
        self.seats().taken.remove(&seat);
    }

    /// Whom the stream called last, or calls.
    pub(crate) fn called(&self, seat: u32) -> Mark {
        self.notes.call(seat)
    }

    /// The worker is about to be killed for what this stream waits for.
    pub(crate) fn condemn(&self, seat: u32) {
        self.decide(|| self.find(self.called(seat)));
    }

    /// The worker is about to be killed, and by none of its calls.
    pub(crate) fn acquit(&self) {
        self.decide(|| Verdict::Nobody);
    }

    /// Of a worker that has ended.
    pub(crate) fn verdict(&self) -> Verdict {
        self.decide(|| match self.notes.fault() {
            Mark::IDLE => self.judge_by_calls(),
            fault => self.find(fault),
        })
    }

    fn decide(&self, verdict: impl FnOnce() -> Verdict) -> Verdict {
        self.verdict.get_or_init(verdict).clone()
    }

    /// Where the thread that ended it was none of a stream: whoever was called, if all calls were of one.
    fn judge_by_calls(&self) -> Verdict {
        let mut calls: Vec<Mark> = self.notes.calls().filter(|mark| *mark != Mark::IDLE).collect();
        calls.sort_unstable();
        calls.dedup();
        match *calls {
            [] => Verdict::Nobody,
            [called] => self.find(called),
            _ => Verdict::Unclear,
        }
    }

    /// Whose mark it is, among those that streams may call.
    fn find(&self, mark: Mark) -> Verdict {
        let seats = self.seats();
        let lent = seats.taken.values().flatten().find(|lent| Mark::of(lent) == mark);
        lent.cloned().map_or(Verdict::Nobody, Verdict::Lent)
    }

    fn seats(&self) -> MutexGuard<'_, Seats> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::LibraryFile;
    use crate::sys::{Note, WorkerNotes};

    fn lent(name: &str) -> Offered {
        let library = LibraryFile { path: "p".into(), manifest_hash: "h".into() };
        Offered { name: name.into(), plugin: "tints".into(), library }
    }

    /// With two streams that may call one each, and what the worker notes of both.
    fn judged(calls: [Mark; 2]) -> Verdict {
        let blame = Blame::new().unwrap();
        let worker = WorkerNotes::open(&blame.file().try_clone_to_owned().unwrap()).unwrap();
        for (call, name) in calls.into_iter().zip(["tint", "blur"]) {
            let seat = blame.take_seat(&[lent(name)]).unwrap();
            Note::new(worker.clone(), seat).unwrap().set(call);
        }
        blame.verdict()
    }

    #[test]
    fn without_a_fault_that_was_noted_the_only_one_called_is_to_blame() {
        let [tint, blur] = ["tint", "blur"].map(|name| Mark::of(&lent(name)));
        let (is_tint, is_blur) = (Verdict::Lent(lent("tint")), Verdict::Lent(lent("blur")));
        for (calls, verdict) in [
            ([Mark::IDLE, Mark::IDLE], Verdict::Nobody),
            ([Mark::OWN, Mark::IDLE], Verdict::Nobody),
            ([tint, Mark::IDLE], is_tint.clone()),
            ([tint, tint], is_tint),
            ([Mark::IDLE, blur], is_blur),
            ([tint, Mark::OWN], Verdict::Unclear),
            ([tint, blur], Verdict::Unclear),
            ([Mark(99), Mark::IDLE], Verdict::Nobody),
        ] {
            assert_eq!(judged(calls), verdict, "{calls:?}");
        }
    }

    #[test]
    fn who_is_condemned_stays_so() {
        let blame = Blame::new().unwrap();
        let seat = blame.take_seat(&[lent("tint")]).unwrap();
        let worker = WorkerNotes::open(&blame.file().try_clone_to_owned().unwrap()).unwrap();
        let note = Note::new(worker, seat).unwrap();
        note.set(Mark::of(&lent("tint")));
        blame.condemn(seat);
        note.set(Mark::OWN);
        blame.acquit();
        assert_eq!(blame.verdict(), Verdict::Lent(lent("tint")));
    }

    #[test]
    fn seats_are_taken_again_as_late_as_can_be() {
        let blame = Blame::new().unwrap();
        let seats: Vec<_> = std::iter::from_fn(|| blame.take_seat(&[])).collect();
        assert_eq!(seats.len(), SEATS as usize);
        blame.leave(5);
        blame.leave(3);
        assert_eq!([(); 3].map(|()| blame.take_seat(&[])), [Some(3), Some(5), None]);
    }
}
