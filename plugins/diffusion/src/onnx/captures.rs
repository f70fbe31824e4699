//! What the CUDA graphs of a process have in common: when one may be captured, and whether any still is.
//!
//! ONNX Runtime captures in CUDA's global mode: what other threads allocate, free or wait for meanwhile fails, and the
//! capture with it. So what may call CUDA asks here. Making a session takes up to minutes, and captures are put off until
//! it is over; runs are short, and captures wait for them.

use std::ops::{Deref, DerefMut};
use std::sync::{OnceLock, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Those of this process.
pub static CAPTURES: Captures = Captures::new();

pub struct Captures {
    making: RwLock<()>,
    running: RwLock<()>,
    failure: OnceLock<String>,
}

/// Held by who captures.
pub struct Alone<'a> {
    _making: RwLockWriteGuard<'a, ()>,
    _running: RwLockWriteGuard<'a, ()>,
}

impl Captures {
    pub const fn new() -> Self {
        Self { making: RwLock::new(()), running: RwLock::new(()), failure: OnceLock::new() }
    }

    /// Held by who makes a session.
    pub fn making(&self) -> RwLockReadGuard<'_, ()> {
        // The locks guard nothing that a panic could leave half done.
        self.making.read().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Held by who runs a network, moves tensors, or lets go of a session.
    pub fn running(&self) -> RwLockReadGuard<'_, ()> {
        self.running.read().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// For a capture, unless one failed already or a session is being made.
    pub fn alone(&self) -> Option<Alone<'_>> {
        if self.failure().is_some() {
            return None;
        }
        let making = self.making.try_write().ok()?;
        let running = self.running.write().unwrap_or_else(|poisoned| poisoned.into_inner());
        Some(Alone { _making: making, _running: running })
    }

    /// Ends captures for the process: where one does not work others would not, and a session does not survive all of
    /// them. Who loads it anew must not meet the same again.
    pub fn give_up(&self, reason: String) {
        tracing::warn!(reason, "cuda graphs do not work here, going on without");
        // The first reason counts.
        let _ = self.failure.set(reason);
    }

    pub fn failure(&self) -> Option<&str> {
        self.failure.get().map(String::as_str)
    }
}

/// Something of CUDA's that is let go while nothing is captured.
pub struct LetGo<T>(Option<T>);

const HELD: &str = "only dropping takes it";

impl<T> LetGo<T> {
    pub fn new(value: T) -> Self {
        Self(Some(value))
    }
}

impl<T> Deref for LetGo<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_ref().expect(HELD)
    }
}

impl<T> DerefMut for LetGo<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.as_mut().expect(HELD)
    }
}

impl<T> Drop for LetGo<T> {
    fn drop(&mut self) {
        let _running = CAPTURES.running();
        self.0 = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_captures_is_alone() {
        let captures = Captures::new();
        let alone = captures.alone().unwrap();
        assert!(captures.making.try_read().is_err() && captures.running.try_read().is_err());
        drop(alone);
        assert!(captures.making.try_read().is_ok() && captures.running.try_read().is_ok());
    }

    #[test]
    fn nothing_is_captured_while_a_session_is_made_or_after_a_failure() {
        let captures = Captures::new();
        let making = captures.making();
        assert!(captures.alone().is_none());
        drop(making);
        assert!(captures.alone().is_some());
        captures.give_up("first".into());
        captures.give_up("second".into());
        assert!(captures.alone().is_none());
        assert_eq!(captures.failure(), Some("first"));
    }
}
