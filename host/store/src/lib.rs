//! Remembers streams: implementations of `StateStore`.
//!
//! `RedbStore` keeps them in a file that survives the end of the process at any moment; `MemoryStore` forgets with the
//! process. Both pass the same `conformance` test.

#[cfg(test)]
mod conformance;
mod file;
mod memory;
mod record;
mod redb_store;
mod writer;

pub use file::OpenError;
pub use memory::MemoryStore;
pub use redb_store::RedbStore;
