//! A store in a file, which survives the end of the process at any moment.

use crate::file::{self, OpenError, Opened, Trouble};
use crate::writer::{Change, Outcome, Write, Writer};
use host_ports::{StateStore, StoreError, StoredStream};
use redb::Database;
use std::path::Path;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::{self, JoinHandle};

/// Changes that wait to be written. With more, callers wait, and they may: they hold no thread that serves others.
const MOST_WAITING: usize = 256;

/// Opens the file, at the start and after a failure.
pub type Opener = Box<dyn Fn() -> Result<Opened, OpenError> + Send>;

/// None where it had to be opened again and that failed.
pub type Shared = Arc<RwLock<Option<Database>>>;

pub const CLOSED: &str = "the file of the streams is closed after an error";

/// Streams in a redb database. What was answered is on the disk.
pub struct RedbStore {
    shared: Shared,
    /// None once the store is being dropped, which ends the thread.
    writes: Option<SyncSender<Write>>,
    writer: Option<JoinHandle<()>>,
}

impl RedbStore {
    /// Opens or makes the file at `path`, whose folder must exist.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let owned = path.to_owned();
        Self::with(path, Box::new(move || file::open(&owned)))
    }

    fn with(path: &Path, opener: Opener) -> Result<Self, OpenError> {
        let Opened { database, number } = opener()?;
        let shared: Shared = Arc::new(RwLock::new(Some(database)));
        let (writes, waiting) = sync_channel(MOST_WAITING);
        let writer =
            Writer { shared: shared.clone(), opener, writes: waiting, number, is_broken: false };
        let thread = thread::Builder::new().name("store-writer".into()).spawn(|| writer.run());
        let thread =
            thread.map_err(|source| OpenError::Unusable { path: path.to_owned(), source })?;
        Ok(Self { shared, writes: Some(writes), writer: Some(thread) })
    }

    fn write(&self, change: Change) -> Outcome {
        let ended = || StoreError::Failed { reason: "the thread that writes has ended".to_owned() };
        let (reply, outcome) = sync_channel(1);
        let writes = self.writes.as_ref().ok_or_else(ended)?;
        writes.send(Write { change, reply }).map_err(|_| ended())?;
        outcome.recv().map_err(|_| ended())?
    }

    fn read<T>(&self, look: impl FnOnce(&Database) -> Result<T, Trouble>) -> Result<T, StoreError> {
        let database = self.shared.read().unwrap_or_else(PoisonError::into_inner);
        let failed = |reason: String| StoreError::Failed { reason };
        let database = database.as_ref().ok_or_else(|| failed(CLOSED.to_owned()))?;
        look(database).map_err(|trouble| failed(trouble.to_string()))
    }
}

impl Drop for RedbStore {
    fn drop(&mut self) {
        drop(self.writes.take());
        if let Some(writer) = self.writer.take() {
            // A panic there was reported when it happened.
            let _ = writer.join();
        }
    }
}

impl StateStore for RedbStore {
    fn get(&self, id: &str) -> Result<Option<StoredStream>, StoreError> {
        self.read(|database| Ok(file::find(database, id)?.map(|record| record.stream)))
    }

    fn list(&self) -> Result<Vec<StoredStream>, StoreError> {
        let records = self.read(file::records)?;
        Ok(records.into_iter().map(|record| record.stream).collect())
    }

    fn create(&self, stream: StoredStream) -> Result<(), StoreError> {
        self.write(Change::Create(stream)).map(drop)
    }

    fn update(&self, expected: u64, stream: StoredStream) -> Result<(), StoreError> {
        self.write(Change::Update { expected, stream }).map(drop)
    }

    fn delete(&self, id: &str) -> Result<bool, StoreError> {
        self.write(Change::Delete { id: id.to_owned() })
    }
}

#[cfg(test)]
mod tests;
