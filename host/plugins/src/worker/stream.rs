//! One stream in the worker: opened, served frame by frame, closed when the host hangs up.

use super::callbacks::StreamCallbacks;
use super::processors::{Libraries, Processors};
use super::shared_pipelines::SharedPipelines;
use super::sharing_key::key;
use super::{is_hang_up, lose_host};
use crate::marks::Mark;
use crate::message::{FromStream, MemoryLayout, Offered, ToStream};
use crate::packets::Packets;
use crate::sys::{Note, WorkerMemory, enter};
use crate::wait::linger;
use plugin_api::loader::{Callbacks, HostContext, Library, LoadedPipeline, LoadedStream, Wanted};
use plugin_api::{Claim, Environment, Error, FrameFormat, Outcome};
use rustix::fd::{AsFd, OwnedFd};
use std::sync::Arc;

/// What a stream is opened with.
pub(super) struct Opening {
    pub library: Arc<Library>,
    pub claim: Claim,
    pub environment: Environment,
    pub pipelines: Arc<SharedPipelines>,
    pub values: String,
    pub layout: MemoryLayout,
    pub memory: OwnedFd,
    pub note: Arc<Note>,
    /// Of other plugins.
    pub libraries: Arc<Libraries>,
    pub processors: Vec<Offered>,
    /// Those that ended a worker before: names and reasons.
    pub switched_off: Vec<(String, String)>,
}

/// Body of a stream's thread, which notes that it is at work but for while it waits.
pub(super) fn run(opening: Opening, socket: Packets) {
    let note = opening.note.clone();
    enter(Mark::OWN);
    note.set(Mark::OWN);
    work(opening, socket);
    note.set(Mark::IDLE);
}

fn work(opening: Opening, socket: Packets) {
    let sender = match socket.socket().try_clone_to_owned() {
        Ok(sender) => Arc::new(Packets::new(sender)),
        Err(error) => lose_host(&error),
    };
    let mut served = match open(&opening, &sender) {
        Ok(served) => served,
        Err(error) => return reply(&sender, &failed(error)),
    };
    served.tell(&sender, &served.opened);
    served.serve(socket, &sender);
}

/// An open stream.
struct Served {
    pipeline: String,
    stream: LoadedStream,
    callbacks: Arc<StreamCallbacks>,
    memory: WorkerMemory,
    libraries: Arc<Libraries>,
    note: Arc<Note>,
    opened: FromStream,
}

fn open(opening: &Opening, sender: &Arc<Packets>) -> Result<Served, Error> {
    let Opening { claim, environment, values, libraries, .. } = opening;
    let memory =
        WorkerMemory::new(opening.memory.as_fd().try_clone_to_owned()?, opening.layout.clone())?;
    let mut processors = Processors::new(libraries, &opening.processors);
    for (name, reason) in &opening.switched_off {
        processors.switch_off(name, reason.clone());
    }
    let callbacks = StreamCallbacks::new(sender.clone(), processors, opening.note.clone());
    let callbacks = Arc::new(callbacks);
    let host = HostContext::new(callbacks.clone(), environment);
    let pipeline = open_pipeline(opening, host, &callbacks)?;
    let output = &opening.layout.output;
    let planned = FrameFormat::new(output.width, output.height);
    let wanted = Wanted { output: Some(planned), ..Wanted::pipeline(&claim.pipeline, values) };
    let host = HostContext::of_stream(callbacks.clone(), environment, None);
    let mut stream = pipeline.open_stream(host, wanted)?;
    let formats = stream.formats()?;
    callbacks.finish_opening();
    let sides = |format: FrameFormat| (format.width, format.height);
    let opened = FromStream::Opened { input: sides(formats.input), output: sides(formats.output) };
    let (pipeline, libraries) = (claim.pipeline.clone(), libraries.clone());
    let note = opening.note.clone();
    Ok(Served { pipeline, stream, callbacks, memory, libraries, note, opened })
}

fn open_pipeline(
    opening: &Opening,
    host: HostContext,
    callbacks: &StreamCallbacks,
) -> Result<Arc<LoadedPipeline>, Error> {
    let Opening { library, claim, values, pipelines, .. } = opening;
    let key = key(claim, &serde_json::from_str(values)?);
    let open = || library.load(host, Wanted::pipeline(&claim.pipeline, values));
    let wait = || {
        callbacks.progress(0.0, "waiting for another stream that loads the same");
        if callbacks.is_cancelled() { Err(Error::cancelled()) } else { Ok(()) }
    };
    pipelines.get(&key, open, wait)
}

impl Served {
    fn serve(&mut self, mut socket: Packets, sender: &Packets) {
        loop {
            self.note.set(Mark::IDLE);
            // The next frame may be here already when the last one took long.
            linger(socket.socket());
            let received = socket.receive_with();
            self.note.set(Mark::OWN);
            match received {
                Ok(Some(received)) => {
                    let answer = self.answer(received.message);
                    self.tell(sender, &answer);
                }
                Ok(None) => return,
                Err(error) => lose_host(&error),
            }
        }
    }

    /// Answers the host, and what plugins tell the user by then comes first.
    fn tell(&self, sender: &Packets, answer: &FromStream) {
        if let Some(notices) = self.callbacks.news() {
            reply(sender, &FromStream::Notices(notices));
        }
        reply(sender, answer);
    }

    fn answer(&mut self, question: ToStream) -> FromStream {
        match question {
            ToStream::Update { values, processors } => {
                let new = Processors::new(&self.libraries, &processors);
                let old = self.callbacks.processors().clone();
                *self.callbacks.processors() = new.after(&old);
                match self.stream.update(Wanted::pipeline(&self.pipeline, &values)) {
                    Ok(()) => FromStream::Updated,
                    Err(error) => {
                        // The stream goes on with the params that it had, as does the host.
                        *self.callbacks.processors() = old;
                        failed(error)
                    }
                }
            }
            ToStream::Process { input, output, id, captured_ns } => {
                let Some((source, mut target)) =
                    self.memory.frames((input, output), (id, captured_ns))
                else {
                    return failed(Error::invalid("the host named a slot that does not exist"));
                };
                // What was measured while loading is of no frame.
                drop(self.callbacks.take_metrics());
                match self.stream.process(&source, &mut target) {
                    Ok(Outcome::Produced) => FromStream::Produced {
                        id: target.id,
                        metrics: self.callbacks.take_metrics(),
                    },
                    Ok(Outcome::Skipped) => FromStream::Skipped,
                    Err(error) => failed(error),
                }
            }
        }
    }
}

fn failed(error: Error) -> FromStream {
    FromStream::Failed { code: error.code.into(), message: error.message }
}

/// Answers the host. One that has hung up wants no answer.
fn reply(socket: &Packets, answer: &FromStream) {
    match socket.send(answer) {
        Err(error) if !is_hang_up(&error) => lose_host(&error),
        _ => {}
    }
}
