//! Remembers streams: implementations of `StateStore`.
//!
//! `MemoryStore` forgets with the process. Every implementation passes the same `conformance` test.

#[cfg(test)]
mod conformance;
mod memory;

pub use memory::MemoryStore;
