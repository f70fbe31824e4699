//! The program `mediamtx`, as it is installed.

use crate::version::Version;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// It prints one line.
const LONGEST_WAIT: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };
const LONGEST_LINE: usize = 256;

#[derive(Debug, thiserror::Error)]
pub enum BinaryError {
    #[error("there is no program {}; `mediamtx.binary` names MediaMTX's, by its path or as PATH has it", path.display())]
    Missing { path: PathBuf },
    #[error("{} cannot be run", path.display())]
    Run {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} does not answer `--version` as MediaMTX does; it {how}", path.display())]
    Other { path: PathBuf, how: String },
}

/// What it says of itself. Blocks for a few seconds at most.
pub fn installed_version(path: &Path) -> Result<Version, BinaryError> {
    let run = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => BinaryError::Missing { path: path.to_owned() },
        _ => BinaryError::Run { path: path.to_owned(), source },
    };
    let mut command = Command::new(path);
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = crate::child::without_surroundings(&mut command).spawn().map_err(run)?;
    let said = listen(&mut child);
    // What has not ended by now is not waited for.
    let _ = child.kill();
    let _ = child.wait();
    let other = |how: String| BinaryError::Other { path: path.to_owned(), how };
    let said = said.map_err(run)?.ok_or_else(|| other("says nothing for 5 s".to_owned()))?;
    Version::parse(&said).ok_or_else(|| other(format!("says {said:?}")))
}

/// What it had printed when it ended, if it did; more than a line is not read.
fn listen(child: &mut Child) -> io::Result<Option<String>> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| io::Error::other("no number of a process"))?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
    let mut ended = [PollFd::new(&pidfd, PollFlags::IN)];
    if poll(&mut ended, Some(&LONGEST_WAIT))? == 0 {
        return Ok(None);
    }
    let Some(stdout) = &mut child.stdout else { return Ok(None) };
    // A child of its own may hold the other end open without writing.
    let mut written = [PollFd::from_borrowed_fd(stdout.as_fd(), PollFlags::IN)];
    if poll(&mut written, Some(&Timespec::default()))? == 0 {
        return Ok(Some(String::new()));
    }
    let mut line = [0; LONGEST_LINE];
    let count = stdout.read(&mut line)?;
    Ok(Some(String::from_utf8_lossy(&line[..count]).trim().to_owned()))
}
