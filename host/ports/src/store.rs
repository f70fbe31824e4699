//! Where streams are remembered.

use serde_json::{Map, Value};

/// Everything about a stream that outlives its session.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredStream {
    pub id: String,
    pub name: String,
    pub stream_key: String,
    pub playback_id: String,
    /// RFC 3339, UTC.
    pub created_at: String,
    pub pipeline: String,
    pub params: Map<String, Value>,
    /// Grows by one with every change.
    pub revision: u64,
    pub output_rtmp_url: Option<String>,
}

/// Streams by id. Narrow on purpose: a fleet's store has to fit it too.
pub trait StateStore: Send + Sync {
    fn get(&self, id: &str) -> Result<Option<StoredStream>, StoreError>;
    /// In order of creation.
    fn list(&self) -> Result<Vec<StoredStream>, StoreError>;
    fn create(&self, stream: StoredStream) -> Result<(), StoreError>;
    /// Writes `stream` if the stored revision is still `expected`.
    fn update(&self, expected: u64, stream: StoredStream) -> Result<(), StoreError>;
    /// False if there was none.
    fn delete(&self, id: &str) -> Result<bool, StoreError>;
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    #[error("stream {id} exists already")]
    Exists { id: String },
    #[error("stream {id} is at revision {found}, not {expected}; read it again")]
    Conflict { id: String, expected: u64, found: u64 },
    #[error("no stream {id}")]
    Missing { id: String },
    #[error("the state store failed: {reason}")]
    Failed { reason: String },
}
