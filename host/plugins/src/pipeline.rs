//! One stream's pipeline as the runtime drives it, played by a worker process.

use crate::blame::Verdict;
use crate::config::Config;
use crate::library::Library;
use crate::mean::RunningMean;
use crate::message::{Code, FromStream, Offered, ToStream};
use crate::notices;
use crate::packets::Packets;
use crate::processors::{Find, Named, Processors, offered, strangers};
use crate::stamps::Stamps;
use crate::stop::Stop;
use crate::sys::{FrameMemory, SharedSlot};
use crate::wait::{Heard, wait};
use crate::workers::{StreamWish, Worker, WorkerError, Workers};
use host_ports::{
    Formats, Frame, FrameSize, FrameSlot, FrameStamp, Metric, Notice, Pipeline, PipelineError,
    Progress, SwitchedOff,
};
use serde_json::{Map, Value};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A worker tells of each processor that is switched off, of those of the params before and now, once, and of what there is
/// to notice once for each answer; no pipeline has that many.
const MOST_TOLD: usize = 256;

/// What a [`WorkerPipeline`] is made from.
pub(crate) struct Parts {
    pub library: Arc<Library>,
    /// Index of the claim in the manifest.
    pub claim: usize,
    pub config: Arc<Config>,
    pub workers: Arc<Workers>,
    pub memory: Arc<FrameMemory>,
    pub find: Find,
}

pub(crate) struct WorkerPipeline {
    parts: Parts,
    stop: Arc<Stop>,
    link: Option<Link>,
    stamps: Stamps,
    mean: RunningMean,
    metrics: Vec<Metric>,
    processors: Processors,
    notices: Vec<Notice>,
    /// What this stream was calling when its worker ended last, where it is not known who ended it.
    suspect: Option<Offered>,
}

/// An open stream in a worker.
struct Link {
    // Declared before the worker: the stream is closed before the worker is given up.
    socket: Packets,
    worker: Arc<Worker>,
    seat: u32,
    /// Whether the worker is.
    is_lost: bool,
}

impl Drop for Link {
    fn drop(&mut self) {
        if !self.is_lost {
            self.worker.blame().leave(self.seat);
        }
    }
}

impl WorkerPipeline {
    pub(crate) fn new(parts: Parts) -> std::io::Result<Self> {
        let stop = Arc::new(Stop::new()?);
        Ok(Self {
            parts,
            stop,
            link: None,
            stamps: Stamps::default(),
            mean: RunningMean::default(),
            metrics: Vec::new(),
            processors: Processors::default(),
            notices: Vec::new(),
            suspect: None,
        })
    }

    fn start(
        &mut self,
        params: &Map<String, Value>,
        on_progress: &mut dyn FnMut(Progress),
    ) -> Result<(), Failure> {
        let Parts { library, claim, config, workers, memory, find } = &self.parts;
        let Named { found, missing, without } = find(params);
        self.processors.name(offered(&found), missing, without);
        let strangers = strangers(library, found);
        let worker = workers.get(config, (library, &strangers), &self.stop)?;
        let wish = StreamWish {
            claim: *claim,
            values: to_text(params),
            processors: self.processors.offered.clone(),
            switched_off: self.processors.off_by_name(),
        };
        let (socket, seat) = worker.open_stream(wish, memory)?;
        let link = self.link.insert(Link { socket, worker, seat, is_lost: false });
        let mut hearing = Hearing {
            stop: &self.stop,
            processors: &mut self.processors,
            notices: &mut self.notices,
            plugin: self.parts.library.id(),
        };
        let told = link.wait_until_open(config.limits.load, &mut hearing, on_progress)?;
        let planned = memory.formats();
        if told != planned {
            let message = format!(
                "the plugin planned {} to {} and opened {} to {}",
                planned.input, planned.output, told.input, told.output
            );
            return Err(Failure::Told(Code::Invalid, message));
        }
        Ok(())
    }

