//! Remembers streams for a test.

use host_ports::{StateStore, StoreError, StoredStream};
use std::collections::BTreeMap;
use std::sync::Mutex;

#[derive(Default)]
pub struct FakeStore {
    streams: Mutex<BTreeMap<String, StoredStream>>,
}

impl StateStore for FakeStore {
    fn get(&self, id: &str) -> Result<Option<StoredStream>, StoreError> {
        Ok(self.streams.lock().unwrap().get(id).cloned())
    }

    fn list(&self) -> Result<Vec<StoredStream>, StoreError> {
        Ok(self.streams.lock().unwrap().values().cloned().collect())
    }

    fn create(&self, stream: StoredStream) -> Result<(), StoreError> {
        self.streams.lock().unwrap().insert(stream.id.clone(), stream);
        Ok(())
    }

    fn update(&self, expected: u64, stream: StoredStream) -> Result<(), StoreError> {
        let mut streams = self.streams.lock().unwrap();
        let stored = streams.get_mut(&stream.id);
        let stored = stored.ok_or_else(|| StoreError::Missing { id: stream.id.clone() })?;
        let found = stored.revision;
        if found != expected {
            return Err(StoreError::Conflict { id: stream.id, expected, found });
        }
        *stored = stream;
        Ok(())
    }

    fn delete(&self, id: &str) -> Result<bool, StoreError> {
        Ok(self.streams.lock().unwrap().remove(id).is_some())
    }
}
