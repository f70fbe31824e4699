//! Where Rust meets C: reading what crosses the boundary, and the two sides built on it.
//!
//! Everything here is for the macro [`crate::export_plugin`] and for the host; a plugin's author needs none of it.

mod calls;
mod conditioner;
mod export;
mod frames;
mod host_calls;
#[cfg(feature = "loader")]
mod host_context;
#[cfg(feature = "loader")]
mod lending;
#[cfg(feature = "loader")]
mod loader;
mod processor;
mod read;
mod tensors;

pub(crate) use calls::Callee;
pub use calls::{HostTable, LoadedPipeline, LoadedStream, Wanted};
pub use conditioner::Conditioner;
pub use export::{
    SharedTable, conditioner_table, copy_manifest, find_feature, last_error, pipeline_table,
    plugin_table,
};
pub(crate) use host_calls::{HostCalls, Lent};
#[cfg(feature = "loader")]
pub use host_context::{Callbacks, HostContext, Lendable, Said};
#[cfg(feature = "loader")]
pub use loader::{Library, LoadError};
pub use processor::Processor;
pub use read::{bytes_of, read_bytes, read_text, read_versioned};
pub use tensors::{Conditions, LentTensors, MAX_TENSORS};

pub use crate::abi;
