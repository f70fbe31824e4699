//! What a plugin says about params before anything is loaded.

use crate::frame::Formats;
use serde::{Deserialize, Serialize};

/// The answer of [`crate::Plugin::plan`]. On the wire it is a JSON object with these fields; absent ones are empty or 0,
/// only `formats` is required.
///
/// ```
/// let plan: plugin_api::Plan = serde_json::from_str(
///     r#"{ "formats": { "input": { "width": 512, "height": 512 }, "output": { "width": 512, "height": 512 } } }"#,
/// )
/// .unwrap();
/// assert!(plan.errors.is_empty());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Input and output size, so that the host can prepare before loading. With `errors` they are not looked at.
    pub formats: Formats,
    /// Params that cannot be accepted; the request is refused with them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    /// Params that are accepted and have no effect now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unsupported: Vec<Unsupported>,
    /// Changed fields (from the previous to the wanted params) that need a reload although their `x-apply` does not say
    /// so. Empty without previous params.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reload: Vec<String>,
    /// What the user should know, in full sentences.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// Estimated memory once loaded, in bytes, on the device that computes; 0 when unknown.
    #[serde(default)]
    pub memory_bytes: u64,
    /// Calls of `process` from an input to its output, minus one: 0 for most, n - 1 for a stream batch of n.
    #[serde(default)]
    pub latency_frames: u32,
}

/// A param that cannot be accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldError {
    /// JSON pointer into the params, as in `/t_index_list/0`.
    pub pointer: String,
    /// What is wrong and what would be right.
    pub message: String,
}

/// A param that is accepted and has no effect now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unsupported {
    /// The param's name.
    pub field: String,
    /// Why it has no effect.
    pub reason: String,
}
