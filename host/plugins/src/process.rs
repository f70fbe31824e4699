//! A worker as a process: started, watched, heard on its output, and always reaped.

use crate::config::WorkerCommand;
use rustix::event::{PollFd, PollFlags};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions};
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

pub(crate) mod output;

use output::{LastWords, Output};

/// The variable by which CUDA is told in which order to count cards.
const CARD_ORDER: &str = "CUDA_DEVICE_ORDER";

/// How long it may take until a dead process can be reaped.
const REAP_LIMIT: Duration = Duration::from_secs(5);

/// Starts processes on a thread that outlives them: the kernel ends a worker with the thread that started it.
pub(crate) struct Spawner {
    requests: Option<mpsc::SyncSender<Request>>,
    thread: Option<JoinHandle<()>>,
}

struct Request {
    command: Command,
    reply: mpsc::SyncSender<io::Result<Child>>,
}

impl Spawner {
    pub(crate) fn new() -> io::Result<Self> {
        // Rendezvous: whoever asks waits for the answer anyway.
        let (requests, incoming) = mpsc::sync_channel::<Request>(0);
        let thread = thread::Builder::new().name("plugin-spawn".into()).spawn(move || {
            for mut request in incoming {
                // The asker waits; should it be gone, the child loses its socket and ends.
                let _ = request.reply.send(request.command.spawn());
            }
        })?;
        Ok(Self { requests: Some(requests), thread: Some(thread) })
    }

    fn spawn(&self, command: Command) -> io::Result<Child> {
        let gone = || io::Error::other("the thread that starts workers is gone");
        let (reply, answer) = mpsc::sync_channel(1);
        let requests = self.requests.as_ref().ok_or_else(gone)?;
        requests.send(Request { command, reply }).map_err(|_| gone())?;
        answer.recv().map_err(|_| gone())?
    }
}

impl Drop for Spawner {
    fn drop(&mut self) {
        self.requests.take();
        if let Some(thread) = self.thread.take() {
            // A panic there was reported when it happened.
            let _ = thread.join();
        }
    }
}

/// A running or ended worker process. Dropping it kills and reaps it.
pub(crate) struct Process {
    pid: u32,
    pidfd: OwnedFd,
    fate: Arc<Fate>,
    supervisor: Option<JoinHandle<()>>,
}

/// How the process ended, once it has.
#[derive(Default)]
struct Fate {
    how: Mutex<Option<String>>,
    ended: Condvar,
    /// Why the host killed it.
    sentence: Mutex<Option<String>>,
}

impl Process {
    /// Starts a worker of `plugin` whose standard input is `control`.
    pub(crate) fn start(
        spawner: &Spawner,
        worker: &WorkerCommand,
        plugin: &str,
        control: OwnedFd,
    ) -> io::Result<Self> {
        let mut command = Command::new(&worker.exe);
        command.args(&worker.args).stdin(control).stdout(Stdio::piped()).stderr(Stdio::piped());
        // Our own settings may hold secrets, and no plugin needs them.
        for (name, _) in std::env::vars_os()
            .filter(|(name, _)| name.to_str().is_some_and(|name| name.starts_with("SDH_")))
        {
            command.env_remove(name);
        }
        // Cards are numbered as their driver numbers them, which is how the host tells of them.
        if std::env::var_os(CARD_ORDER).is_none() {
            command.env(CARD_ORDER, "PCI_BUS_ID");
        }
        command.envs(worker.env.iter().map(|(name, value)| (name, value)));
        Self::watch(spawner.spawn(command)?, plugin)
    }

