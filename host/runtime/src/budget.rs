//! Memory for pipelines: what their plugins plan, against what there is. Streams whose params differ in hot ones only share
//! a pipeline, and its memory counts once: the most that was planned for any of them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub struct Budget {
    /// Bytes.
    limit: u64,
    shares: Mutex<Shares>,
}

/// By pipeline, the bytes that were planned for each of those who hold it. It takes the most of them.
#[derive(Default)]
struct Shares(HashMap<String, Vec<u64>>);

/// A stream's right to a pipeline's memory; given back when dropped.
pub struct Hold {
    budget: Arc<Budget>,
    key: String,
    bytes: u64,
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
        let in_use = shares.total();
        // Of a pipeline whose model was not here it may show only now how large it is.
        let growth = bytes.saturating_sub(shares.size(&key));
        let freed = replaced.map_or(0, |hold| shares.freed_by(hold));
        let is_own = replaced.is_some_and(|hold| hold.key == key);
        let stays = shares.size(&key) - if is_own { freed } else { 0 };
        let (needed, left) = (bytes.saturating_sub(stays), in_use - freed);
        if left.saturating_add(needed) > self.limit {
            return Err(Shortage { needed, in_use: left, limit: self.limit });
        }
        let has_room = in_use.saturating_add(growth) <= self.limit;
        shares.0.entry(key.clone()).or_default().push(bytes);
        Ok(Reserved { hold: Arc::new(Hold { budget: self.clone(), key, bytes }), has_room })
    }

    fn shares(&self) -> MutexGuard<'_, Shares> {
        // Holders are put in and taken out in one step each.
        self.shares.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shares {
    fn total(&self) -> u64 {
        self.0.values().fold(0, |sum, holders| sum.saturating_add(most(holders)))
    }

    fn size(&self, key: &str) -> u64 {
        self.0.get(key).map_or(0, |holders| most(holders))
    }

    /// By how much the pipeline shrinks when this holder goes.
    fn freed_by(&self, hold: &Hold) -> u64 {
        let mut others = self.0.get(&hold.key).cloned().unwrap_or_default();
        remove_one(&mut others, hold.bytes);
        self.size(&hold.key) - most(&others)
    }

    fn remove(&mut self, hold: &Hold) {
        let Some(holders) = self.0.get_mut(&hold.key) else { return };
        remove_one(holders, hold.bytes);
        if holders.is_empty() {
            self.0.remove(&hold.key);
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.budget.shares().remove(self);
    }
}

fn most(holders: &[u64]) -> u64 {
    holders.iter().copied().max().unwrap_or_default()
}

/// Holders of equal size need not be told apart.
fn remove_one(holders: &mut Vec<u64>, bytes: u64) {
    if let Some(place) = holders.iter().position(|held| *held == bytes) {
        holders.swap_remove(place);
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
    fn what_was_only_planned_leaves_nothing() {
        let budget = Budget::new(10);
        let running = reserve(&budget, "a", 4, None).ok().unwrap().hold;
        drop(reserve(&budget, "a", 8, Some(&running)).ok().unwrap());
        let other = reserve(&budget, "b", 6, None).ok().unwrap();
        drop(other);
        let larger = reserve(&budget, "a", 8, Some(&running)).ok().unwrap().hold;
        drop(running);
        let _smaller_again = reserve(&budget, "a", 4, Some(&larger)).ok().unwrap();
        drop(larger);
        assert!(reserve(&budget, "b", 6, None).is_ok());
    }

    #[test]
    fn a_shared_pipeline_shrinks_to_what_its_other_streams_need() {
        let budget = Budget::new(10);
        let large = reserve(&budget, "a", 8, None).ok().unwrap().hold;
        let _small = reserve(&budget, "a", 4, None).ok().unwrap();
        assert!(!reserve(&budget, "b", 6, Some(&large)).ok().unwrap().has_room);
        let refused = reserve(&budget, "b", 7, Some(&large)).err();
        assert_eq!(refused, Some(Shortage { needed: 7, in_use: 4, limit: 10 }));
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
