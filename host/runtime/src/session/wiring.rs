//! Joins the parts of a session: ingress, inbox, pipeline thread, screen and media path; and takes them apart again.

use super::{Inputs, Renewal, Request, Session, Told, tell};
use crate::agreement::{Agreement, Desk};
use crate::identity::short;
use crate::inbox::Order;
use crate::pipe::Pipe;
use crate::plain::PlainPool;
use crate::shared::Shared;
use crate::{Settings, StreamStatus};
use host_ports::{MediaPath, MediaServer, StoredStream};
use host_stream::{Effect, Lifecycle};
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{Instrument, Span, info_span, warn};

/// Changes that may wait for a session; one more is answered with `Busy`.
const MOST_REQUESTS: usize = 32;
/// News of a pipeline's loads and failures; a full one holds the pipeline's thread up, which by then has failed anyway.
const MOST_REPORTS: usize = 8;
/// A call may begin just after it was told to end.
const CANCEL_AGAIN: Duration = Duration::from_millis(100);

/// What a session is made of.
pub struct Parts<'p> {
    pub settings: &'p Settings,
    pub desk: Desk,
    pub media: &'p dyn MediaServer,
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
    path: Arc<dyn MediaPath>,
    thread: Thread,
}

struct Thread {
    handle: JoinHandle<()>,
    /// Closed when the thread ends.
    ended: oneshot::Receiver<()>,
}

/// Starts the thread and the task of a stream; `at_end` runs when both have ended.
pub fn spawn(parts: Parts<'_>, at_end: impl FnOnce() + Send + 'static) -> io::Result<Handle> {
    let Parts { settings, desk, media, record, agreement } = parts;
    let span = info_span!(parent: None, "stream", id = %record.id, pipeline = %record.pipeline);
    let (shared, presence) = Shared::new(&agreement, span.clone());
    if agreement.is_provisional {
        // Viewers see the fallback although no pipeline brings memory.
        shared.ingress.set_pool(Arc::new(PlainPool::new(agreement.formats.input)));
    }
    let (reports_in, reports) = mpsc::channel(MOST_REPORTS);
    let mut offers = desk.offers.clone();
    offers.mark_unchanged();
    let pipe = Pipe { catalog: desk.catalog.clone(), shared: shared.clone(), reports: reports_in };
    let thread = start_thread(&record.id, pipe, span.clone())?;
    let path = media.open(&record.id, shared.ingress.clone());
    shared.screen.connect(Arc::downgrade(&path));

    let (lifecycle, first) = Lifecycle::start(settings.backoff());
    let (told_in, told) = watch::channel(tell(&record, &agreement, &lifecycle));
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
        wiring: Wiring { shared, path, thread },
        told: told_in,
        pending: None,
        renewal: Renewal::default(),
        beginnings: 0,
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

fn start_thread(id: &str, pipe: Pipe, span: Span) -> io::Result<Thread> {
    let (running, ended) = oneshot::channel();
    let name = format!("pipe-{}", short(id));
    let handle = std::thread::Builder::new().name(name).spawn(move || {
        // Dropped when the thread ends, in whatever way.
        let _running: oneshot::Sender<()> = running;
        pipe.run(span);
    })?;
    Ok(Thread { handle, ended })
}

impl Wiring {
    /// Ends ingress at once and tells the pipeline's thread to end.
    pub fn stop(&self) {
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
        let Told { view, plugin } = self.told.borrow().clone();
        let facts = self.shared.health.snapshot();
        StreamStatus {
            view,
            plugin,
            started_at: facts.started_at,
            last_error: facts.last_error,
            restarts: facts.restarts,
            last_restart_at: facts.last_restart_at,
            last_params_update_at: facts.last_params_update_at,
            loading: facts.loading,
            has_picture: self.shared.screen.has_shown(),
            worker_pid: facts.worker_pid,
            ingress: self.path.ingress_stats(),
            egress: self.path.egress_stats(),
            frames: self.shared.figures.snapshot(),
        }
    }
}
