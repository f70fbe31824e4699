//! The database file: made whole or not at all, opened only when it is fit for use, never removed.

use crate::record::{self, Record, RecordError};
use redb::{
    Builder, Database, DatabaseError, ReadOnlyTable, ReadableDatabase, ReadableTable, StorageError,
    TableDefinition, TableError,
};
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// Records by id.
pub const STREAMS: TableDefinition<&str, &[u8]> = TableDefinition::new("streams");

type Records = ReadOnlyTable<&'static str, &'static [u8]>;

/// It holds stream keys: for the host's user alone.
const MODE: u32 = 0o600;
/// How long a lock is waited for, and how often it is tried.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);
const LOCK_INTERVAL: Duration = Duration::from_millis(20);
/// A few hundred streams are all that a host has.
const CACHE_BYTES: usize = 4 << 20;

/// Why remembered streams cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("{} is in use by another host; stop that one, or let one of the two use another folder", path.display())]
    Locked { path: PathBuf },
    #[error("{} was written by a newer host (format {found}, this one reads up to {}); start that one, or move the file away to begin without streams", path.display(), record::VERSION)]
    Newer { path: PathBuf, found: u64 },
    #[error("{} is damaged ({reason}); put a copy in its place, or move it away to begin without streams", path.display())]
    Damaged { path: PathBuf, reason: String },
    #[error("cannot use {}; it must be a file that this user may read and write", path.display())]
    Unusable {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// A database that was found fit for use.
pub struct Opened {
    pub database: Database,
    /// For the next stream.
    pub number: u64,
}

/// Makes the file unless it is there. Everything is read once, so that what cannot be read stops the start and not a
/// request.
pub fn open(path: &Path) -> Result<Opened, OpenError> {
    let unusable = |source| OpenError::Unusable { path: path.to_owned(), source };
    if !path.try_exists().map_err(unusable)? {
        create(path)?;
    }
    fs::set_permissions(path, Permissions::from_mode(MODE)).map_err(unusable)?;
    let database = open_unlocked(path).map_err(|error| explain(path, error.into()))?;
    let records = records(&database).map_err(|trouble| explain(path, trouble))?;
    let number = records.last().map_or(0, |record| record.number + 1);
    Ok(Opened { database, number })
}

/// The lock of a host that was killed outlives it until the processes that it was just starting have become others.
fn open_unlocked(path: &Path) -> Result<Database, DatabaseError> {
    let deadline = Instant::now() + LOCK_PATIENCE;
    loop {
        match settings().open(path) {
            Err(DatabaseError::DatabaseAlreadyOpen) if Instant::now() < deadline => {
                thread::sleep(LOCK_INTERVAL);
            }
            outcome => return outcome,
        }
    }
}

/// Made under another name: a file that a crash left half made would be taken for a damaged one.
fn create(path: &Path) -> Result<(), OpenError> {
    let unusable = |source| OpenError::Unusable { path: path.to_owned(), source };
    let folder = path.parent().unwrap_or(Path::new("."));
    let draft =
        tempfile::Builder::new().prefix(".streams-").tempfile_in(folder).map_err(unusable)?;
    drop(settings().create(draft.path()).map_err(|error| explain(path, error.into()))?);
    match draft.persist_noclobber(path) {
        // Another host was quicker: then its file is the one to open.
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(unusable(error.error)),
        // The name is as durable as the content.
        Ok(_) => File::open(folder).and_then(|folder| folder.sync_all()).map_err(unusable),
    }
}

fn settings() -> Builder {
    let mut settings = Database::builder();
    settings.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true);
    settings
}

/// All streams, in order of creation.
pub fn records(database: &Database) -> Result<Vec<Record>, Trouble> {
    let Some(table) = table(database)? else { return Ok(Vec::new()) };
    let mut records = Vec::new();
    for entry in table.iter()? {
        records.push(Record::read(entry?.1.value())?);
    }
    records.sort_by_key(|record| record.number);
    Ok(records)
}

pub fn find(database: &Database, id: &str) -> Result<Option<Record>, Trouble> {
    let Some(table) = table(database)? else { return Ok(None) };
    Ok(table.get(id)?.map(|bytes| Record::read(bytes.value())).transpose()?)
}

/// None where nothing was ever written.
fn table(database: &Database) -> Result<Option<Records>, redb::Error> {
    match database.begin_read()?.open_table(STREAMS) {
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        table => Ok(Some(table?)),
    }
}

/// What can be wrong with a file, before its name is known.
#[derive(Debug)]
pub enum Trouble {
    Database(redb::Error),
    Record(RecordError),
}

impl From<redb::Error> for Trouble {
    fn from(error: redb::Error) -> Self {
        Self::Database(error)
    }
}

impl From<StorageError> for Trouble {
    fn from(error: StorageError) -> Self {
        Self::Database(error.into())
    }
}

impl From<DatabaseError> for Trouble {
    fn from(error: DatabaseError) -> Self {
        Self::Database(error.into())
    }
}

impl From<RecordError> for Trouble {
    fn from(error: RecordError) -> Self {
        Self::Record(error)
    }
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Database(error) => write!(f, "{error}"),
            Self::Record(RecordError::Newer { version }) => {
                write!(f, "a record of format {version}")
            }
            Self::Record(RecordError::Unreadable { reason }) => {
                write!(f, "an unreadable record: {reason}")
            }
        }
    }
}

fn explain(path: &Path, trouble: Trouble) -> OpenError {
    let path = path.to_owned();
    match trouble {
        Trouble::Database(redb::Error::DatabaseAlreadyOpen | redb::Error::LockProtocolMismatch) => {
            OpenError::Locked { path }
        }
        Trouble::Database(redb::Error::Io(source))
            if source.kind() != io::ErrorKind::InvalidData =>
        {
            OpenError::Unusable { path, source }
        }
        Trouble::Record(RecordError::Newer { version }) => {
            OpenError::Newer { path, found: version }
        }
        trouble => OpenError::Damaged { path, reason: trouble.to_string() },
    }
}
