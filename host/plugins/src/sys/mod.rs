//! The host's only unsafe code: shared memory, descriptors that a worker inherits, and the allocator's settings.

mod allocator;
mod descriptors;
mod memory;

pub use allocator::bound_allocator;
pub(crate) use descriptors::close_inherited;
pub(crate) use memory::{FrameMemory, InputPool, Mark, SharedSlot, WorkerMemory};
