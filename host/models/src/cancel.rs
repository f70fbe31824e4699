//! A flag that ends a pull from another thread, and cuts its waits short.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Clones share the flag. A transfer that waits for bytes looks at it when bytes come, or when they stay out for so long
/// that it counts as stalled.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<(Mutex<bool>, Condvar)>);

impl Cancel {
    pub fn cancel(&self) {
        let (flag, changed) = &*self.0;
        *flag.lock().unwrap_or_else(PoisonError::into_inner) = true;
        changed.notify_all();
    }

    pub fn is_cancelled(&self) -> bool {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits, but not longer than until it is cancelled; tells whether it is.
    pub(crate) fn wait(&self, time: Duration) -> bool {
        let (flag, changed) = &*self.0;
        let flag = flag.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = changed.wait_timeout_while(flag, time, |is_cancelled| !*is_cancelled);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}
