//! The thread `pipe-<short id>` of a stream: opens, loads, updates and drops its pipeline and puts frames through it.
//! The only place that waits for a pipeline.

use crate::figures::DropCause;
use crate::inbox::{Job, LoadOrder, Order, Params};
use crate::shared::Shared;
use host_ports::{Frame, OpenRequest, Pipeline, PipelineCatalog, PipelineError, Progress};
use host_stream::{Event, LoadId};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use tokio::sync::mpsc;
use tracing::{Span, debug};

type Cancel = Arc<dyn Fn() + Send + Sync>;

/// What the thread works with.
pub struct Pipe {
    pub catalog: Arc<dyn PipelineCatalog>,
    pub shared: Shared,
    /// Rare: what happens at every frame goes into `figures` and `health`.
    pub reports: mpsc::Sender<Event>,
}

/// Another thread's way to end the call that the pipeline's thread is in.
#[derive(Default)]
pub struct Canceller {
    cancel: Mutex<Option<Cancel>>,
}

impl Canceller {
    pub fn cancel(&self) {
        let cancel = self.cancel.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(cancel) = cancel {
            cancel();
        }
    }

    fn set(&self, cancel: Option<Cancel>) {
        *self.cancel.lock().unwrap_or_else(PoisonError::into_inner) = cancel;
    }
}

/// A pipeline, loaded or not.
struct Open {
    pipeline: Box<dyn Pipeline>,
    load: LoadId,
    /// Frames captured earlier may lie in another pipeline's memory.
    since: Instant,
}

impl Pipe {
    /// Until it is told to stop.
    pub fn run(self, stream: Span) {
        let _entered = stream.entered();
        let mut open = None;
        let mut load = LoadId(0);
        loop {
            let job = self.shared.inbox.next();
            match &job {
                Job::Order(Order::Stop) => break,
                Job::Order(Order::Load(order) | Order::Restart(order)) => load = order.load,
                Job::Update(_) | Job::Process(_) => {}
            }
            // A panic here is a fault of this host's. It costs the pipeline, not the stream.
            if catch_unwind(AssertUnwindSafe(|| self.perform(&mut open, job))).is_err() {
                open = None;
                self.shared.inbox.close();
                let message = "the host failed at driving the pipeline";
                self.shared.health.note_error(message.to_owned());
                self.shared.chronicle.crashed(message);
                // Whichever fits the stream's state counts.
                self.report(Event::LoadFailed(load));
                self.report(Event::PipelineFailed(load));
            }
        }
        drop(open);
        self.shared.health.set_worker(None);
    }

    fn perform(&self, open: &mut Option<Open>, job: Job) {
        match job {
            Job::Order(Order::Load(order)) => {
                // Frees the old one's memory before the new one needs it.
                drop(open.take());
                *open = self.open(&order);
                self.load(open.as_mut(), order);
            }
            Job::Order(Order::Restart(order)) => {
                *open = open.take().or_else(|| self.open(&order));
                self.load(open.as_mut(), order);
            }
            Job::Order(Order::Stop) => {}
            Job::Update(params) => self.update(open.as_mut(), params),
            Job::Process(frame) => self.process(open.as_mut(), frame),
        }
    }

    fn open(&self, order: &LoadOrder) -> Option<Open> {
        let request = OpenRequest { claim: order.claim.clone(), formats: order.formats };
        match self.catalog.open(request) {
            Ok(opened) => {
                self.shared.canceller.set(Some(opened.pipeline.canceller()));
                self.shared.ingress.set_pool(opened.input);
                self.shared.screen.set_size(order.formats.output);
                let since = Instant::now();
                Some(Open { pipeline: opened.pipeline, load: order.load, since })
            }
            Err(error) => {
                self.shared.canceller.set(None);
                self.report_load_error(order.load, error);
                None
            }
        }
    }

    fn load(&self, open: Option<&mut Open>, order: LoadOrder) {
        let Some(open) = open else { return };
        open.load = order.load;
        // An order that came before the canceller was set found nothing to cancel.
        if self.shared.inbox.has_order() {
            return;
        }
        self.shared.chronicle.loading_begins();
        let mut on_progress = |progress: Progress| {
            self.shared.chronicle.loading(&progress);
            self.shared.health.set_loading(Some(progress));
        };
        let loaded = open.pipeline.load(order.params.reveal(), &mut on_progress);
        self.shared.health.set_loading(None);
        self.shared.health.set_worker(open.pipeline.worker_pid());
        match loaded {
            Ok(()) if self.shared.inbox.open(open.since) => {
                self.shared.health.note_loaded();
                self.report(Event::Loaded(order.load));
            }
            // Another order waits: nobody asks about this load any more.
            Ok(()) => debug!("loaded in vain"),
            Err(error) if self.shared.inbox.has_order() => debug!(%error, "load given up"),
            Err(error) => self.report_load_error(order.load, error),
        }
    }

    fn update(&self, open: Option<&mut Open>, params: Params) {
        let Some(open) = open else { return };
        if let Err(error) = open.pipeline.update(params.reveal()) {
            self.fail(open, error);
        }
    }

    fn process(&self, open: Option<&mut Open>, frame: Frame) {
        let Some(open) = open else {
            return self.shared.figures.count_dropped(DropCause::Displaced);
        };
        let started = Instant::now();
        match open.pipeline.process(frame.clone()) {
            Ok(Some(mut output)) => {
                output.made_at = Some(Instant::now());
                if self.shared.figures.count_processed(&frame, started, &output) {
                    self.shared.chronicle.first_frame();
                }
                self.shared.screen.show_output(output);
            }
            // The pipeline found the frame too like the last one.
            Ok(None) => self.shared.figures.count_skipped(),
            Err(error) => {
                self.shared.figures.count_dropped(DropCause::Failed);
                if self.fail(open, error) {
                    self.shared.screen.show_instead(frame);
                }
            }
        }
    }

    /// Notes a failed call. Whether the pipeline goes on.
    fn fail(&self, open: &mut Open, error: PipelineError) -> bool {
        if error == PipelineError::Cancelled && self.shared.inbox.has_order() {
            return false;
        }
        let goes_on = !error.needs_restart();
        self.shared.health.note_error(error.to_string());
        self.shared.chronicle.failed(&error, Instant::now());
        if !goes_on {
            self.shared.inbox.close();
            self.shared.health.set_worker(None);
            self.report(Event::PipelineFailed(open.load));
        }
        goes_on
    }

    fn report_load_error(&self, load: LoadId, error: PipelineError) {
        self.shared.health.note_error(error.to_string());
        self.shared.chronicle.load_failed(&error);
        self.report(match error {
            PipelineError::CannotLoad { .. } => Event::LoadRefused(load),
            _ => Event::LoadFailed(load),
        });
    }

    fn report(&self, event: Event) {
        // The session may be gone already; then nobody is left to tell.
        let _ = self.reports.blocking_send(event);
    }
}
