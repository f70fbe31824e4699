//! Worker processes in the host: one per library, shared by its streams, ended with the last of them.

use crate::blame::Blame;
use crate::config::Config;
use crate::library::Library;
use crate::message::{FromWorker, Offered, OpenStream, Start, ToWorker};
use crate::packets::Packets;
use crate::process::{Process, Spawner};
use crate::processors::hashes;
use crate::stop::Stop;
use crate::sys::FrameMemory;
use crate::wait::{Heard, wait};
use rustix::fd::{AsFd, BorrowedFd};
use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

/// Why a worker could not be started or did not answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WorkerError {
    /// The plugin or the library itself says no.
    #[error("{message}")]
    Refused { message: String },
    #[error("{how}")]
    Died { how: String },
    #[error("no answer for {} s", limit.as_secs())]
    Hung { limit: Duration },
    #[error("the worker broke the protocol: {what}")]
    Protocol { what: String },
    #[error("cancelled")]
    Stopped,
    /// The host's own trouble.
    #[error("the worker cannot be started: {message}")]
    Start { message: String },
}

/// A running worker process with its library open.
pub(crate) struct Worker {
    // Declared before the process: its end of the socket closes first, which asks the worker to end.
    control: Mutex<Option<Packets>>,
    process: Process,
    close_limit: Duration,
    blame: Blame,
}

impl Worker {
    /// Starts a worker and lets it open its library.
    pub(crate) fn start(
        spawner: &Spawner,
        config: &Config,
        library: &Library,
        limit: Duration,
        stop: Option<&Stop>,
    ) -> Result<Self, WorkerError> {
        let trouble = |error: io::Error| WorkerError::Start { message: error.to_string() };
        let (control, theirs) = Packets::pair().map_err(trouble)?;
        let process =
            Process::start(spawner, &config.worker, library.id(), theirs).map_err(trouble)?;
        let worker = Self {
            control: Mutex::new(Some(control)),
            process,
            close_limit: config.limits.close,
            blame: Blame::new().map_err(trouble)?,
        };
        let start = ToWorker::Start(start_message(config, library));
        match worker.ask_with((&start, &[worker.blame.file()]), limit, stop)? {
            FromWorker::Started => Ok(worker),
            FromWorker::Failed { message } => Err(WorkerError::Refused { message }),
            FromWorker::Planned(_) => Err(worker.break_off("a plan without a question")),
        }
    }

    /// Whom its streams call, and who ended it.
    pub(crate) fn blame(&self) -> &Blame {
        &self.blame
    }

    pub(crate) fn process(&self) -> &Process {
        &self.process
    }

    /// Sends a question on the control socket and waits for the answer. One at a time.
    pub(crate) fn ask(
        &self,
        question: &ToWorker,
        limit: Duration,
        stop: Option<&Stop>,
    ) -> Result<FromWorker, WorkerError> {
        self.ask_with((question, &[]), limit, stop)
    }

