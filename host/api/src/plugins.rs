//! `GET /v1/plugins`: every library found, accepted or refused, and what can be named as `pipeline`.

use crate::App;
use axum::Json;
use axum::extract::State;
use host_ports::{Claim, PluginReport, PluginState};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

/// What is installed.
#[derive(Serialize, ToSchema)]
pub struct PluginList {
    success: bool,
    data: Offer,
}

#[derive(Serialize, ToSchema)]
pub struct Offer {
    plugins: Vec<Plugin>,
    pipelines: Vec<Pipeline>,
}

/// A library file in one of the plugin folders.
#[derive(Serialize, ToSchema)]
pub struct Plugin {
    file: String,
    /// Null when the manifest could not be read.
    id: Option<String>,
    vendor: Option<String>,
    version: Option<String>,
    license: Option<String>,
    description: Option<String>,
    features: Vec<String>,
    /// Names of pipelines.
    pipelines: Vec<String>,
    /// Names that it gives to pipelines of others and that stand for nothing now.
    withheld: Vec<Withheld>,
    /// What it adds to the schemas of pipelines, its own or others'.
    contributes: Vec<Contribution>,
    /// SHA-256 of the file.
    hash: String,
    /// `accepted` or `refused`.
    state: &'static str,
    /// Why it was refused.
    reason: Option<String>,
}

/// A name that no stream can use, and why.
#[derive(Serialize, ToSchema)]
pub struct Withheld {
    pipeline: String,
    reason: String,
}

/// Values for the properties of params that have this `x-slot`.
#[derive(Serialize, ToSchema)]
pub struct Contribution {
    slot: String,
    values: Vec<String>,
}

/// What a stream can name as `pipeline`. One name may be there several times, for different models.
#[derive(Serialize, ToSchema)]
pub struct Pipeline {
    pipeline: String,
    /// Id of the plugin behind it.
    plugin: String,
    /// Where the name is another plugin's: whose, and what it stands for.
    name_given: Option<NameGiven>,
    description: String,
    /// Values of `model_id` it is for; null means any.
    models: Option<Vec<String>>,
    /// JSON Schema of `params`.
    #[schema(value_type = Object)]
    params_schema: Value,
}

/// A name for streams that use what a plugin adds to a pipeline.
#[derive(Serialize, ToSchema)]
pub struct NameGiven {
    /// Id of the plugin that gives it.
    plugin: String,
    /// The pipeline that it stands for.
    of: String,
}

/// List plugins and pipelines
#[utoipa::path(
    get, path = "/v1/plugins", tag = "plugins", responses((status = 200, body = PluginList))
)]
pub async fn list(State(app): State<App>) -> Json<PluginList> {
    let plugins = app.runtime.plugins().into_iter().map(Plugin::to_wire).collect();
    let pipelines = app.runtime.claims().into_iter().map(Pipeline::to_wire).collect();
    Json(PluginList { success: true, data: Offer { plugins, pipelines } })
}

impl Plugin {
    fn to_wire(report: PluginReport) -> Self {
        let (state, reason) = match report.state {
            PluginState::Accepted => ("accepted", None),
            PluginState::Refused { reason } => ("refused", Some(reason)),
        };
        Self {
            file: report.file,
            id: report.id,
            vendor: report.vendor,
            version: report.version,
            license: report.license,
            description: report.description,
            features: report.features,
            pipelines: report.pipelines,
            withheld: report.withheld.into_iter().map(Withheld::to_wire).collect(),
            contributes: report.contributes.into_iter().map(Contribution::to_wire).collect(),
            hash: report.hash,
            state,
            reason,
        }
    }
}

impl Withheld {
    fn to_wire(withheld: host_ports::Withheld) -> Self {
        Self { pipeline: withheld.pipeline, reason: withheld.reason }
    }
}

impl Contribution {
    fn to_wire(contribution: host_ports::Contribution) -> Self {
        Self { slot: contribution.slot, values: contribution.values }
    }
}

impl Pipeline {
    fn to_wire(claim: Claim) -> Self {
        Self {
            pipeline: claim.pipeline,
            plugin: claim.id.plugin,
            name_given: claim
                .name_given
                .map(|given| NameGiven { plugin: given.plugin, of: given.of }),
            description: claim.description,
            models: claim.models,
            params_schema: claim.params_schema,
        }
    }
}
