//! Waiting for a worker's word, its death, a cancellation or a deadline, whichever comes first.

use crate::stop::Stop;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fd::BorrowedFd;
use rustix::io::Errno;
use std::io;
use std::time::{Duration, Instant};

/// How long an answer or a next frame is looked for before the thread goes to sleep. Waking a thread on an idle core
/// takes longer than that; thirty frames a second cost three thousandths of a core in vain.
const LINGER: Duration = Duration::from_micros(50);

/// What came first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// The socket can be read: a message, or that the other end is closed.
    Message,
    Died,
    Stopped,
    TimedOut,
}

/// Stays awake for a moment in which a packet may arrive. True if one did, or the other end is closed.
pub(crate) fn linger(socket: BorrowedFd<'_>) -> bool {
    let mut descriptors = [PollFd::from_borrowed_fd(socket, PollFlags::IN)];
    let begun = Instant::now();
    while begun.elapsed() < LINGER {
        if rustix::event::poll(&mut descriptors, Some(&Timespec::default())) == Ok(1) {
            return true;
        }
        // Where there is one core for both ends, the other one has to run.
        std::thread::yield_now();
    }
    false
}

/// Waits. A message is preferred to everything else, a death to a deadline.
pub(crate) fn wait(
    socket: BorrowedFd<'_>,
    pidfd: BorrowedFd<'_>,
    stop: Option<&Stop>,
    deadline: Instant,
) -> io::Result<Heard> {
    if linger(socket) {
        return Ok(Heard::Message);
    }
    let input = PollFlags::IN;
    // Without a stop the third descriptor repeats the second, and is not looked at.
    let event = stop.map_or(pidfd, Stop::event);
    let mut descriptors = [
        PollFd::from_borrowed_fd(socket, input),
        PollFd::from_borrowed_fd(pidfd, input),
        PollFd::from_borrowed_fd(event, input),
    ];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout =
            Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
        match rustix::event::poll(&mut descriptors, Some(&timeout)) {
            Err(Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
            Ok(0) => return Ok(Heard::TimedOut),
            Ok(_) => {}
        }
        let is_ready = |index: usize| !descriptors[index].revents().is_empty();
        return Ok(match (is_ready(0), is_ready(1)) {
            (true, _) => Heard::Message,
            (false, true) => Heard::Died,
            (false, false) => Heard::Stopped,
        });
    }
}