    fn exchange(&mut self, frame: &Frame) -> Result<Option<Frame>, PipelineError> {
        if self.stop.is_set() {
            return Err(PipelineError::Cancelled);
        }
        let Some(link) = &mut self.link else { return Err(not_loaded()) };
        let copy = input_slot(&self.parts.memory, frame)?;
        let input = copy.as_ref().or(own_slot(frame)).map(SharedSlot::index);
        let Some((input, output)) = input.zip(self.parts.memory.lease_output()) else {
            // Every output is still being shown or encoded; this frame is dropped like any that comes too soon.
            tracing::debug!(plugin = self.parts.library.id(), "no free frame memory");
            return Ok(None);
        };
        self.stamps.remember(frame.stamp);
        let question = ToStream::Process {
            input,
            output: output.index(),
            id: frame.stamp.id,
            captured_ns: nanoseconds(frame.stamp),
        };
        let limit = self.mean.limit(&self.parts.config.limits);
        let begun = Instant::now();
        let mut hearing = Hearing {
            stop: &self.stop,
            processors: &mut self.processors,
            notices: &mut self.notices,
            plugin: self.parts.library.id(),
        };
        let answer = link.ask(&question, limit, &mut hearing, "processing a frame");
        let (stamps, measured) = (&self.stamps, &mut self.metrics);
        let outcome = answer.and_then(|answer| match answer {
            FromStream::Produced { id, metrics } => match stamps.find(id) {
                Some(stamp) => {
                    let metric = |(name, value)| Metric { name, value };
                    *measured = metrics.into_iter().map(metric).collect();
                    Ok(Some(Frame::new(stamp, Box::new(output))))
                }
                None => Err(link.break_off("a picture of a frame that it was not given")),
            },
            FromStream::Skipped => Ok(None),
            FromStream::Failed { code, message } => Err(Failure::Told(code, message)),
            _ => Err(link.break_off("an answer that is not one to a frame")),
        });
        if outcome.is_ok() {
            self.mean.add(begun.elapsed());
        }
        outcome.map_err(|failure| self.fail(failure))
    }

    /// Turns a failure into the runtime's error, and gives up a worker that cannot go on.
    fn fail(&mut self, failure: Failure) -> PipelineError {
        let error = failure.into_error(self.parts.library.id());
        if !error.needs_restart() {
            return error;
        }
        let Some(mut link) = self.link.take() else { return error };
        link.is_lost = true;
        self.notices.clear();
        match self.culprit(&link) {
            Some(culprit) => self.blame(error, &culprit),
            None => error,
        }
    }

    /// Who ended the worker, of those that are lent to its streams. Where it is not known, this stream's own part in it is
    /// suspected, and to blame if that was so the last time too.
    fn culprit(&mut self, link: &Link) -> Option<Offered> {
        let blame = link.worker.blame();
        let suspected = self.suspect.take();
        match blame.verdict() {
            Verdict::Nobody => None,
            Verdict::Lent(culprit) => Some(culprit),
            Verdict::Unclear => {
                self.suspect = self.processors.marked(blame.called(link.seat)).cloned();
                self.suspect.clone().filter(|suspect| suspected.as_ref() == Some(suspect))
            }
        }
    }

    /// The next worker does not call it, whichever stream it was that suffered from it.
    fn blame(&mut self, error: PipelineError, culprit: &Offered) -> PipelineError {
        let error = error.blamed_on(&culprit.plugin);
        if self.processors.offered.contains(culprit) {
            self.processors.switch_off(&culprit.name, error.to_string());
        }
        error
    }
}

impl Pipeline for WorkerPipeline {
    fn load(
        &mut self,
        params: &Map<String, Value>,
        on_progress: &mut dyn FnMut(Progress),
    ) -> Result<(), PipelineError> {
        // The stream that was open goes first, so that old and new weights are not loaded at the same time.
        self.link = None;
        self.notices.clear();
        self.stamps = Stamps::default();
        self.mean = RunningMean::default();
        if self.stop.is_set() {
            return Err(PipelineError::Cancelled);
        }
        self.start(params, on_progress).map_err(|failure| {
            let error = match failure {
                Failure::Told(Code::Cancelled, _) => PipelineError::Cancelled,
                Failure::Told(_, message) => PipelineError::CannotLoad { message },
                failure => self.fail(failure),
            };
            self.link = None;
            self.notices.clear();
            error
        })
    }

