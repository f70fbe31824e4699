//! The host's only unsafe code: shared memory, and descriptors that a worker inherits.

mod descriptors;
mod memory;

pub(crate) use descriptors::close_inherited;
pub(crate) use memory::{FrameMemory, InputPool, SharedSlot, WorkerMemory};
