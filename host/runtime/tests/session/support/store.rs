//! Remembers streams for a test.

use host_ports::{StateStore, StoreError, StoredStream};
use std::sync::Mutex;

#[derive(Default)]
pub struct FakeStore {
    /// In order of creation.
    streams: Mutex<Vec<StoredStream>>,
}

impl StateStore for FakeStore {
    fn get(&self, id: &str) -> Result<Option<StoredStream>, StoreError> {
        Ok(self.streams.lock().unwrap().iter().find(|stream| stream.id == id).cloned())
    }

    fn list(&self) -> Result<Vec<StoredStream>, StoreError> {
        Ok(self.streams.lock().unwrap().clone())
    }

    fn create(&self, stream: StoredStream) -> Result<(), StoreError> {
        self.streams.lock().unwrap().push(stream);
        Ok(())
    }

    fn update(&self, expected: u64, stream: StoredStream) -> Result<(), StoreError> {
        let mut streams = self.streams.lock().unwrap();
        let stored = streams.iter_mut().find(|stored| stored.id == stream.id);
        let stored = stored.ok_or_else(|| StoreError::Missing { id: stream.id.clone() })?;
        let found = stored.revision;
        if found != expected {
            return Err(StoreError::Conflict { id: stream.id, expected, found });
        }
        *stored = stream;
        Ok(())
    }

    fn delete(&self, id: &str) -> Result<bool, StoreError> {
        let mut streams = self.streams.lock().unwrap();
        let before = streams.len();
        streams.retain(|stream| stream.id != id);
        Ok(streams.len() < before)
    }
}
