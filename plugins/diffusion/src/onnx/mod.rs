//! The ONNX back end: writes a network as a graph over the user's weights and has ONNX Runtime run it.
//!
//! `graph` records the network, `messages` is the file format, `operators` are those we add, `runtime` finds and starts
//! the library, `session` opens a network on the best provider that works here, `cuda` and `tensorrt` say what those are
//! told, `resident` runs a network on tensors that stay there, `fixed` on tensors at one place, as CUDA's graphs need, which
//! `captures` lets make. `declared` reads what a file of others says of itself, and `file` runs the network in it.

mod captures;
mod cuda;
mod declared;
mod file;
mod fixed;
mod graph;
mod messages;
mod operators;
mod resident;
mod runtime;
mod session;
mod tensorrt;

pub use declared::{Declared, Element, FileError, Slot};
pub use file::FileSession;
pub use fixed::{SwitchError, wants_graphs};
pub use graph::{Dialect, check, write};
pub use runtime::{Runtime, RuntimeError, has_provider};
pub use session::{Merged, Opener, Provider, Refusal, Session};
