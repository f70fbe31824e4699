//! The host's only unsafe code: shared memory, descriptors that a worker inherits, its fatal signals, and the allocator's
//! settings.

mod allocator;
mod descriptors;
mod faults;
mod mapping;
mod memory;
mod notes;

pub use allocator::bound_allocator;
pub(crate) use descriptors::close_inherited;
pub(crate) use faults::{enter, note_faults};
pub(crate) use memory::{FrameMemory, InputPool, SharedSlot, WorkerMemory};
pub(crate) use notes::{HostNotes, Note, SEATS, WorkerNotes};
