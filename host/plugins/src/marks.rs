//! How a worker notes whom it calls: numbers, the same in the host and in all workers.

use crate::message::Offered;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Whom a thread calls, or a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Mark(pub(crate) u64);

impl Mark {
    /// Nobody.
    pub(crate) const IDLE: Self = Self(0);
    /// The stream's own pipeline, which calls nobody.
    pub(crate) const OWN: Self = Self(1);

    /// Something that a plugin lends. Host and workers are one program, so that they count alike.
    pub(crate) fn of(lent: &Offered) -> Self {
        let mut hasher = DefaultHasher::new();
        (&lent.name, &lent.library).hash(&mut hasher);
        Self(hasher.finish().max(Self::OWN.0 + 1))
    }
}
