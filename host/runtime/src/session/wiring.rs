//! Joins the parts of a session: ingress, inbox, pipeline thread, screen and media path; and takes them apart again.

use super::{Fetching, Inputs, Pictures, Renewal, Request, Session, Succession, Told, tell};
use crate::agreement::{Agreement, Desk};
use crate::beside::Beside;
use crate::chronicle::Chronicle;
use crate::identity::short;
use crate::inbox::{LoadOrder, Order};
use crate::pipe::Pipe;
use crate::plain::PlainPool;
use crate::shared::Shared;
use crate::tally::Tally;
use crate::{EventReader, Settings, StreamStatus, TooManyEventReaders};
use host_ports::{MediaPath, MediaServer, Notice, Recording, Restream, StoredStream};
use host_stream::{Effect, Lifecycle};
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::interval;
use tracing::{Instrument, Span, info_span, warn};

/// Changes that may wait for a session; one more is answered with `Busy`.
const MOST_REQUESTS: usize = 32;
/// News of a pipeline's loads and failures; a full one holds the pipeline's thread up, which by then has failed anyway.
const MOST_REPORTS: usize = 8;
/// How often a stream's condition is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// A call may begin just after it was told to end.
const CANCEL_AGAIN: Duration = Duration::from_millis(100);

/// What a session is made of.
pub struct Parts<'p> {
    pub settings: &'p Settings,
    pub desk: Desk,
    pub media: &'p dyn MediaServer,
    pub tally: Arc<Tally>,
    pub record: StoredStream,
    pub agreement: Agreement,
}

/// The outside of a session.
pub struct Handle {
    pub told: watch::Receiver<Told>,
    pub requests: mpsc::Sender<Request>,
    pub path: Arc<dyn MediaPath>,
    stop: watch::Sender<bool>,
    shared: Shared,
}

/// What the session works with.
pub struct Wiring {
    pub shared: Shared,
    pub beside: Beside,
    pipe: Pipe,
    span: Span,
    name: String,
    pub path: Arc<dyn MediaPath>,
    thread: Thread,
}

struct Thread {
    handle: JoinHandle<()>,
    /// Closed when the thread ends.
    ended: oneshot::Receiver<()>,
}

/// Starts the thread and the task of a stream; `at_end` runs when both have ended.
pub fn spawn(parts: Parts<'_>, at_end: impl FnOnce() + Send + 'static) -> io::Result<Handle> {
    let Parts { settings, desk, media, tally, record, agreement } = parts;
    let span = info_span!(parent: None, "stream", id = %record.id, pipeline = %record.pipeline);
    let (shared, presence) = Shared::new(&agreement, record.revision, span.clone());
    if agreement.is_provisional {
        // Viewers see the fallback although no pipeline brings memory.
        shared.ingress.set_pool(Arc::new(PlainPool::new(agreement.formats.input)));
    }
    let (reports_in, reports) = mpsc::channel(MOST_REPORTS);
    let mut offers = desk.offers.clone();
    offers.mark_unchanged();
    let (catalog, shared_with_pipe) = (desk.catalog.clone(), shared.clone());
    let pipe = Pipe { catalog, shared: shared_with_pipe, tally, reports: reports_in };
    let name = short(&record.id).to_owned();
    let thread = start_thread(&name, pipe.clone(), span.clone())?;
    let path = media.open(&record.id, shared.ingress.clone());
    path.set_video(agreement.video());
    shared.screen.connect(Arc::downgrade(&path));
    restream(&*path, &shared, record.output_rtmp_url.as_deref());

    let (lifecycle, first) = Lifecycle::start(settings.backoff());
    let pictures = Pictures::new(desk.pictures.clone());
    let (told_in, told) = watch::channel(tell(&record, &agreement, &lifecycle, &pictures));
    let (requests_in, requests) = mpsc::channel(MOST_REQUESTS);
    let (stop_in, stop) = watch::channel(false);
    let handle = Handle {
        told,
        requests: requests_in,
        path: path.clone(),
        stop: stop_in,
        shared: shared.clone(),
    };
    let session = Session {
        record,
        agreement,
        lifecycle,
        desk,
        wiring: Wiring {
            shared,
            beside: Beside::default(),
            pipe,
            span: span.clone(),
            name,
            path,
            thread,
        },
        told: told_in,
        succession: Succession::default(),
        pending: None,
        renewal: Renewal::default(),
        fetching: Fetching::default(),
        pictures,
        beginnings: 0,
        edition: 0,
        looks: interval(LOOK),
        stop_deadline: settings.stop_deadline,
    };
    let inputs = Inputs { requests, reports, presence, stop, offers };
    tokio::spawn(run(session, first, inputs, at_end).instrument(span));
    Ok(handle)
}

