//! Weights that streams share: one pipeline for all streams whose params differ in hot ones only.

use plugin_api::Error;
use plugin_api::loader::LoadedPipeline;
use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

/// How often a stream that waits for another's loading shows a sign of life.
const WAITING_INTERVAL: Duration = Duration::from_secs(1);

/// The open pipelines of a worker.
#[derive(Default)]
pub(super) struct SharedPipelines {
    places: Mutex<HashMap<String, Place>>,
    changed: Condvar,
}

enum Place {
    /// Another stream is loading it.
    Opening,
    Open(Weak<LoadedPipeline>),
}

impl SharedPipelines {
    /// The pipeline of this name, opened by `open` if there is none. While another stream opens it, `wait` is called
    /// now and then; it ends the waiting with an error.
    pub(super) fn get(
        &self,
        key: &str,
        open: impl FnOnce() -> Result<Arc<LoadedPipeline>, Error>,
        mut wait: impl FnMut() -> Result<(), Error>,
    ) -> Result<Arc<LoadedPipeline>, Error> {
        let mut places = self.places();
        loop {
            match places.get(key) {
                Some(Place::Opening) => {
                    let waited = self.changed.wait_timeout(places, WAITING_INTERVAL);
                    places = waited.unwrap_or_else(PoisonError::into_inner).0;
                    wait()?;
                }
                Some(Place::Open(pipeline)) => match pipeline.upgrade() {
                    Some(pipeline) => return Ok(pipeline),
                    None => break,
                },
                None => break,
            }
        }
        places.retain(|_, place| !matches!(place, Place::Open(weak) if weak.strong_count() == 0));
        places.insert(key.to_owned(), Place::Opening);
        drop(places);
        let opened = open();
        let mut places = self.places();
        match &opened {
            Ok(pipeline) => places.insert(key.to_owned(), Place::Open(Arc::downgrade(pipeline))),
            Err(_) => places.remove(key),
        };
        self.changed.notify_all();
        opened
    }

    fn places(&self) -> MutexGuard<'_, HashMap<String, Place>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
