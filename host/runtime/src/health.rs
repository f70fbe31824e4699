//! How a stream's pipeline fares: what the session and the pipeline's thread write down for `status`.

use crate::{PictureReport, StreamError};
use host_ports::{FetchProgress, Notice, Progress, SwitchedOff};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;
use tracing::warn;

#[derive(Default)]
pub struct Health {
    facts: Mutex<Facts>,
}

#[derive(Clone, Default)]
pub struct Facts {
    /// When the pipeline was loaded for the first time.
    pub started_at: Option<SystemTime>,
    pub last_error: Option<StreamError>,
    pub restarts: u64,
    pub last_restart_at: Option<SystemTime>,
    pub last_params_update_at: Option<SystemTime>,
    pub loading: Option<Progress>,
    pub fetching: Option<FetchProgress>,
    pub worker_pid: Option<u32>,
    pub switched_off: Vec<SwitchedOff>,
    /// What the pipeline tells the stream's user.
    pub notices: Vec<Notice>,
    pub pictures: Vec<PictureReport>,
}

impl Health {
    pub fn snapshot(&self) -> Facts {
        self.facts().clone()
    }

    /// Keeps an error for `status`, and logs it unless it is the one before again: a pipeline may fail at every frame.
    pub fn note_error(&self, message: String) {
        let mut facts = self.facts();
        let is_news = facts.last_error.as_ref().is_none_or(|last| last.message != message);
        if is_news {
            warn!(error = %message, "the pipeline failed");
        }
        facts.last_error = Some(StreamError { message, at: SystemTime::now() });
    }

    pub fn note_loaded(&self) {
        self.facts().started_at.get_or_insert_with(SystemTime::now);
    }

    pub fn note_restart(&self) {
        let mut facts = self.facts();
        facts.restarts += 1;
        facts.last_restart_at = Some(SystemTime::now());
    }

    pub fn note_params_update(&self) {
        self.facts().last_params_update_at = Some(SystemTime::now());
    }

    pub fn set_loading(&self, loading: Option<Progress>) {
        self.facts().loading = loading;
    }

    pub fn set_fetching(&self, fetching: Option<FetchProgress>) {
        self.facts().fetching = fetching;
    }

    pub fn set_worker(&self, pid: Option<u32>) {
        self.facts().worker_pid = pid;
    }

    pub fn set_pictures(&self, pictures: Vec<PictureReport>) {
        self.facts().pictures = pictures;
    }

    /// Whether that is news.
    pub fn set_switched_off(&self, off: &[SwitchedOff]) -> bool {
        let mut facts = self.facts();
        let is_news = facts.switched_off != off;
        if is_news {
            facts.switched_off = off.to_vec();
        }
        is_news
    }

    pub fn set_notices(&self, notices: &[Notice]) {
        let mut facts = self.facts();
        if facts.notices != notices {
            facts.notices = notices.to_vec();
        }
    }

    fn facts(&self) -> MutexGuard<'_, Facts> {
        // Facts are replaced one by one: none is ever half written.
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
