//! A MediaMTX as a process: started on a thread that outlives it, heard, ended and always reaped.

use crate::lines::{LastWords, log};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

/// How long it may take to end by itself once it was asked to.
const LONGEST_END: Duration = Duration::from_secs(3);

/// How long what it printed is read after its end; a child of its own could hold the pipe open.
const LONGEST_ECHO: Duration = Duration::from_millis(500);

/// Dropping it kills the process.
pub struct Child {
    pidfd: OwnedFd,
    /// How it ended, once it has.
    fate: watch::Receiver<Option<String>>,
    words: Arc<LastWords>,
}

impl Child {
    /// `secrets` are kept out of the log.
    pub async fn start(command: Command, secrets: Vec<String>) -> io::Result<Self> {
        let (started, start) = oneshot::channel();
        let (told, fate) = watch::channel(None);
        let words = Arc::new(LastWords::default());
        let heard = words.clone();
        // The kernel ends a process that is to end with its parent with the thread that started it.
        thread::Builder::new().name("mediamtx".into()).spawn(move || {
            match begin(command, secrets, heard) {
                Err(error) => drop(started.send(Err(error))),
                Ok(Begun { mut child, pidfd, heard_out }) => {
                    if started.send(Ok(pidfd)).is_err() {
                        // Nobody waits for it any more.
                        let _ = child.kill();
                    }
                    let how = child.wait().map_or_else(|error| error.to_string(), describe);
                    // Fails once all is read, as it should.
                    let _ = heard_out.recv_timeout(LONGEST_ECHO);
                    told.send_replace(Some(how));
                }
            }
        })?;
        let gone = |_| io::Error::other("the thread that starts MediaMTX is gone");
        let pidfd = start.await.map_err(gone)??;
        Ok(Self { pidfd, fate, words })
    }

    /// Waits for its end, and says how it came.
    pub async fn ended(&mut self) -> String {
        let ended = self.fate.wait_for(Option::is_some).await;
        ended.ok().and_then(|how| how.clone()).unwrap_or_else(|| "ended".to_owned())
    }

    /// What it complained of last, to be put behind how it ended.
    pub fn last_words(&self) -> String {
        let words = self.words.get();
        if words.is_empty() { words } else { format!("; it said: {words}") }
    }

    /// Asks it to end, and sees to it that it does.
    pub async fn end(mut self) {
        let _ = pidfd_send_signal(&self.pidfd, Signal::TERM);
        if timeout(LONGEST_END, self.ended()).await.is_err() {
            let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
            self.ended().await;
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Of one that has ended it does nothing: the descriptor means no other process.
        let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
    }
}

/// Any setting of it could be a variable, and ours may hold secrets.
pub fn without_surroundings(command: &mut Command) -> &mut Command {
    let kept = ["PATH", "TZ"].map(|name| (name, std::env::var_os(name)));
    let kept = kept.into_iter().filter_map(|(name, value)| Some((name, value?)));
    command.env_clear().envs(kept)
}

struct Begun {
    child: std::process::Child,
    pidfd: OwnedFd,
    /// Closed once all that it printed is logged.
    heard_out: mpsc::Receiver<()>,
}

fn begin(mut command: Command, secrets: Vec<String>, words: Arc<LastWords>) -> io::Result<Begun> {
    let (output, input) = io::pipe()?;
    without_surroundings(&mut command)
        .stdin(Stdio::null())
        .stdout(input.try_clone()?)
        .stderr(input);
    let mut child = command.spawn()?;
    // It holds our ends of the pipe, and the log ends with the last of them.
    drop(command);
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let pidfd = pid.ok_or_else(|| io::Error::other("no number of a process"));
    let pidfd = pidfd.and_then(|pid| Ok(pidfd_open(pid, PidfdFlags::empty())?));
    let (hearing, heard_out) = mpsc::channel();
    let logging = move || {
        log(output, &secrets, &words);
        drop(hearing);
    };
    let logs = thread::Builder::new().name("mediamtx-log".into()).spawn(logging);
    match pidfd.and_then(|pidfd| logs.map(|_| pidfd)) {
        Ok(pidfd) => Ok(Begun { child, pidfd, heard_out }),
        Err(error) => {
            // Unwatched it must not run.
            let _ = child.kill();
            let _ = child.wait();
            Err(error)
        }
    }
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with status {code}"),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}
