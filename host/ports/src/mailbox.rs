//! The only thing frames ever wait in: room for one, and the newest wins.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Holds the newest value. What a newer one displaces is counted as dropped.
pub struct Mailbox<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
    dropped: AtomicU64,
}

struct State<T> {
    value: Option<T>,
    is_closed: bool,
}

impl<T> Default for Mailbox<T> {
    fn default() -> Self {
        Self {
            state: Mutex::new(State { value: None, is_closed: false }),
            changed: Condvar::new(),
            dropped: AtomicU64::new(0),
        }
    }
}

impl<T> Mailbox<T> {
    /// Puts the newest value in. Returns false when an older one was thrown away for it, or the box is closed.
    pub fn put(&self, value: T) -> bool {
        let mut state = self.lock();
        if state.is_closed {
            return false;
        }
        let displaced = state.value.replace(value);
        drop(state);
        self.changed.notify_one();
        if displaced.is_some() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        displaced.is_none()
    }

    /// Waits for a value; none once the box is closed.
    pub fn take(&self) -> Option<T> {
        let mut state = self.lock();
        loop {
            if let Some(value) = state.value.take() {
                return Some(value);
            }
            if state.is_closed {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits for a value until `deadline`; none when there is none by then, or the box is closed.
    pub fn take_until(&self, deadline: Instant) -> Option<T> {
        let mut state = self.lock();
        loop {
            if let Some(value) = state.value.take() {
                return Some(value);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if state.is_closed || left.is_zero() {
                return None;
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Takes the value if there is one.
    pub fn try_take(&self) -> Option<T> {
        self.lock().value.take()
    }

    /// Ends all waiting; values put later are refused, one still inside can be taken.
    pub fn close(&self) {
        self.lock().is_closed = true;
        self.changed.notify_all();
    }

    pub fn is_closed(&self) -> bool {
        self.lock().is_closed
    }

    /// Values displaced by newer ones so far.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // A value is moved in or out in one step: a panic elsewhere leaves nothing half done here.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn the_newest_value_wins_and_the_displaced_one_is_counted() {
        let mailbox = Mailbox::default();
        assert!(mailbox.put(1));
        assert!(!mailbox.put(2));
        assert_eq!((mailbox.try_take(), mailbox.try_take(), mailbox.dropped()), (Some(2), None, 1));
    }

    #[test]
    fn closing_wakes_the_taker_after_the_last_value() {
        let mailbox = Arc::new(Mailbox::default());
        let taker = std::thread::spawn({
            let mailbox = mailbox.clone();
            move || std::iter::from_fn(|| mailbox.take()).collect::<Vec<i32>>()
        });
        mailbox.put(7);
        mailbox.close();
        assert_eq!(taker.join().expect("the taker does not panic"), [7]);
        assert!(!mailbox.put(8));
    }

    #[test]
    fn an_empty_box_gives_up_at_the_deadline() {
        assert_eq!(Mailbox::<i32>::default().take_until(Instant::now()), None);
    }
}
