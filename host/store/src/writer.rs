//! The one thread that writes: takes all changes that wait, commits them as one, then answers each.
//!
//! A commit waits for the disk, so a hundred changes at once cost hardly more than one.

use crate::file::{STREAMS, Trouble};
use crate::record::{Record, RecordError};
use crate::redb_store::{CLOSED, Opener, Shared};
use host_ports::{StoreError, StoredStream};
use redb::{Database, ReadableTable, Table};
use std::sync::PoisonError;
use std::sync::mpsc::{Receiver, SyncSender};
use tracing::{error, info};

/// Changes in one commit.
const MOST: usize = 256;

pub enum Change {
    Create(StoredStream),
    Update { expected: u64, stream: StoredStream },
    Delete { id: String },
}

/// False only for a deletion that found nothing.
pub type Outcome = Result<bool, StoreError>;

pub struct Write {
    pub change: Change,
    pub reply: SyncSender<Outcome>,
}

pub struct Writer {
    pub shared: Shared,
    pub opener: Opener,
    pub writes: Receiver<Write>,
    /// For the next stream.
    pub number: u64,
    /// A commit failed. redb takes no more until the file is opened again.
    pub is_broken: bool,
}

impl Writer {
    /// Until the store is dropped.
    pub fn run(mut self) {
        while let Ok(first) = self.writes.recv() {
            let batch: Vec<Write> =
                std::iter::once(first).chain(self.writes.try_iter().take(MOST - 1)).collect();
            let outcomes = self.commit(&batch).unwrap_or_else(|reason| {
                error!(reason, changes = batch.len(), "streams could not be written");
                vec![Err(StoreError::Failed { reason }); batch.len()]
            });
            for (write, outcome) in batch.into_iter().zip(outcomes) {
                // Who asked may have given up; what was written holds all the same.
                let _ = write.reply.send(outcome);
            }
        }
    }

    /// Outcomes in the order of the changes, all of them durable; or the reason why none of them is known to be.
    fn commit(&mut self, batch: &[Write]) -> Result<Vec<Outcome>, String> {
        if self.is_broken {
            self.open_again()?;
        }
        let database = self.shared.read().unwrap_or_else(PoisonError::into_inner);
        let database = database.as_ref().ok_or(CLOSED)?;
        let committed = commit(database, batch, &mut self.number);
        self.is_broken = committed.is_err();
        committed.map_err(|error| error.to_string())
    }

    /// The disk may have room by now.
    fn open_again(&mut self) -> Result<(), String> {
        let mut database = self.shared.write().unwrap_or_else(PoisonError::into_inner);
        // Gives up the lock on the file.
        drop(database.take());
        let opened = (self.opener)().map_err(|error| error.to_string())?;
        *database = Some(opened.database);
        self.number = opened.number;
        self.is_broken = false;
        info!("the file of the streams is open again");
        Ok(())
    }
}

fn commit(
    database: &Database,
    batch: &[Write],
    number: &mut u64,
) -> Result<Vec<Outcome>, redb::Error> {
    let transaction = database.begin_write()?;
    let mut table = transaction.open_table(STREAMS)?;
    let outcomes: Result<Vec<_>, redb::Error> =
        batch.iter().map(|write| apply(&mut table, &write.change, number)).collect();
    drop(table);
    let outcomes = outcomes?;
    transaction.commit()?;
    Ok(outcomes)
}

/// One change among others: that it is refused is no reason to refuse them.
fn apply(
    table: &mut Table<'_, &str, &[u8]>,
    change: &Change,
    number: &mut u64,
) -> Result<Outcome, redb::Error> {
    match change {
        Change::Create(stream) => {
            if table.get(stream.id.as_str())?.is_some() {
                return Ok(Err(StoreError::Exists { id: stream.id.clone() }));
            }
            insert(table, *number, stream)?;
            *number += 1;
        }
        Change::Update { expected, stream } => match read(table, &stream.id)? {
            Err(error) => return Ok(Err(error)),
            Ok(None) => return Ok(Err(StoreError::Missing { id: stream.id.clone() })),
            Ok(Some(stored)) if stored.stream.revision != *expected => {
                let found = stored.stream.revision;
                let id = stream.id.clone();
                return Ok(Err(StoreError::Conflict { id, expected: *expected, found }));
            }
            Ok(Some(stored)) => insert(table, stored.number, stream)?,
        },
        Change::Delete { id } => return Ok(Ok(table.remove(id.as_str())?.is_some())),
    }
    Ok(Ok(true))
}

fn read(
    table: &Table<'_, &str, &[u8]>,
    id: &str,
) -> Result<Result<Option<Record>, StoreError>, redb::Error> {
    let stored = table.get(id)?;
    Ok(stored.map(|bytes| Record::read(bytes.value())).transpose().map_err(unreadable))
}

fn insert(
    table: &mut Table<'_, &str, &[u8]>,
    number: u64,
    stream: &StoredStream,
) -> Result<(), redb::Error> {
    let record = Record { number, stream: stream.clone() };
    table.insert(stream.id.as_str(), record.write().as_slice())?;
    Ok(())
}

fn unreadable(error: RecordError) -> StoreError {
    StoreError::Failed { reason: Trouble::from(error).to_string() }
}
