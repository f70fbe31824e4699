//! The worker: a process that opens one library and serves its streams until the host hangs up.
//!
//! Standard input is the control socket, what is printed goes to the host's log. Each stream has a thread and a socket
//! of its own; frames lie in memory that the host made.

mod callbacks;
mod processors;
mod shared_pipelines;
mod sharing_key;
mod stream;

use crate::files::hash_bytes;
use crate::manifest_section::trim;
use crate::message::{FromWorker, LibraryFile, Offered, OpenStream, Start, ToWorker};
use crate::packets::{Packets, Received};
use crate::sys::{Note, WorkerNotes, close_inherited, note_faults};
use callbacks::PlanCallbacks;
use plugin_api::loader::{HostContext, Library, Wanted};
use plugin_api::{Environment, Manifest};
use processors::{Libraries, Processors};
use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags};
use rustix::process::{Resource, Rlimit, Signal};
use shared_pipelines::SharedPipelines;
use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

/// Exit status when the host's socket breaks, as it does when a plugin closes what is not its own.
const LOST_HOST: u8 = 70;

/// The process's life, for a `main` that was started as a worker. Returns when the host hangs up.
pub fn run_worker() -> ExitCode {
    match prepare().and_then(Worker::serve) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_hang_up(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("worker: {error}");
            ExitCode::from(LOST_HOST)
        }
    }
}

/// Whether the host no longer wants the answer: it ends workers by closing its end, whatever they are at.
fn is_hang_up(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

/// Ends the process because a socket to the host broke.
fn lose_host(error: &io::Error) -> ! {
    eprintln!("worker: the connection to the host broke: {error}");
    std::process::exit(LOST_HOST.into());
}

/// Makes this a process of its own: nothing inherited, nothing left behind.
fn prepare() -> io::Result<Packets> {
    // The host's end closes the control socket too, but a plugin may keep the process from seeing that.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    // A crash is reported by its signal; writing gigabytes of weights to a core file would only delay that.
    rustix::process::setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    close_inherited()?;
    let control = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    let nothing = rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdin(nothing)?;
    Ok(Packets::new(control))
}

/// An open library and what runs on it.
struct Worker {
    library: Arc<Library>,
    manifest: Manifest,
    environment: Environment,
    notes: Arc<WorkerNotes>,
    pipelines: Arc<SharedPipelines>,
    /// Of other plugins.
    libraries: Arc<Libraries>,
    streams: Vec<JoinHandle<()>>,
}

impl Worker {
    fn serve(mut control: Packets) -> io::Result<()> {
        let Some(first) = control.receive_with()? else { return Ok(()) };
        let ToWorker::Start(start) = first.message else {
            return Err(io::Error::other("the host's first message is no start"));
        };
        let notes = take_notes(&first.descriptors)?;
        let mut worker = match Self::open(start, notes) {
            Ok(worker) => worker,
            Err(message) => return control.send(&FromWorker::Failed { message }),
        };
        control.send(&FromWorker::Started)?;
        while let Some(received) = control.receive_with()? {
            worker.handle(received, &control)?;
        }
        // The host has closed all streams before it hangs up; they may take a moment to free what they have.
        for stream in worker.streams {
            // A panic there was printed when it happened.
            let _ = stream.join();
        }
        Ok(())
    }

    fn open(start: Start, notes: Arc<WorkerNotes>) -> Result<Self, String> {
        let (library, manifest) = open_library(&start.library)?;
        let environment = Environment {
            models_dir: start.models_dir.into(),
            engines_dir: start.engines_dir.into(),
            cache_dir: start.cache_dir.into(),
            threads: start.threads,
        };
        let pipelines = Arc::new(SharedPipelines::default());
        let (libraries, streams) = (Arc::default(), Vec::new());
        Ok(Self { library, manifest, environment, notes, pipelines, libraries, streams })
    }

    fn handle(&mut self, received: Received<ToWorker>, control: &Packets) -> io::Result<()> {
        match received.message {
            ToWorker::OpenStream(request) => self.open_stream(request, received.descriptors),
            ToWorker::Plan { pipeline, values, previous, processors } => {
                let wanted = Wanted::pipeline(&pipeline, &values);
                control.send(&self.plan(wanted, previous.as_deref(), &processors))
            }
            ToWorker::Start(_) => Err(io::Error::other("the host started this worker twice")),
        }
    }

    fn plan(
        &self,
        wanted: Wanted<'_>,
        previous: Option<&str>,
        processors: &[Offered],
    ) -> FromWorker {
        let processors = Processors::new(&self.libraries, processors);
        let host = HostContext::new(Arc::new(PlanCallbacks { processors }), &self.environment);
        match self.library.plan(&host, wanted, previous) {
            Ok(plan) => FromWorker::Planned(plan),
            Err(error) => FromWorker::Failed { message: error.message },
        }
    }

    fn open_stream(&mut self, request: OpenStream, descriptors: Vec<OwnedFd>) -> io::Result<()> {
        let [socket, memory] = <[OwnedFd; 2]>::try_from(descriptors)
            .map_err(|_| io::Error::other("a stream without its socket and memory"))?;
        let claim =
            usize::try_from(request.claim).ok().and_then(|claim| self.manifest.claims.get(claim));
        let claim = claim.cloned().ok_or_else(|| io::Error::other("an unknown claim"))?;
        let note = Note::new(self.notes.clone(), request.seat)
            .ok_or_else(|| io::Error::other("a stream without a place in the notes"))?;
        let opening = stream::Opening {
            library: self.library.clone(),
            claim,
            environment: self.environment.clone(),
            pipelines: self.pipelines.clone(),
            values: request.values,
            layout: request.layout,
            memory,
            note: Arc::new(note),
            libraries: self.libraries.clone(),
            processors: request.processors,
            switched_off: request.switched_off,
        };
        self.streams.retain(|stream| !stream.is_finished());
        let thread = thread::Builder::new().name("stream".into());
        self.streams.push(thread.spawn(move || stream::run(opening, Packets::new(socket)))?);
        Ok(())
    }
}

/// The memory for notes, from now on written by threads that end the process.
fn take_notes(descriptors: &[OwnedFd]) -> io::Result<Arc<WorkerNotes>> {
    let [file] = descriptors else {
        return Err(io::Error::other("a start without the memory for notes"));
    };
    let notes = WorkerNotes::open(file)?;
    note_faults(notes.clone())?;
    Ok(notes)
}

/// Opens a library, which must be the one that its manifest was read of.
fn open_library(file: &LibraryFile) -> Result<(Arc<Library>, Manifest), String> {
    let library = Library::open(Path::new(&file.path)).map_err(|error| error.to_string())?;
    if hash_bytes(trim(library.manifest())) != file.manifest_hash {
        return Err("the manifest in its table is not the one in its section".into());
    }
    let manifest = Manifest::parse(library.manifest()).map_err(|error| error.to_string())?;
    Ok((library, manifest))
}
