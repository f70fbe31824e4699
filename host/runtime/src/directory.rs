//! Finds streams by id, by stream key and by playback id.

use crate::session::Handle;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

#[derive(Default)]
pub struct Directory {
    state: Mutex<State>,
    /// Told whenever a stream came or went.
    news: watch::Sender<()>,
}

#[derive(Default)]
struct State {
    /// By number, in order of creation.
    streams: BTreeMap<u64, Arc<Handle>>,
    ids: HashMap<String, u64>,
    stream_keys: HashMap<String, u64>,
    playback_ids: HashMap<String, u64>,
    last_number: u64,
    /// Streams that are being created.
    reserved: usize,
    is_closed: bool,
}

/// Which name a stream is looked up by.
#[derive(Clone, Copy)]
pub enum Name<'n> {
    Id(&'n str),
    StreamKey(&'n str),
    PlaybackId(&'n str),
}

/// The right to add one stream; given back when dropped unused.
pub struct Place {
    directory: Arc<Directory>,
    is_used: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub enum NoPlace {
    Full,
    Closed,
}

impl Directory {
    /// Room for a stream among at most `limit`.
    pub fn reserve(self: &Arc<Self>, limit: usize) -> Result<Place, NoPlace> {
        let mut state = self.state();
        if state.is_closed {
            return Err(NoPlace::Closed);
        }
        if state.streams.len() + state.reserved >= limit {
            return Err(NoPlace::Full);
        }
        state.reserved += 1;
        Ok(Place { directory: self.clone(), is_used: false })
    }

    pub fn find(&self, name: Name<'_>) -> Option<Arc<Handle>> {
        let state = self.state();
        let number = match name {
            Name::Id(id) => state.ids.get(id),
            Name::StreamKey(key) => state.stream_keys.get(key),
            Name::PlaybackId(id) => state.playback_ids.get(id),
        };
        state.streams.get(number?).cloned()
    }

    pub fn remove(&self, id: &str) {
        let mut state = self.state();
        let Some(number) = state.ids.remove(id) else { return };
        state.streams.remove(&number);
        state.stream_keys.retain(|_, each| *each != number);
        state.playback_ids.retain(|_, each| *each != number);
        drop(state);
        self.news.send_replace(());
    }

    pub fn news(&self) -> watch::Receiver<()> {
        self.news.subscribe()
    }

    /// In order of creation.
    pub fn all(&self) -> Vec<Arc<Handle>> {
        self.state().streams.values().cloned().collect()
    }

    pub fn count(&self) -> usize {
        self.state().streams.len()
    }

    /// No stream is added any more.
    pub fn close(&self) {
        self.state().is_closed = true;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A stream that a panic left in one map only is not found by the others' names, which is safe.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Adds the stream. False when the directory was closed meanwhile.
    pub fn take(mut self, stream: Arc<Handle>) -> bool {
        self.is_used = true;
        let view = stream.told.borrow().view.clone();
        let mut state = self.directory.state();
        state.reserved -= 1;
        if state.is_closed {
            return false;
        }
        state.last_number += 1;
        let number = state.last_number;
        state.ids.insert(view.id, number);
        state.stream_keys.insert(view.stream_key, number);
        state.playback_ids.insert(view.playback_id, number);
        state.streams.insert(number, stream);
        drop(state);
        self.directory.news.send_replace(());
        true
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.is_used {
            self.directory.state().reserved -= 1;
        }
    }
}