    fn update(&mut self, params: &Map<String, Value>) -> Result<(), PipelineError> {
        if self.stop.is_set() {
            return Err(PipelineError::Cancelled);
        }
        let Some(link) = &mut self.link else { return Err(not_loaded()) };
        let before = self.processors.clone();
        let Named { found, missing, without } = (self.parts.find)(params);
        self.processors.name(offered(&found), missing, without);
        let processors = self.processors.offered.clone();
        link.worker.blame().offer(link.seat, &processors);
        let question = ToStream::Update { values: to_text(params), processors };
        let limit = self.parts.config.limits.update;
        let mut hearing = Hearing {
            stop: &self.stop,
            processors: &mut self.processors,
            notices: &mut self.notices,
            plugin: self.parts.library.id(),
        };
        let answer = link.ask(&question, limit, &mut hearing, "applying params");
        let outcome = answer.and_then(|answer| match answer {
            FromStream::Updated => Ok(()),
            FromStream::Failed { code, message } => Err(Failure::Told(code, message)),
            _ => Err(link.break_off("an answer that is not one to params")),
        });
        if let Err(Failure::Told(..)) = &outcome {
            // The stream goes on with the params that it had.
            link.worker.blame().offer(link.seat, &before.offered);
            self.processors = before;
        }
        outcome.map_err(|failure| self.fail(failure))
    }

    fn process(&mut self, frame: Frame) -> Result<Option<Frame>, PipelineError> {
        self.exchange(&frame)
    }

    fn metrics(&self) -> &[Metric] {
        &self.metrics
    }

    fn switched_off(&self) -> &[SwitchedOff] {
        self.processors.off()
    }

    fn notices(&self) -> &[Notice] {
        &self.notices
    }

    fn canceller(&self) -> Arc<dyn Fn() + Send + Sync> {
        let stop = self.stop.clone();
        Arc::new(move || stop.set())
    }

    fn worker_pid(&self) -> Option<u32> {
        let process = self.link.as_ref().map(|link| link.worker.process())?;
        process.is_running().then(|| process.pid())
    }
}

/// What waiting for a worker's answer goes by.
struct Hearing<'a> {
    stop: &'a Stop,
    /// Told of those that are switched off meanwhile.
    processors: &'a mut Processors,
    notices: &'a mut Vec<Notice>,
    /// The pipeline's.
    plugin: &'a str,
}

impl Link {
    /// Sends a question and waits for its answer. Signs of life on the way are none: a frame has its limit.
    fn ask(
        &mut self,
        question: &ToStream,
        limit: Duration,
        hearing: &mut Hearing<'_>,
        doing: &'static str,
    ) -> Result<FromStream, Failure> {
        self.socket.send(question).map_err(|error| self.worker.unheard(&error))?;
        let deadline = Instant::now() + limit;
        loop {
            match self.hear(limit, deadline, hearing, doing)? {
                // Passed on while loading only; a worker of ours sends none here.
                FromStream::Progress { .. } if Instant::now() < deadline => {}
                FromStream::Progress { .. } => {
                    return Err(self.break_off("progress instead of an answer"));
                }
                answer => return Ok(answer),
            }
        }
    }

    fn wait_until_open(
        &mut self,
        limit: Duration,
        hearing: &mut Hearing<'_>,
        on_progress: &mut dyn FnMut(Progress),
    ) -> Result<Formats, Failure> {
        loop {
            match self.hear(limit, Instant::now() + limit, hearing, "loading")? {
                FromStream::Progress { fraction, what } => on_progress(Progress { fraction, what }),
                FromStream::Opened { input, output } => {
                    let size = |(width, height)| FrameSize::new(width, height);
                    return Ok(Formats { input: size(input), output: size(output) });
                }
                FromStream::Failed { code, message } => return Err(Failure::Told(code, message)),
                _ => return Err(self.break_off("an answer before the stream was open")),
            }
        }
    }

    /// The next message but for those that only tell how things stand.
    fn hear(
        &mut self,
        limit: Duration,
        deadline: Instant,
        hearing: &mut Hearing<'_>,
        doing: &'static str,
    ) -> Result<FromStream, Failure> {
        for _ in 0..MOST_TOLD {
            match self.hear_any(limit, deadline, hearing.stop, doing)? {
                FromStream::SwitchedOff { name, reason } => {
                    hearing.processors.switch_off(&name, reason);
                }
                FromStream::Notices(said) => {
                    let told = notices::told(said, hearing.processors, hearing.plugin);
                    *hearing.notices = told;
                }
                message => return Ok(message),
            }
        }
        Err(self.break_off("more processors switched off and more to notice than there can be"))
    }

