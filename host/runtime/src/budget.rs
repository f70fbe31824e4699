//! Memory for pipelines: what their plugins plan, against what there is. Streams whose params differ in hot ones only share
//! a pipeline, and its memory counts once: the most that was planned for any of them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub struct Budget {
    /// Bytes.
    limit: u64,
    shares: Mutex<HashMap<String, Share>>,
}

/// A pipeline's memory, and how many streams count on it.
struct Share {
    bytes: u64,
    holders: usize,
}

/// A stream's right to a pipeline's memory; given back when dropped.
pub struct Hold {
    budget: Arc<Budget>,
    key: String,
}

/// Memory that was promised.
pub struct Reserved {
    pub hold: Arc<Hold>,
    /// Whether it fits beside what it is to replace.
    pub has_room: bool,
}

/// Why memory was refused, in bytes.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the pipeline needs {} MiB by its plugin's plan, other streams hold {} of {} MiB; delete one, take a smaller model or size, or raise `streams.memory_mb`",
    mib(*needed), mib(*in_use), mib(*limit)
)]
pub struct Shortage {
    pub needed: u64,
    pub in_use: u64,
    pub limit: u64,
}

impl Budget {
    pub fn new(limit: u64) -> Arc<Self> {
        Arc::new(Self { limit, shares: Mutex::default() })
    }

    /// Memory for the pipeline that `key` names. What `replaced` alone holds may be counted on, as it goes first.
    pub fn reserve(
        self: &Arc<Self>,
        key: String,
        bytes: u64,
        replaced: Option<&Hold>,
    ) -> Result<Reserved, Shortage> {
        let mut shares = self.shares();
        let in_use: u64 = shares.values().map(|share| share.bytes).sum();
        // Of a pipeline whose model was not here it may show only now how large it is.
        let growth = bytes.saturating_sub(shares.get(&key).map_or(0, |share| share.bytes));
        let freed = replaced.and_then(|hold| shares.get(&hold.key)).filter(|old| old.holders == 1);
        let freed = freed.map_or(0, |old| old.bytes);
        // What grows in its place is what it was and the growth.
        let is_own = replaced.is_some_and(|hold| hold.key == key);
        let needed = if is_own { freed + growth } else { growth };
        let left = in_use - freed;
        if left.saturating_add(needed) > self.limit {
            return Err(Shortage { needed, in_use: left, limit: self.limit });
        }
        let has_room = in_use.saturating_add(growth) <= self.limit;
        let share = shares.entry(key.clone()).or_insert(Share { bytes, holders: 0 });
        share.bytes = share.bytes.max(bytes);
        share.holders += 1;
        Ok(Reserved { hold: Arc::new(Hold { budget: self.clone(), key }), has_room })
    }

    fn shares(&self) -> MutexGuard<'_, HashMap<String, Share>> {
        // Counted up and down in one step each.
        self.shares.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut shares = self.budget.shares();
        let Some(share) = shares.get_mut(&self.key) else { return };
        share.holders -= 1;
        if share.holders == 0 {
            shares.remove(&self.key);
        }
    }
}

fn mib(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reserve(
        budget: &Arc<Budget>,
        key: &str,
        bytes: u64,
        old: Option<&Hold>,
    ) -> Result<Reserved, Shortage> {
        budget.reserve(key.to_owned(), bytes, old)
    }

    #[test]
    fn memory_is_promised_once_and_comes_back() {
        let budget = Budget::new(10);
        let first = reserve(&budget, "a", 6, None).ok().unwrap();
        let refused = reserve(&budget, "b", 5, None).err();
        assert_eq!(refused, Some(Shortage { needed: 5, in_use: 6, limit: 10 }));
        drop(first);
        assert!(reserve(&budget, "b", 10, None).is_ok());
    }

    #[test]
    fn streams_that_share_a_pipeline_share_its_memory() {
        let budget = Budget::new(10);
        let (one, two) = (reserve(&budget, "a", 10, None), reserve(&budget, "a", 10, None));
        assert!(one.is_ok() && two.is_ok());
        drop(one);
        assert!(reserve(&budget, "b", 1, None).is_err(), "the other one still holds it");
        drop(two);
        assert!(reserve(&budget, "b", 1, None).is_ok());
    }

    #[test]
    fn what_grows_is_counted_and_must_still_fit() {
        let budget = Budget::new(10);
        let unknown = reserve(&budget, "a", 0, None).ok().unwrap();
        let known = reserve(&budget, "a", 6, None).ok().unwrap();
        drop(unknown);
        let refused = reserve(&budget, "b", 5, None).err();
        assert_eq!(refused, Some(Shortage { needed: 5, in_use: 6, limit: 10 }));
        assert!(reserve(&budget, "a", 11, None).is_err());
        drop(known);
        assert!(reserve(&budget, "b", 10, None).is_ok());
    }

    #[test]
    fn hot_params_that_need_more_memory_are_counted() {
        let budget = Budget::new(10);
        let old = reserve(&budget, "a", 6, None).ok().unwrap().hold;
        let refused = reserve(&budget, "a", 11, Some(&old)).err();
        assert_eq!(refused, Some(Shortage { needed: 11, in_use: 0, limit: 10 }));
        let _more = reserve(&budget, "a", 8, Some(&old)).ok().unwrap();
        drop(old);
        assert!(reserve(&budget, "b", 3, None).is_err());
        assert!(reserve(&budget, "b", 2, None).is_ok());
    }

    #[test]
    fn what_is_replaced_may_go_first_unless_another_stream_needs_it() {
        let budget = Budget::new(10);
        let old = reserve(&budget, "a", 6, None).ok().unwrap().hold;
        let new = reserve(&budget, "b", 6, Some(&old)).ok().unwrap();
        assert!(!new.has_room);
        drop(new);
        assert!(reserve(&budget, "b", 4, Some(&old)).ok().unwrap().has_room);
        let _sharing = reserve(&budget, "a", 6, None);
        assert!(reserve(&budget, "b", 6, Some(&old)).is_err());
    }
}
