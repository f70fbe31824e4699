//! The paths by the names of their streams, for the doors that are told a name by whoever comes.

use crate::path::Path;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

#[derive(Default)]
pub(crate) struct Paths(Mutex<HashMap<String, Weak<Path>>>);

impl Paths {
    pub fn insert(&self, stream: &str, path: &Arc<Path>) {
        let mut paths = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        paths.retain(|_, path| path.strong_count() > 0);
        paths.insert(stream.to_owned(), Arc::downgrade(path));
    }

    pub fn get(&self, stream: &str) -> Option<Arc<Path>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(stream)?.upgrade()
    }
}
