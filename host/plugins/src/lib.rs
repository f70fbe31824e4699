//! Finds pipeline plugins, checks them, and runs them in worker processes.
//!
//! [`PluginCatalog`] watches folders of libraries and answers which pipelines there are. A library's code never runs in
//! the host: its manifest is read as a file, and everything else happens in workers, which are this same binary executed
//! again ([`run_worker`]). Frames cross in shared memory; words cross on sockets. What HTTP and media make of it is left
//! to others.

mod aliases;
mod blame;
mod candidates;
mod catalog;
mod config;
mod files;
#[doc(hidden)]
pub mod fuzzing;
mod library;
mod manifest_section;
mod marks;
mod mean;
mod message;
mod notices;
mod packets;
mod pipeline;
mod plans;
mod probe;
mod process;
mod processors;
mod registry;
mod slots;
mod stamps;
mod stop;
#[allow(unsafe_code)]
mod sys;
mod wait;
mod watch;
mod worker;
mod workers;

pub use catalog::PluginCatalog;
pub use config::{Config, Limits, WorkerCommand};
pub use plugin_api::Environment;
pub use sys::bound_allocator;
pub use worker::run_worker;
