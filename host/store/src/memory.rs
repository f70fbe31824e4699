//! A store that lives as long as the process.

use host_ports::{StateStore, StoreError, StoredStream};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Streams in order of creation. They are few: looking one up by going through them costs nothing.
#[derive(Default)]
pub struct MemoryStore {
    streams: Mutex<Vec<StoredStream>>,
}

impl MemoryStore {
    fn streams(&self) -> MutexGuard<'_, Vec<StoredStream>> {
        // Each change is one step: a panic elsewhere leaves nothing half done here.
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StateStore for MemoryStore {
    fn get(&self, id: &str) -> Result<Option<StoredStream>, StoreError> {
        Ok(self.streams().iter().find(|stream| stream.id == id).cloned())
    }

    fn list(&self) -> Result<Vec<StoredStream>, StoreError> {
        Ok(self.streams().clone())
    }

    fn create(&self, stream: StoredStream) -> Result<(), StoreError> {
        let mut streams = self.streams();
        if streams.iter().any(|each| each.id == stream.id) {
            return Err(StoreError::Exists { id: stream.id });
        }
        streams.push(stream);
        Ok(())
    }

    fn update(&self, expected: u64, stream: StoredStream) -> Result<(), StoreError> {
        let mut streams = self.streams();
        let Some(stored) = streams.iter_mut().find(|each| each.id == stream.id) else {
            return Err(StoreError::Missing { id: stream.id });
        };
        if stored.revision != expected {
            return Err(StoreError::Conflict { id: stream.id, expected, found: stored.revision });
        }
        *stored = stream;
        Ok(())
    }

    fn delete(&self, id: &str) -> Result<bool, StoreError> {
        let mut streams = self.streams();
        let before = streams.len();
        streams.retain(|stream| stream.id != id);
        Ok(streams.len() < before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_store_keeps_the_contract() {
        crate::conformance::check(MemoryStore::default);
    }
}
