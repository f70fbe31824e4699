//! Loops over many values, written for the processor's widest vectors: what ONNX Runtime would compute in several passes
//! over memory is one here.
//!
//! They work on slices and know nothing of tensors; whoever calls them spreads the work over threads.

mod attention;
mod exponential;
mod group_norm;

pub use attention::{Memory, is_narrow};
pub use group_norm::{Moments, scale_and_shift};
