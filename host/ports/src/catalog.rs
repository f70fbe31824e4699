//! What the installed plugins offer.

use crate::{Artefact, Formats, OpenRequest, Opened, PipelineError};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// One `pipeline` name that an accepted plugin answers to.
#[derive(Clone, Debug, PartialEq)]
pub struct Claim {
    /// What streams call it.
    pub pipeline: String,
    /// Where that is not the plugin's own name for it, but another's.
    pub name_given: Option<NameGiven>,
    pub id: ClaimRef,
    /// Values of `model_id` it is for; none means any.
    pub models: Option<Vec<String>>,
    pub description: String,
    /// JSON Schema 2020-12 of `params`, with `x-apply`; slots are filled with what plugins contribute.
    pub params_schema: Value,
}

/// A name that a plugin gives to a pipeline, for streams that use what the plugin adds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameGiven {
    /// The id of who gives it.
    pub plugin: String,
    /// The pipeline that it stands for.
    pub of: String,
}

/// Names a claim: the plugin's id and the `pipeline` it answers to. One plugin may hold several claims of one name, told
/// apart by `index` in its manifest.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClaimRef {
    pub plugin: String,
    pub pipeline: String,
    pub index: usize,
}

/// A library file, accepted or refused.
#[derive(Clone, Debug, PartialEq)]
pub struct PluginReport {
    /// The file's name in its folder.
    pub file: String,
    /// None when the manifest could not be read.
    pub id: Option<String>,
    pub vendor: Option<String>,
    pub version: Option<String>,
    pub license: Option<String>,
    pub description: Option<String>,
    pub features: Vec<String>,
    /// `pipeline` names.
    pub pipelines: Vec<String>,
    /// Names that it gives and that stand for nothing.
    pub withheld: Vec<Withheld>,
    /// What it adds to the schemas of pipelines.
    pub contributes: Vec<Contribution>,
    /// SHA-256 of the file, hexadecimal.
    pub hash: String,
    pub state: PluginState,
}

/// A name that cannot be used, as what it stands for is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Withheld {
    pub pipeline: String,
    pub reason: String,
}

/// Values for the properties of schemas that name a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contribution {
    pub slot: String,
    pub values: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PluginState {
    Accepted,
    Refused { reason: String },
}

/// What a plugin says about params before anything is loaded.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    pub formats: Formats,
    pub errors: Vec<FieldError>,
    pub unsupported: Vec<Unsupported>,
    /// Changed fields that need a reload although their `x-apply` does not say so.
    pub reload: Vec<String>,
    pub warnings: Vec<String>,
    pub memory_bytes: u64,
    /// How much of it is whose, of what the pipeline opens by name.
    pub parts_bytes: BTreeMap<String, u64>,
    /// Frames between an input and its output in the stream batch.
    pub latency_frames: u32,
    /// What loading needs of the hub and does not find on this machine, in the order in which it is to be fetched.
    pub artefacts: Vec<Artefact>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// JSON pointer into `params`.
    pub pointer: String,
    pub message: String,
}

/// A field that is accepted and has no effect now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsupported {
    pub field: String,
    pub reason: String,
}

/// The plugins that can be named by a stream. Its content changes while the host runs.
pub trait PipelineCatalog: Send + Sync {
    /// Every library found, accepted or not.
    fn plugins(&self) -> Vec<PluginReport>;
    /// Claims of accepted plugins.
    fn claims(&self) -> Vec<Claim>;
    /// The claim for a stream's `pipeline` and `model_id`.
    fn resolve(&self, pipeline: &str, model_id: Option<&str>) -> Result<Claim, ResolveError>;
    /// Asks the plugin, in its control process. Blocks, for a few milliseconds as a rule and a few seconds at most.
    fn plan(
        &self,
        claim: &ClaimRef,
        previous: Option<&Map<String, Value>>,
        params: &Map<String, Value>,
    ) -> Result<Plan, PlanError>;
    /// Prepares a pipeline without loading it: quick, starts no process.
    fn open(&self, request: OpenRequest) -> Result<Opened, PipelineError>;
    /// Calls `told` after every change of what is on offer, for as long as the catalog lives. It must not block.
    fn tell_changes(&self, told: Box<dyn Fn() + Send + Sync>);
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    #[error("no plugin offers the pipeline `{pipeline}`; on offer: {}", on_offer.join(", "))]
    UnknownPipeline { pipeline: String, on_offer: Vec<String> },
    #[error("pipeline `{pipeline}` has no model `{model_id}`; on offer: {}", on_offer.join(", "))]
    UnknownModel { pipeline: String, model_id: String, on_offer: Vec<String> },
    #[error("pipeline `{pipeline}` needs `model_id`; on offer: {}", on_offer.join(", "))]
    MissingModel { pipeline: String, on_offer: Vec<String> },
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    #[error("plugin {plugin} is gone; `GET /v1/plugins` says why")]
    Gone { plugin: String },
    #[error("plugin {plugin} could not plan: {message}")]
    Failed { plugin: String, message: String },
}
