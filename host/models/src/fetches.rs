//! Pulls the models that plugins need, on threads of its own.

use crate::choose::{Precision, Selection};
use crate::error::PullError;
use crate::jobs::{Jobs, Order, Seat};
use crate::names::{FileName, ModelId, NameError, Revision};
use crate::pull::{Event, Wish};
use crate::settings::Hub;
use host_ports::{Artefact, Fetch, FetchError, FetchNews, ModelStore, Size};
use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Of what loading can do without: a machine without the hub is not to wait for it.
const OPTIONAL_TRIES: u32 = 2;

/// Fetches into the hub's cache, each model once for all who wait for it.
pub struct Fetches {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

struct Shared {
    hub: Hub,
    jobs: Mutex<Jobs>,
}

struct Waiter {
    shared: Arc<Shared>,
    seat: Seat,
}

impl Fetches {
    pub fn new(hub: Hub) -> Self {
        let shared = Arc::new(Shared { hub, jobs: Mutex::default() });
        Self { shared, threads: Mutex::default() }
    }

    fn start_worker(&self) {
        let shared = self.shared.clone();
        let thread = std::thread::Builder::new().name("fetch".to_owned());
        match thread.spawn(move || shared.work()) {
            Ok(thread) => {
                let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
                threads.retain(|thread| !thread.is_finished());
                threads.push(thread);
            }
            Err(error) => {
                let message = format!("no thread could be started to fetch it: {error}");
                self.shared.jobs().refuse(&FetchError { message, may_pass: true });
            }
        }
    }
}

impl ModelStore for Fetches {
    fn fetch(
        &self,
        artefact: &Artefact,
        told: Box<dyn Fn(FetchNews) + Send + Sync>,
    ) -> Box<dyn Fetch> {
        let (seat, needs_worker) = {
            let mut jobs = self.shared.jobs();
            (jobs.join(artefact, told), jobs.hire())
        };
        if needs_worker {
            self.start_worker();
        }
        Box::new(Waiter { shared: self.shared.clone(), seat })
    }

    fn measure(&self, artefact: &Artefact, limit: Duration) -> Result<Size, FetchError> {
        let wish = wish(artefact).map_err(|error| lasting(&error))?;
        let measured = self.shared.hub.measure(&wish, limit);
        let (files, bytes) = measured.map_err(|error| failure(&error))?;
        Ok(Size { files, bytes })
    }

    fn hub(&self) -> String {
        self.shared.hub.endpoint.clone()
    }
}

impl Drop for Fetches {
    /// A thread that waits for a server which has stalled is left behind: the next fetch goes on where it ended.
    fn drop(&mut self) {
        self.shared.jobs().close();
        let threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads.into_iter().filter(JoinHandle::is_finished) {
            // A panic there was reported when it happened.
            let _ = thread.join();
        }
    }
}

impl Fetch for Waiter {}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.shared.jobs().leave(self.seat);
    }
}

impl Shared {
    /// Body of a `fetch` thread: as long as there is something to fetch.
    fn work(&self) {
        loop {
            let order = self.jobs().begin();
            let Some(order) = order else { return };
            // A panic here is a fault of this host's. It costs the fetch, and not those that come after.
            let pulled = catch_unwind(AssertUnwindSafe(|| self.pull(&order)));
            let result = pulled.unwrap_or_else(|_| {
                Err(FetchError {
                    message: "the host failed at fetching it".to_owned(),
                    may_pass: true,
                })
            });
            self.jobs().end(&order, &result);
        }
    }

    fn pull(&self, order: &Order) -> Result<(), FetchError> {
        let wish = wish(&order.artefact).map_err(|error| lasting(&error))?;
        let mut hub = self.hub.clone();
        if order.artefact.is_optional {
            hub.timing.tries = hub.timing.tries.min(OPTIONAL_TRIES);
        }
        let mut report = |event: Event<'_>| {
            let (what, bytes) = match event {
                Event::Waiting { .. } => {
                    ("waits for another program that fetches it".to_owned(), None)
                }
                Event::Progress { file, done, total } => (file.to_string(), Some((done, total))),
                Event::Retrying { error, wait } => {
                    (format!("tries again in {} s: {}", wait.as_secs_f32(), chain(error)), None)
                }
            };
            self.jobs().tell(order.number, what, bytes);
        };
        let pulled = hub.pull(&wish, &order.cancel, &mut report);
        pulled.map(drop).map_err(|error| failure(&error))
    }

    fn jobs(&self) -> MutexGuard<'_, Jobs> {
        // Jobs are put in and taken out whole: a panic elsewhere leaves none half done.
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wish(artefact: &Artefact) -> Result<Wish, NameError> {
    let files = artefact.files.iter().map(|file| FileName::parse(file));
    let files = files.collect::<Result<Vec<_>, _>>()?;
    Ok(Wish {
        id: ModelId::parse(&artefact.model)?,
        revision: Revision::parse(&artefact.revision)?,
        selection: match files.is_empty() {
            true => Selection::Pipeline(Precision::default()),
            false => Selection::Files(files),
        },
        needs_all_weights: true,
    })
}

fn lasting(error: &dyn Error) -> FetchError {
    FetchError { message: chain(error), may_pass: false }
}

fn failure(error: &PullError) -> FetchError {
    let may_pass = match error {
        PullError::RateLimited { .. }
        | PullError::GaveUp { .. }
        | PullError::NoSpace { .. }
        | PullError::DiskFull { .. }
        | PullError::Files { .. }
        | PullError::Cancelled => true,
        PullError::Offline { .. }
        | PullError::NotPublic { .. }
        | PullError::Gated { .. }
        | PullError::NoModel { .. }
        | PullError::NoRevision { .. }
        | PullError::NoFile { .. }
        | PullError::Status { .. }
        | PullError::Answer { .. }
        | PullError::TooManyFiles { .. }
        | PullError::NothingChosen { .. }
        | PullError::NoWeights { .. }
        // All of it would come once more, and be as wrong.
        | PullError::WrongSize { .. }
        | PullError::WrongChecksum { .. } => false,
    };
    FetchError { message: chain(error), may_pass }
}

/// An error with its causes.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text += &format!(": {inner}");
        cause = inner.source();
    }
    text
}
