//! Running a program so that it ends with whoever started it, however that one ends.

use rustix::process::{Signal, getppid, set_parent_process_death_signal};
use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Becomes the program. Comes back only with the reason why not. `parent` is the process that it is to end with; the
/// kernel ends it when the thread does that started this process.
pub fn run_beside(parent: u32, command: &[OsString]) -> io::Error {
    if let Err(error) = set_parent_process_death_signal(Some(Signal::KILL)) {
        return error.into();
    }
    // It may have ended before it was watched.
    let is_alive =
        getppid().is_some_and(|pid| pid.as_raw_nonzero().get().cast_unsigned() == parent);
    match command {
        _ if !is_alive => io::Error::other("the process that this one was to end with is gone"),
        [] => io::Error::other("no program was named"),
        [program, arguments @ ..] => Command::new(program).args(arguments).exec(),
    }
}