    fn watch(mut child: Child, plugin: &str) -> io::Result<Self> {
        let pid = child.id();
        let fate = Arc::new(Fate::default());
        let watched = open_pidfd(&child).and_then(|pidfd| Ok((pidfd.try_clone()?, pidfd)));
        let (pidfd, watched) = match watched {
            Ok(watched) => watched,
            Err(error) => {
                // Unwatched it must not run; it has done nothing yet.
                let _ = child.kill();
                let _ = child.wait();
                return Err(error);
            }
        };
        let supervision =
            Supervision { plugin: plugin.into(), child, pidfd: watched, fate: fate.clone() };
        let thread = thread::Builder::new().name("plugin-watch".into());
        match thread.spawn(|| supervision.run()) {
            Ok(supervisor) => Ok(Self { pid, pidfd, fate, supervisor: Some(supervisor) }),
            Err(error) => {
                // The child went with the thread that was to watch it: it is ended and reaped by its descriptor.
                let _ = rustix::process::pidfd_send_signal(&pidfd, Signal::KILL);
                let child = WaitId::PidFd(pidfd.as_fd());
                let _ = rustix::process::waitid(child, WaitIdOptions::EXITED);
                Err(error)
            }
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Readable once the process has ended.
    pub(crate) fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Whether it has not ended yet, as far as is known.
    pub(crate) fn is_running(&self) -> bool {
        lock(&self.fate.how).is_none() && lock(&self.fate.sentence).is_none()
    }

    /// Kills it and sees it gone; `why` becomes part of how it ended.
    pub(crate) fn kill(&self, why: &str) {
        lock(&self.fate.sentence).get_or_insert_with(|| why.to_owned());
        // It may be dead already.
        let _ = rustix::process::pidfd_send_signal(&self.pidfd, Signal::KILL);
        if self.wait_for_end(REAP_LIMIT).is_none() {
            tracing::error!(pid = self.pid, "a killed worker does not end; the kernel holds it");
        }
    }

    /// Waits for the end; none when it does not come in time.
    pub(crate) fn wait_for_end(&self, limit: Duration) -> Option<String> {
        let deadline = Instant::now() + limit;
        let mut how = lock(&self.fate.how);
        while how.is_none() {
            let left = deadline.checked_duration_since(Instant::now())?;
            how = match self.fate.ended.wait_timeout(how, left) {
                Ok((how, _)) => how,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
        how.clone()
    }

    /// How it ended, for a process that is known to be gone or to have hung up on us; kills it in the second case.
    pub(crate) fn how_it_ended(&self) -> String {
        self.wait_for_end(Duration::from_secs(1)).unwrap_or_else(|| {
            self.kill("it closed its connection");
            self.wait_for_end(Duration::ZERO).unwrap_or_else(|| "it cannot be killed".into())
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill("nobody needs it any more");
        if let Some(supervisor) = self.supervisor.take() {
            // A panic there was reported when it happened.
            let _ = supervisor.join();
        }
    }
}

fn open_pidfd(child: &Child) -> io::Result<OwnedFd> {
    let pid = Pid::from_child(child);
    Ok(rustix::process::pidfd_open(pid, PidfdFlags::empty())?)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Body of the `plugin-watch` thread: passes a worker's output to the log, and reaps it.
struct Supervision {
    plugin: String,
    child: Child,
    pidfd: OwnedFd,
    fate: Arc<Fate>,
}

impl Supervision {
    fn run(mut self) {
        let last_words = LastWords::default();
        let mut outputs = self.outputs(&last_words);
        while !self.poll(&mut outputs) {}
        // What it wrote before it died is still in the pipes; a child of its own could keep them open for ever.
        for output in &mut outputs {
            output.drain();
        }
        let how = match self.child.wait() {
            Ok(status) => self.describe(status, &last_words),
            Err(error) => format!("it cannot be waited for: {error}"),
        };
        tracing::debug!(plugin = self.plugin, pid = self.child.id(), how, "worker ended");
        *lock(&self.fate.how) = Some(how);
        self.fate.ended.notify_all();
    }

    fn outputs(&mut self, last_words: &LastWords) -> Vec<Output> {
        let stdout = self.child.stdout.take().map(OwnedFd::from);
        let stderr = self.child.stderr.take().map(OwnedFd::from);
        let pid = self.child.id();
        let pipes = [stdout, stderr].into_iter().flatten();
        pipes
            .filter_map(|pipe| Output::new(pipe, &self.plugin, pid, last_words.clone()).ok())
            .collect()
    }

    /// Waits for output or the end; true at the end.
    fn poll(&self, outputs: &mut Vec<Output>) -> bool {
        let mut descriptors = vec![PollFd::new(&self.pidfd, PollFlags::IN)];
        descriptors.extend(outputs.iter().map(|output| PollFd::new(output, PollFlags::IN)));
        if rustix::event::poll(&mut descriptors, None).is_err() {
            return false;
        }
        let is_ready: Vec<bool> = descriptors.iter().map(|fd| !fd.revents().is_empty()).collect();
        let mut index = 0;
        outputs.retain_mut(|output| {
            index += 1;
            !is_ready[index] || output.read_some()
        });
        is_ready[0]
    }

    fn describe(&self, status: ExitStatus, last_words: &LastWords) -> String {
        if let Some(sentence) = lock(&self.fate.sentence).clone() {
            return format!("killed by the host: {sentence}");
        }
        let how = match (status.signal(), status.code()) {
            (Some(signal), _) => format!("ended with signal {signal}{}", signal_name(signal)),
            (None, Some(code)) => format!("exited with status {code}"),
            (None, None) => "ended".into(),
        };
        match last_words.get() {
            Some(line) => format!("{how}; its last words: {line}"),
            None => how,
        }
    }
}

fn signal_name(signal: i32) -> &'static str {
    match signal {
        4 => " (illegal instruction)",
        6 => " (abort)",
        7 => " (bus error)",
        8 => " (arithmetic error)",
        9 => " (killed)",
        11 => " (segmentation fault)",
        15 => " (terminated)",
        _ => "",
    }
}