    fn ask_with(
        &self,
        (question, descriptors): (&ToWorker, &[BorrowedFd<'_>]),
        limit: Duration,
        stop: Option<&Stop>,
    ) -> Result<FromWorker, WorkerError> {
        let mut control = self.control();
        let control = control.as_mut().ok_or_else(|| self.death())?;
        control.send_with(question, descriptors).map_err(|error| self.unheard(&error))?;
        let deadline = Instant::now() + limit;
        match wait(control.socket(), self.process.pidfd(), stop, deadline) {
            Ok(Heard::Message) => match control.receive() {
                Ok(Some(answer)) => Ok(answer),
                Ok(None) => Err(self.death()),
                Err(error) => Err(self.break_off(&error.to_string())),
            },
            Ok(Heard::Died) => Err(self.death()),
            Ok(Heard::Stopped) => Err(WorkerError::Stopped),
            Ok(Heard::TimedOut) => {
                self.end(&format!("it did not answer for {} s", limit.as_secs()));
                Err(WorkerError::Hung { limit })
            }
            Err(error) => Err(WorkerError::Start { message: error.to_string() }),
        }
    }

    /// Asks for a stream, which answers on a socket of its own; gives that and its seat.
    pub(crate) fn open_stream(
        &self,
        wish: StreamWish,
        memory: &FrameMemory,
    ) -> Result<(Packets, u32), WorkerError> {
        let trouble = |error: io::Error| WorkerError::Start { message: error.to_string() };
        let (ours, theirs) = Packets::pair().map_err(trouble)?;
        let StreamWish { claim, values, processors, switched_off } = wish;
        let claim = u32::try_from(claim).unwrap_or(u32::MAX);
        let layout = memory.layout().clone();
        let full = || WorkerError::Start { message: "one has no room for more streams".into() };
        let seat = self.blame.take_seat(&processors).ok_or_else(full)?;
        let opening = OpenStream { claim, values, layout, seat, processors, switched_off };
        let sent = match &*self.control() {
            Some(control) => control
                .send_with(&ToWorker::OpenStream(opening), &[theirs.as_fd(), memory.file()])
                .map_err(|error| self.unheard(&error)),
            None => Err(self.death()),
        };
        match sent {
            Ok(()) => Ok((ours, seat)),
            Err(error) => {
                self.blame.leave(seat);
                Err(error)
            }
        }
    }

    /// How a worker ended that is gone or has hung up.
    pub(crate) fn death(&self) -> WorkerError {
        WorkerError::Died { how: self.process.how_it_ended() }
    }

    /// Why a worker could not be told something.
    pub(crate) fn unheard(&self, error: &io::Error) -> WorkerError {
        match error.kind() {
            io::ErrorKind::WouldBlock => self.break_off("it does not take what it is sent"),
            _ => self.death(),
        }
    }

    /// Ends a worker that says impossible things.
    pub(crate) fn break_off(&self, what: &str) -> WorkerError {
        self.end(&format!("it broke the protocol: {what}"));
        WorkerError::Protocol { what: what.into() }
    }

    /// Kills it for what none of its streams' calls did.
    fn end(&self, why: &str) {
        self.blame.acquit();
        self.process.kill(why);
    }

    fn control(&self) -> MutexGuard<'_, Option<Packets>> {
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // A closed control socket is the wish to end; the process is killed when it does not.
        self.control().take();
        if self.process.wait_for_end(self.close_limit).is_none() {
            tracing::warn!(pid = self.process.pid(), "worker did not end when asked; killing it");
        }
    }
}

/// What a stream is opened with.
pub(crate) struct StreamWish {
    /// Index of the claim in the manifest.
    pub claim: usize,
    pub values: String,
    pub processors: Vec<Offered>,
    /// Those that ended a worker before: names and reasons.
    pub switched_off: Vec<(String, String)>,
}

/// Hands out workers.
pub(crate) struct Workers {
    spawner: Spawner,
    /// By the hashes of whom they trust: the library, and those of other vendors that it works with. The inner lock is held while a worker starts, so that streams of one library share it.
    shared: Mutex<HashMap<String, Arc<Mutex<Weak<Worker>>>>>,
}

impl Workers {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { spawner: Spawner::new()?, shared: Mutex::default() })
    }

    pub(crate) fn spawner(&self) -> &Spawner {
        &self.spawner
    }

    /// The worker of a library, started if there is none. One that works with `strangers`, the libraries of other vendors,
    /// is shared by streams of these alone.
    pub(crate) fn get(
        &self,
        config: &Config,
        (library, strangers): (&Library, &[Arc<Library>]),
        stop: &Stop,
    ) -> Result<Arc<Worker>, WorkerError> {
        let start = || {
            Worker::start(&self.spawner, config, library, config.limits.load, Some(stop))
                .map(Arc::new)
        };
        if config.per_stream {
            return start();
        }
        let mut key = hashes(strangers);
        key.insert(0, &library.hash);
        let entry = self.entry(&key.join("+"));
        let mut shared = entry.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(worker) = shared.upgrade().filter(|worker| worker.process.is_running()) {
            return Ok(worker);
        }
        let worker = start()?;
        *shared = Arc::downgrade(&worker);
        Ok(worker)
    }

    fn entry(&self, key: &str) -> Arc<Mutex<Weak<Worker>>> {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        shared.retain(|_, entry| Arc::strong_count(entry) > 1 || has_worker(entry));
        shared.entry(key.to_owned()).or_default().clone()
    }
}

/// Whether an entry that nobody else holds still leads to a worker.
fn has_worker(entry: &Mutex<Weak<Worker>>) -> bool {
    entry.lock().unwrap_or_else(PoisonError::into_inner).strong_count() > 0
}

fn start_message(config: &Config, library: &Library) -> Start {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let environment = &config.environment;
    Start {
        library: library.file(),
        models_dir: text(&environment.models_dir),
        engines_dir: text(&environment.engines_dir),
        cache_dir: text(&environment.cache_dir),
        threads: environment.threads,
    }
}
