//! What a plugin says about params before anything is loaded.

use crate::frame::Formats;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

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
    /// How much of it is whose, for what the pipeline opens by name, under these names. For the user alone.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parts_bytes: BTreeMap<String, u64>,
    /// Calls of `process` from an input to its output, minus one: 0 for most, n - 1 for a stream batch of n.
    #[serde(default)]
    pub latency_frames: u32,
    /// What the load needs of the hub and does not find on this machine. The host fetches the first and asks again, so
    /// that what shows only then can be added or left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub artefacts: Vec<Artefact>,
}

/// A model of the hub, or some files of one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artefact {
    /// Its id on the hub: `ORG/NAME`.
    pub model: String,
    /// A branch, a tag or a commit.
    #[serde(default = "main_branch")]
    pub revision: String,
    /// Files of the repository, such as one LoRA of many. Empty: what a pipeline needs of it, which is its components'
    /// configurations, tokenizers and weights, or the weights in its root where it has no components.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<String>,
    /// Whether the load goes on without it where it cannot be fetched.
    #[serde(default)]
    pub is_optional: bool,
    /// What holds as long as it is missing: the same text as one of `warnings`, or as a reason in `unsupported`. Where the
    /// host fetches the artefact it leaves that one out. May be empty.
    #[serde(default)]
    pub without: String,
}

impl Plan {
    /// Adds the memory of something that the pipeline opens by this name.
    pub fn add_part(&mut self, name: &str, bytes: u64) {
        self.memory_bytes = self.memory_bytes.saturating_add(bytes);
        if bytes > 0 {
            let part = self.parts_bytes.entry(name.to_owned()).or_default();
            *part = part.saturating_add(bytes);
        }
    }
}

impl Artefact {
    /// What a pipeline needs of a model's main branch; the load fails without it.
    pub fn of_model(model: impl Into<String>) -> Self {
        Self {
            model: model.into(),
            revision: main_branch(),
            files: Vec::new(),
            is_optional: false,
            without: String::new(),
        }
    }
}

fn main_branch() -> String {
    "main".into()
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
