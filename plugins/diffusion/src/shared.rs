//! What equal streams share: made once, and there as long as one of them uses it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError, Weak};
use std::time::Duration;

/// How often who waits for another's making is asked whether that still makes sense.
const BEAT: Duration = Duration::from_millis(200);

/// Values by what they are made from.
pub struct Shared<K, V>(Mutex<Vec<(K, Slot<V>)>>);

/// Locked while its value is made.
type Slot<V> = Arc<Mutex<Weak<V>>>;

impl<K, V> Shared<K, V> {
    pub const fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }
}

impl<K, V> Default for Shared<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: PartialEq, V> Shared<K, V> {
    /// The value that is there, or what `make` makes. While another makes it `goes_on` is asked again and again; nothing
    /// comes of it when that answers false.
    pub fn get<E>(
        &self,
        key: K,
        goes_on: &mut dyn FnMut() -> bool,
        make: impl FnOnce() -> Result<V, E>,
    ) -> Option<Result<Arc<V>, E>> {
        let slot = self.slot(key);
        let mut place = claim(&slot, goes_on)?;
        if let Some(there) = place.upgrade() {
            return Some(Ok(there));
        }
        Some(make().map(|made| {
            let made = Arc::new(made);
            *place = Arc::downgrade(&made);
            made
        }))
    }

    fn slot(&self, key: K) -> Slot<V> {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // One that another holds is being filled, or about to be.
        slots.retain(|(_, slot)| Arc::strong_count(slot) > 1 || is_filled(slot));
        if let Some((_, slot)) = slots.iter().find(|(known, _)| *known == key) {
            return slot.clone();
        }
        let slot = Slot::default();
        slots.push((key, slot.clone()));
        slot
    }
}

fn is_filled<V>(slot: &Slot<V>) -> bool {
    slot.try_lock().is_ok_and(|value| value.strong_count() > 0)
}

fn claim<'a, V>(
    slot: &'a Slot<V>,
    goes_on: &mut dyn FnMut() -> bool,
) -> Option<MutexGuard<'a, Weak<V>>> {
    loop {
        match slot.try_lock() {
            Ok(value) => return Some(value),
            // Whoever panicked while making it left nothing there.
            Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) if !goes_on() => return None,
            Err(TryLockError::WouldBlock) => std::thread::sleep(BEAT),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;
    use std::sync::mpsc::channel;

    fn get(shared: &Shared<&'static str, u32>, key: &'static str, value: u32) -> Arc<u32> {
        shared.get(key, &mut || true, || Ok::<_, Infallible>(value)).unwrap().unwrap()
    }

    #[test]
    fn a_value_is_made_again_only_when_nobody_uses_it() {
        let shared = Shared::new();
        let first = get(&shared, "model", 1);
        assert_eq!(*get(&shared, "model", 2), 1);
        assert_eq!(*get(&shared, "other", 3), 3);
        drop(first);
        assert_eq!(*get(&shared, "model", 4), 4);
        // What nobody uses leaves no trace.
        get(&shared, "last", 5);
        assert_eq!(shared.0.lock().unwrap().len(), 1);
    }

    #[test]
    fn what_could_not_be_made_is_tried_again() {
        let shared = Shared::new();
        let failed = shared.get("model", &mut || true, || Err::<u32, _>("no weights"));
        assert_eq!(failed.unwrap().unwrap_err(), "no weights");
        assert_eq!(*get(&shared, "model", 1), 1);
    }

    #[test]
    fn who_wants_a_value_that_is_being_made_waits_or_gives_up() {
        let own = Shared::new();
        let shared = &own;
        let ((begun, has_begun), (finish, may_finish)) = (channel(), channel());
        std::thread::scope(|scope| {
            let maker = scope.spawn(move || {
                shared.get("model", &mut || true, || {
                    begun.send(()).unwrap();
                    may_finish.recv().unwrap();
                    Ok::<_, Infallible>(1)
                })
            });
            has_begun.recv().unwrap();
            let given_up = shared.get("model", &mut || false, || Ok::<_, Infallible>(2));
            assert!(given_up.is_none());
            let mut patience = || {
                // It may have ended by the second time.
                let _ = finish.send(());
                true
            };
            let waited = shared.get("model", &mut patience, || Ok::<_, Infallible>(3));
            // The maker's own is dropped only by joining it.
            assert_eq!(*waited.unwrap().unwrap(), 1);
            assert_eq!(*maker.join().unwrap().unwrap().unwrap(), 1);
        });
    }
}
