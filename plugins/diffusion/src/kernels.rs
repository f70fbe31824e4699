//! Loops over many values, written for vectors (AVX2, NEON): what ONNX Runtime would compute in several passes over memory
//! is fewer here.
//!
//! They work on slices and know nothing of tensors; whoever calls them spreads the work over threads.

mod attention;
mod exponential;
mod group_norm;
mod winograd;

pub use attention::{KeysAndValues, is_narrow};
pub use group_norm::{Moments, scale_and_shift};
pub use winograd::{Filters, Finish, Picture, lines_of_strip};