    fn hear_any(
        &mut self,
        limit: Duration,
        deadline: Instant,
        stop: &Stop,
        doing: &'static str,
    ) -> Result<FromStream, Failure> {
        let process = self.worker.process();
        match wait(self.socket.socket(), process.pidfd(), Some(stop), deadline) {
            // However much a worker talks, it does not hold the host up.
            Ok(Heard::Message) if stop.is_set() => Err(WorkerError::Stopped.into()),
            Ok(Heard::Message) => match self.socket.receive() {
                Ok(Some(message)) => Ok(message),
                Ok(None) => Err(self.worker.death().into()),
                Err(error) => Err(self.break_off(&error.to_string())),
            },
            Ok(Heard::Died) => Err(self.worker.death().into()),
            Ok(Heard::Stopped) => Err(WorkerError::Stopped.into()),
            Ok(Heard::TimedOut) => {
                let seconds = limit.as_secs();
                self.worker.blame().condemn(self.seat);
                process.kill(&format!("it did not answer for {seconds} s while {doing}"));
                Err(Failure::Silent { seconds, doing })
            }
            Err(error) => Err(WorkerError::Start { message: error.to_string() }.into()),
        }
    }

    fn break_off(&self, what: &str) -> Failure {
        self.worker.break_off(what).into()
    }
}

/// Why a call failed, before it is known how the runtime should see it.
enum Failure {
    /// The plugin says so.
    Told(Code, String),
    Silent {
        seconds: u64,
        doing: &'static str,
    },
    Worker(WorkerError),
}

impl From<WorkerError> for Failure {
    fn from(error: WorkerError) -> Self {
        Self::Worker(error)
    }
}

impl Failure {
    fn into_error(self, plugin: &str) -> PipelineError {
        let plugin = plugin.to_owned();
        match self {
            Self::Told(Code::Cancelled, _) | Self::Worker(WorkerError::Stopped) => {
                PipelineError::Cancelled
            }
            Self::Told(_, message) => PipelineError::Failed { message },
            Self::Silent { seconds, doing } => PipelineError::Hung { plugin, seconds, doing },
            Self::Worker(WorkerError::Hung { limit }) => PipelineError::Hung {
                plugin,
                seconds: limit.as_secs(),
                doing: "opening its library",
            },
            Self::Worker(WorkerError::Died { how }) => PipelineError::Died { plugin, how },
            Self::Worker(WorkerError::Protocol { what }) => {
                PipelineError::Protocol { plugin, what }
            }
            Self::Worker(WorkerError::Refused { message }) => PipelineError::CannotLoad { message },
            Self::Worker(error @ WorkerError::Start { .. }) => {
                PipelineError::CannotLoad { message: error.to_string() }
            }
        }
    }
}

fn not_loaded() -> PipelineError {
    PipelineError::Failed { message: "the pipeline is not loaded".into() }
}

fn to_text(params: &Map<String, Value>) -> String {
    Value::Object(params.clone()).to_string()
}

/// The frame's own slot, if it lies in memory that the worker sees; checked by [`input_slot`].
fn own_slot(frame: &Frame) -> Option<&SharedSlot> {
    frame.slot().as_any().downcast_ref()
}

/// Copies a frame that lies elsewhere (of another pool, as after a change of formats) into this stream's memory. None
/// when it lies there already, or no slot is free.
fn input_slot(
    memory: &Arc<FrameMemory>,
    frame: &Frame,
) -> Result<Option<SharedSlot>, PipelineError> {
    if own_slot(frame).is_some_and(|slot| slot.is_input_of(memory)) {
        return Ok(None);
    }
    let expected = memory.formats().input;
    if frame.size() != expected {
        let message = format!("the frame is {}, the pipeline takes {expected}", frame.size());
        return Err(PipelineError::Failed { message });
    }
    let Some(mut slot) = memory.lease_input() else {
        let message = "no frame memory is free for a frame from elsewhere".into();
        return Err(PipelineError::Failed { message });
    };
    slot.pixels_mut().copy_from_slice(frame.pixels());
    Ok(Some(slot))
}

/// The kernel's monotonic clock at which a frame was captured.
fn nanoseconds(stamp: FrameStamp) -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let now = Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs() as u32);
    now.saturating_sub(stamp.captured_at.elapsed()).as_nanos() as u64
}