async fn run(session: Session, first: Vec<Effect>, inputs: Inputs, at_end: impl FnOnce()) {
    // Kept until the end: its closing says that all is over.
    let told = session.told.clone();
    session.run(first, inputs).await;
    at_end();
    drop(told);
}

fn restream(path: &dyn MediaPath, shared: &Shared, url: Option<&str>) {
    let told = || shared.chronicle.restream();
    path.restream(url.map(|url| Restream { url: url.to_owned(), told: told() }));
}

fn start_thread(name: &str, pipe: Pipe, span: Span) -> io::Result<Thread> {
    let (running, ended) = oneshot::channel();
    let thread = std::thread::Builder::new().name(format!("pipe-{name}"));
    let handle = thread.spawn(move || {
        // Dropped when the thread ends, in whatever way.
        let _running: oneshot::Sender<()> = running;
        pipe.run(span);
    })?;
    Ok(Thread { handle, ended })
}

impl Wiring {
    /// Sends the stream to this server, or to none any more.
    pub fn restream(&self, url: Option<&str>) {
        restream(&*self.path, &self.shared, url);
    }

    /// Loads a pipeline while the present one runs on.
    pub fn load_beside(&mut self, order: LoadOrder) -> io::Result<()> {
        self.beside.start(&self.name, self.pipe.clone(), order, self.span.clone())
    }

    /// Ends ingress at once and tells the pipeline's thread to end.
    pub fn stop(&mut self) {
        self.beside.give_up();
        self.shared.ingress.close();
        self.shared.inbox.order(Order::Stop);
        self.shared.canceller.cancel();
    }

    /// Waits for the pipeline's thread, but no longer than `deadline`, then ends egress.
    pub async fn tear_down(self, deadline: Duration) {
        let Thread { handle, mut ended } = self.thread;
        let wait = async {
            while tokio::time::timeout(CANCEL_AGAIN, &mut ended).await.is_err() {
                self.shared.canceller.cancel();
                self.beside.cancel();
            }
            while !self.beside.is_over() {
                tokio::time::sleep(CANCEL_AGAIN).await;
                self.beside.cancel();
            }
        };
        match tokio::time::timeout(deadline, wait).await {
            // It has ended: this does not wait.
            Ok(()) if handle.join().is_ok() => {}
            Ok(()) => warn!("the pipeline's thread panicked"),
            Err(_) => warn!(?deadline, "the pipeline did not end in time and was left behind"),
        }
        self.path.close();
    }
}

impl Handle {
    /// Ends the stream. False if that was asked for before.
    pub fn stop(&self) -> bool {
        self.stop.send_if_modified(|is_stopping| !std::mem::replace(is_stopping, true))
    }

    pub fn is_stopping(&self) -> bool {
        *self.stop.borrow()
    }

    /// Waits until nothing is left of the session.
    pub async fn ended(&self) {
        let mut told = self.told.clone();
        while told.changed().await.is_ok() {}
    }

    pub fn status(&self) -> StreamStatus {
        status(&self.told.borrow(), &self.shared, &*self.path)
    }

    /// Follows the stream's events, those after `last` or all that are kept.
    pub fn events(&self, last: Option<u64>) -> Result<EventReader, TooManyEventReaders> {
        self.shared.chronicle.log.read(last)
    }

    /// Tells that a recording began.
    pub fn tell_recording(&self, begun: &Recording) {
        self.shared.chronicle.recording_begins(begun);
    }

    pub fn chronicle(&self) -> Arc<Chronicle> {
        self.shared.chronicle.clone()
    }

    /// Tells the readers of events that the stream is no more.
    pub fn tell_deleted(&self) {
        self.shared.chronicle.deleted();
    }
}

impl Drop for Handle {
    /// Nobody finds the stream any more: those who read its events need not wait for one.
    fn drop(&mut self) {
        self.shared.chronicle.log.close();
    }
}

pub fn status(told: &Told, shared: &Shared, path: &dyn MediaPath) -> StreamStatus {
    let Told { mut view, plugin, memory_bytes, parts_bytes } = told.clone();
    let facts = shared.health.snapshot();
    view.warnings.extend(facts.notices.iter().map(Notice::to_string));
    StreamStatus {
        view,
        plugin,
        memory_bytes,
        parts_bytes,
        started_at: facts.started_at,
        last_error: facts.last_error,
        restarts: facts.restarts,
        last_restart_at: facts.last_restart_at,
        last_params_update_at: facts.last_params_update_at,
        loading: facts.loading,
        fetching: facts.fetching,
        has_picture: shared.screen.has_shown(),
        worker_pid: facts.worker_pid,
        switched_off: facts.switched_off,
        pictures: facts.pictures,
        recording: path.recording(),
        ingress: path.ingress_stats(),
        egress: path.egress_stats(),
        restream: path.restream_stats(),
        frames: shared.figures.snapshot(),
        event_readers: shared.chronicle.log.readers(),
    }
}
