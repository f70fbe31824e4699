//! The thread that brings a worker down notes whom it was calling: of several streams that are in calls at that time,
//! one was the cause.
//!
//! It notes that in a handler of the signal that ends the process, or while the process exits. Signals then take the way
//! that they would have taken: whoever handled them before does so.

use super::notes::WorkerNotes;
use crate::marks::Mark;
use std::cell::Cell;
use std::io;
use std::mem::MaybeUninit;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

/// What ends a process that does something impossible, or gives up.
const FATAL: [libc::c_int; 7] = [
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGILL,
    libc::SIGFPE,
    libc::SIGABRT,
    libc::SIGTRAP,
    libc::SIGSYS,
];

static NOTES: OnceLock<Arc<WorkerNotes>> = OnceLock::new();
/// What was to happen on each of the signals before.
static BEFORE: OnceLock<[libc::sigaction; FATAL.len()]> = OnceLock::new();

thread_local! {
    /// Whom this thread calls. Constant at first and without a destructor, so that a signal's handler may read it.
    static CALLED: Cell<u64> = const { Cell::new(Mark::IDLE.0) };
}

/// This thread now calls somebody; gives whom it called until now.
pub(crate) fn enter(called: Mark) -> Mark {
    Mark(CALLED.replace(called.0))
}

/// Lets threads of this process note whom they called when they end it. Once, before there are others.
pub(crate) fn note_faults(notes: Arc<WorkerNotes>) -> io::Result<()> {
    NOTES.set(notes).map_err(|_| io::Error::other("faults are noted already"))?;
    let mut before = [MaybeUninit::uninit(); FATAL.len()];
    for (signal, before) in FATAL.into_iter().zip(&mut before) {
        // SAFETY: asks for the action alone, into memory for one.
        check(unsafe { libc::sigaction(signal, std::ptr::null(), before.as_mut_ptr()) })?;
    }
    // SAFETY: each was filled above.
    let before = before.map(|action| unsafe { action.assume_init() });
    BEFORE.set(before).map_err(|_| io::Error::other("faults are noted already"))?;
    FATAL.into_iter().try_for_each(handle)?;
    // SAFETY: a function that may be called at any time on any thread.
    check(unsafe { libc::atexit(on_exit) })
}

fn handle(signal: libc::c_int) -> io::Result<()> {
    // SAFETY: all zeros are a valid action: the default one.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) = on_fault;
    action.sa_sigaction = handler as libc::sighandler_t;
    // A thread whose stack is full has another one for this.
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
    // SAFETY: the handler does only what may be done in one.
    check(unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) })
}

extern "C" fn on_fault(signal: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the kernel gives valid information with SA_SIGINFO.
    let code = unsafe { (*info).si_code };
    // What another process sends is the fault of no thread here.
    if code != libc::SI_USER {
        note();
    }
    restore(signal);
    // A fault happens again when its instruction is tried again; what was sent has to be sent again.
    if code <= 0 {
        // SAFETY: may be called in a handler; it comes when this one has returned.
        unsafe { libc::raise(signal) };
    }
}

extern "C" fn on_exit() {
    note();
}

/// The first to note something is the one that ends the process.
fn note() {
    if let Some(notes) = NOTES.get() {
        let (idle, called) = (Mark::IDLE.0, CALLED.get());
        // Somebody has noted something already: that stays.
        let _ = notes.fault().compare_exchange(idle, called, Ordering::AcqRel, Ordering::Relaxed);
    }
}

fn restore(signal: libc::c_int) {
    let place = FATAL.iter().position(|fatal| *fatal == signal);
    if let Some(before) = place.zip(BEFORE.get()).map(|(place, before)| &before[place]) {
        // SAFETY: what was set before is valid, and this may be called in a handler.
        unsafe { libc::sigaction(signal, before, std::ptr::null_mut()) };
    }
}

fn check(answer: libc::c_int) -> io::Result<()> {
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
