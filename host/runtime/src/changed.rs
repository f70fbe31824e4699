//! What is told about a change: what each field costs, what the pipeline then needs, and from which frame on it holds.

use crate::StreamView;
use crate::agreement::Agreement;
use host_stream::Changes;
use serde_json::{Map, Value};

/// Names that no schema has are repeated up to here, so that an answer cannot be as large as its request.
const MOST_UNKNOWN: usize = 16;
const LONGEST_UNKNOWN: usize = 100;

/// A change that was made, or would be.
#[derive(Clone, Debug, PartialEq)]
pub struct Changed {
    /// The stream after it. Of a change that was only planned: with the revision that it still has.
    pub view: StreamView,
    /// One for each param that the request named.
    pub fields: Vec<FieldChange>,
    pub forecast: Forecast,
    /// Only of a change that was to wait for its first frame.
    pub applied: Option<Applied>,
}

/// A param that a request named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldChange {
    pub name: String,
    pub apply: Apply,
}

/// What becomes of it. On its own: beside a field that needs a reload, a hot one is applied by that reload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Apply {
    /// Between two frames.
    Hot,
    /// The pipeline is loaded again.
    Reload,
    /// The value was the same already.
    Unchanged,
    /// Taken, and without effect now.
    Unsupported { reason: String },
}

/// What params ask of the host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forecast {
    pub needs_reload: bool,
    /// As the plugin reckons; 0 when it does not know.
    pub memory_bytes: u64,
    /// What is fetched from the hub before it loads; none when that is not known.
    pub fetch_bytes: Option<u64>,
}

/// A stream that would be created.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    pub pipeline: String,
    pub params: Map<String, Value>,
    pub warnings: Vec<String>,
    pub forecast: Forecast,
}

/// Whether a frame was made with the new params.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Applied {
    /// The first one, by the number that its capture has among the publisher's frames, from 1.
    AtFrame(u64),
    /// None so far; the change holds all the same.
    NotYet { reason: String },
}

/// What the change of `named` fields to `agreement` costs.
pub fn fields(
    named: &Map<String, Value>,
    agreement: &Agreement,
    changes: &Changes,
) -> Vec<FieldChange> {
    let (known, unknown): (Vec<_>, Vec<_>) =
        named.keys().partition(|name| agreement.schema.has(name));
    let known = known
        .into_iter()
        .map(|name| FieldChange { name: name.clone(), apply: apply(name, agreement, changes) });
    let unknown = unknown.into_iter().filter(|name| name.len() <= LONGEST_UNKNOWN);
    let unknown = unknown.take(MOST_UNKNOWN).map(|name| FieldChange {
        name: name.clone(),
        apply: Apply::Unsupported { reason: "this pipeline has no such parameter".to_owned() },
    });
    known.chain(unknown).collect()
}

fn apply(name: &str, agreement: &Agreement, changes: &Changes) -> Apply {
    let is_in = |list: &[String]| list.iter().any(|each| each == name);
    let reasons = agreement.unsupported().into_iter().filter(|each| each.field == name);
    let reasons: Vec<_> = reasons.map(|each| each.reason).collect();
    if !reasons.is_empty() {
        Apply::Unsupported { reason: reasons.join("; ") }
    } else if is_in(&changes.reload) {
        Apply::Reload
    } else if is_in(&changes.hot) || is_in(&changes.host) {
        Apply::Hot
    } else {
        Apply::Unchanged
    }
}
