//! Answers as JSON, and how they are made from what the runtime says. Every key is always there, `null` where there is no
//! value: Daydream's clients refuse an answer that lacks one.

use crate::care::{AppliedFrame, Outcomes, Plan};
use crate::errors::Fault;
use crate::urls::Base;
use host_runtime::{Phase, StreamView};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// Whom streams belong to, as long as there are no accounts.
pub const AUTHOR: &str = "local";

/// A stream.
#[derive(Serialize, ToSchema)]
pub struct Stream {
    /// URL-safe.
    pub id: String,
    /// As the stream was created.
    pub pipeline: String,
    /// Effective values, with every field the pipeline knows.
    #[schema(value_type = Object)]
    pub params: Map<String, Value>,
    /// Whoever has it may publish. Empty for those who may only look.
    pub stream_key: String,
    /// RFC 3339.
    pub created_at: String,
    pub output_playback_id: String,
    pub name: String,
    pub author: &'static str,
    pub from_playground: bool,
    /// Public host and port.
    pub gateway_host: String,
    pub is_smoke_test: bool,
    /// Publish here by WHIP. Empty for those who may only look.
    pub whip_url: String,
    /// Watch here by WHEP.
    pub output_stream_url: Option<String>,
    /// Watch here by HLS.
    pub output_hls_url: Option<String>,
    pub output_rtmp_url: Option<String>,
    /// `starting`, `running`, `stopping` or `error`.
    pub status: &'static str,
    /// What was accepted and has no effect, and why.
    pub warnings: Vec<String>,
    /// Grows with every change; also the `ETag`.
    pub revision: u64,
    /// In answers to a change: what becomes of each param that it named.
    pub changes: Option<Outcomes>,
    /// In answers to `?plan=true`, with `params` and `warnings` as they would be.
    pub plan: Option<Plan>,
    /// In answers to `?wait=applied`.
    pub applied: Option<AppliedFrame>,
}

/// The streams, in order of creation.
#[derive(Serialize, ToSchema)]
pub struct StreamList {
    pub success: bool,
    pub data: Vec<Stream>,
}

/// Done, with nothing more to say.
#[derive(Serialize, ToSchema)]
pub struct Done {
    pub success: bool,
    #[schema(value_type = Object)]
    pub data: Map<String, Value>,
}

/// The body of every answer with a status of 400 or more.
#[derive(Serialize, ToSchema)]
pub struct ErrorBody {
    pub success: bool,
    /// For people.
    pub error: String,
    /// `AREA/REASON`
    pub code: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// The fields at fault, what is on offer, the limit; null where there is nothing to add.
    #[schema(value_type = Value)]
    pub details: Value,
    /// Also in the header `X-Request-Id`, and in the server's log.
    #[serde(rename = "requestId")]
    pub request_id: String,
    #[serde(rename = "traceId")]
    pub trace_id: Option<String>,
    /// Same as `error`.
    pub detail: String,
    /// Same as `error`.
    pub message: String,
}

impl ErrorBody {
    pub fn of(fault: Fault, request_id: &str) -> Self {
        Self {
            success: false,
            detail: fault.text.clone(),
            message: fault.text.clone(),
            error: fault.text,
            code: fault.code,
            status: fault.status.as_u16(),
            details: fault.details,
            request_id: request_id.to_owned(),
            trace_id: None,
        }
    }
}

impl Stream {
    pub fn to_wire(view: StreamView, base: &Base) -> Self {
        Self {
            whip_url: base.whip(&view.stream_key),
            output_stream_url: Some(base.whep(&view.playback_id)),
            output_hls_url: Some(base.hls(&view.id)),
            gateway_host: base.authority().to_owned(),
            status: status_word(view.phase),
            id: view.id,
            pipeline: view.pipeline,
            params: view.params,
            stream_key: view.stream_key,
            created_at: view.created_at,
            output_playback_id: view.playback_id,
            name: view.name,
            author: AUTHOR,
            from_playground: false,
            is_smoke_test: false,
            output_rtmp_url: view.output_rtmp_url,
            warnings: view.warnings,
            revision: view.revision,
            changes: None,
            plan: None,
            applied: None,
        }
    }

    /// Without what lets its reader publish: here, or where the output is sent on to. Daydream's clients insist on text;
    /// an empty one cannot be taken for a key.
    pub fn without_keys(self) -> Self {
        let empty = String::new;
        Self { stream_key: empty(), whip_url: empty(), output_rtmp_url: None, ..self }
    }
}

impl Done {
    pub fn new() -> Self {
        Self { success: true, data: Map::new() }
    }
}

/// A stream that loads again counts as starting: its pipeline shows nothing yet, as at first.
pub fn status_word(phase: Phase) -> &'static str {
    match phase {
        Phase::Starting | Phase::Reloading => "starting",
        Phase::Running => "running",
        Phase::Error => "error",
        Phase::Stopping => "stopping",
    }
}
