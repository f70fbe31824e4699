//! The thread `pipe-<short id>` of a stream: opens, loads, updates and drops its pipeline and puts frames through it.
//! The only place that waits for a pipeline.

use crate::beside::Loaded;
use crate::figures::DropCause;
use crate::inbox::{Job, LoadOrder, Order, Params};
use crate::shared::Shared;
use crate::tally::Tally;
use host_ports::{
    ClaimRef, Formats, Frame, FramePool, OpenRequest, Pipeline, PipelineCatalog, PipelineError,
    Progress,
};
use host_stream::{Event, LoadId};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use tokio::sync::mpsc;
use tracing::{Span, debug};

type Cancel = Arc<dyn Fn() + Send + Sync>;

/// What the thread works with.
#[derive(Clone)]
pub struct Pipe {
    pub catalog: Arc<dyn PipelineCatalog>,
    pub shared: Shared,
    pub tally: Arc<Tally>,
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

    pub fn set(&self, cancel: Option<Cancel>) {
        *self.cancel.lock().unwrap_or_else(PoisonError::into_inner) = cancel;
    }
}

/// A pipeline, loaded or not.
pub struct Open {
    pub pipeline: Box<dyn Pipeline>,
    /// Where its frames are to be written.
    pub input: Arc<dyn FramePool>,
    claim: ClaimRef,
    formats: Formats,
    load: LoadId,
    /// When frames began to be written there; those captured earlier may lie elsewhere.
    since: Instant,
    /// Of the params that it works with.
    pub edition: u64,
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
                Job::Order(Order::ChangeOver(to)) => load = to.open.load,
                Job::Order(Order::Unload) => {}
                Job::Discard(_) | Job::Update(_) | Job::Process(_) => {}
            }
            // A panic here is a fault of this host's. It costs the pipeline, not the stream.
            if catch_unwind(AssertUnwindSafe(|| self.perform(&mut open, job))).is_err() {
                open = None;
                self.note(None);
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
                self.let_go(open);
                *open = self.open(&order);
                self.load(open.as_mut(), order);
            }
            Job::Order(Order::Restart(order)) => {
                if !open.as_ref().is_some_and(|open| open.is_for(&order)) {
                    self.let_go(open);
                    *open = self.open(&order);
                }
                self.load(open.as_mut(), order);
            }
            Job::Order(Order::ChangeOver(to)) => self.change_over(open, to),
            Job::Order(Order::Unload) => {
                self.let_go(open);
                self.shared.canceller.set(None);
            }
            Job::Order(Order::Stop) => {}
            Job::Discard(pipelines) => pipelines.into_iter().for_each(Loaded::send_back),
            Job::Update(params) => self.update(open.as_mut(), params),
            Job::Process(frame) => self.process(open.as_mut(), frame),
        }
    }

    /// Ends a pipeline, and what it told.
    fn let_go(&self, open: &mut Option<Open>) {
        drop(open.take());
        self.shared.health.set_worker(None);
        self.note(None);
    }

    /// A pipeline that is not loaded yet, which nothing leads to.
    pub fn make(&self, order: &LoadOrder) -> Result<Open, PipelineError> {
        let LoadOrder { load, claim, formats, .. } = order;
        let request = OpenRequest { claim: claim.clone(), formats: *formats };
        let opened = self.catalog.open(request)?;
        Ok(Open {
            pipeline: opened.pipeline,
            input: opened.input,
            claim: claim.clone(),
            formats: *formats,
            load: *load,
            since: Instant::now(),
            edition: 0,
        })
    }

    fn open(&self, order: &LoadOrder) -> Option<Open> {
        match self.make(order) {
            Ok(mut open) => {
                self.lead_to(&mut open);
                Some(open)
            }
            Err(error) => {
                self.shared.canceller.set(None);
                self.report_load_error(order, error);
                None
            }
        }
    }

    /// From now on frames are written into the pipeline's memory, and it is the one to cancel.
    fn lead_to(&self, open: &mut Open) {
        self.shared.canceller.set(Some(open.pipeline.canceller()));
        open.since = Instant::now();
        self.shared.ingress.set_pool(open.input.clone());
        self.shared.screen.set_size(open.formats.output);
    }

    fn change_over(&self, open: &mut Option<Open>, to: Loaded) {
        if !to.ticket.take_over() {
            return to.send_back();
        }
        let Loaded { open: mut next, old, .. } = to;
        self.tally.count_load(&next.claim.plugin);
        self.lead_to(&mut next);
        let (load, since) = (next.load, next.since);
        self.shared.health.set_worker(next.pipeline.worker_pid());
        self.note(Some(&*next.pipeline));
        drop(old.try_send(open.replace(next)));
        if self.shared.inbox.open(load, since) {
            self.report(Event::Loaded(load));
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
        let loaded = open.pipeline.load(order.params.values.reveal(), &mut on_progress);
        self.note(Some(&*open.pipeline));
        self.shared.health.set_loading(None);
        self.shared.health.set_worker(open.pipeline.worker_pid());
        match loaded {
            Ok(()) if self.shared.inbox.open(open.load, open.since) => {
                open.edition = order.params.edition;
                self.tally.count_load(&order.claim.plugin);
                self.shared.health.note_loaded();
                self.report(Event::Loaded(order.load));
            }
            // Another order waits: nobody asks about this load any more.
            Ok(()) => debug!("loaded in vain"),
            Err(error) if self.shared.inbox.has_order() => debug!(%error, "load given up"),
            Err(error) => self.report_load_error(&order, error),
        }
    }

    fn update(&self, open: Option<&mut Open>, params: Params) {
        let Some(open) = open else { return };
        match open.pipeline.update(params.values.reveal()) {
            Ok(()) => {
                open.edition = params.edition;
                self.note(Some(&*open.pipeline));
            }
            Err(error) => {
                let reason = error.to_string();
                // A pipeline that starts again starts with them.
                if self.fail(open, error) {
                    self.shared.waiting.give_up(params.edition, &reason);
                }
            }
        }
    }

    fn process(&self, open: Option<&mut Open>, frame: Frame) {
        let Some(open) = open else {
            return self.shared.figures.count_dropped(DropCause::Displaced);
        };
        let started = Instant::now();
        self.shared.samples.offer(&frame);
        match open.pipeline.process(frame.clone()) {
            Ok(Some(mut output)) => {
                output.made_at = Some(Instant::now());
                if self.shared.figures.count_processed(&frame, started, &output) {
                    self.shared.chronicle.first_frame();
                }
                self.shared.figures.count_parts(open.pipeline.metrics());
                let frame = output.stamp.id;
                self.shared.screen.show_output(output);
                self.shared.waiting.note_frame(open.edition, frame);
                self.note(Some(&*open.pipeline));
            }
            // The pipeline found the frame too like the last one.
            Ok(None) => {
                self.shared.figures.count_skipped();
                self.note(Some(&*open.pipeline));
            }
            Err(error) => {
                self.shared.figures.count_dropped(DropCause::Failed);
                if self.fail(open, error) {
                    self.shared.screen.show_instead(frame);
                }
            }
        }
    }

    /// What the pipeline goes on without, and what it tells the user.
    fn note(&self, pipeline: Option<&dyn Pipeline>) {
        let Shared { health, chronicle, .. } = &self.shared;
        let off = pipeline.map_or(&[][..], Pipeline::switched_off);
        if health.set_switched_off(off) {
            chronicle.switched_off(off);
        }
        let notices = pipeline.map_or(&[][..], Pipeline::notices);
        health.set_notices(notices);
        chronicle.noticed(notices, Instant::now());
    }

    /// Notes a failed call. Whether the pipeline goes on.
    fn fail(&self, open: &mut Open, error: PipelineError) -> bool {
        self.note(Some(&*open.pipeline));
        if error == PipelineError::Cancelled && self.shared.inbox.has_order() {
            return false;
        }
        let goes_on = !error.needs_restart();
        let plugin = error.plugin().unwrap_or(&open.claim.plugin);
        self.tally.count_error(plugin, &error);
        self.shared.health.note_error(error.to_string());
        self.shared.chronicle.failed(&error, Instant::now());
        if !goes_on {
            self.shared.inbox.close();
            self.shared.health.set_worker(None);
            self.report(Event::PipelineFailed(open.load));
        }
        goes_on
    }

    pub fn report_load_error(&self, order: &LoadOrder, error: PipelineError) {
        let (load, reason) = (order.load, error.to_string());
        self.tally.count_error(&order.claim.plugin, &error);
        self.shared.waiting.give_up(order.params.edition, &reason);
        self.shared.health.note_error(reason);
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

impl Open {
    fn is_for(&self, order: &LoadOrder) -> bool {
        self.claim == order.claim && self.formats == order.formats
    }
}
