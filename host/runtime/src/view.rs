//! What the runtime tells about streams, and what it is asked: plain values for `host-api` to put on the wire.

use host_ports::{EgressStats, FieldError, IngressStats, OfferError, ResolveError};
use serde_json::{Map, Value};
use std::time::{Duration, SystemTime};

/// A request for a stream.
#[derive(Clone, Debug, Default)]
pub struct NewStream {
    pub name: Option<String>,
    pub pipeline: String,
    pub params: Map<String, Value>,
    pub output_rtmp_url: Option<String>,
}

/// A change of a stream.
#[derive(Clone, Debug, Default)]
pub struct StreamChange {
    /// Must be the stream's own when given.
    pub pipeline: Option<String>,
    /// Merged into the stream's params.
    pub params: Map<String, Value>,
    /// Refuse the change when it would need a reload (`PATCH …/params`).
    pub is_hot_only: bool,
    /// Empty text stops restreaming; none leaves it.
    pub output_rtmp_url: Option<String>,
}

/// A stream as clients see it.
#[derive(Clone, Debug, PartialEq)]
pub struct StreamView {
    pub id: String,
    pub name: String,
    pub stream_key: String,
    pub playback_id: String,
    /// RFC 3339, UTC.
    pub created_at: String,
    pub pipeline: String,
    /// Effective values, with every property of the schema.
    pub params: Map<String, Value>,
    pub revision: u64,
    pub phase: Phase,
    pub output_rtmp_url: Option<String>,
    /// What was accepted and has no effect, and why.
    pub warnings: Vec<String>,
}

/// Where a stream is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The pipeline loads for the first time.
    Starting,
    Running,
    /// The pipeline loads again, for new params or after a crash.
    Reloading,
    Error,
    Stopping,
}

/// A stream's state and figures at one moment.
#[derive(Clone, Debug)]
pub struct StreamStatus {
    pub view: StreamView,
    pub plugin: String,
    pub started_at: Option<SystemTime>,
    pub last_error: Option<StreamError>,
    pub restarts: u64,
    pub last_restart_at: Option<SystemTime>,
    pub last_params_update_at: Option<SystemTime>,
    pub loading: Option<host_ports::Progress>,
    pub worker_pid: Option<u32>,
    pub ingress: IngressStats,
    pub egress: EgressStats,
    pub frames: FrameFigures,
}

#[derive(Clone, Debug, PartialEq)]
pub struct StreamError {
    pub message: String,
    pub at: SystemTime,
}

/// Counters since the stream was created, rates and latencies over the last seconds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FrameFigures {
    /// Frames that reached the input mailbox.
    pub received: u64,
    /// Displaced in the input mailbox by a newer frame, or without free memory.
    pub dropped: u64,
    /// Through the pipeline.
    pub processed: u64,
    /// Calls that the pipeline answered with "the last output still stands".
    pub skipped: u64,
    pub input_fps: f64,
    pub output_fps: f64,
    /// One call of the pipeline, middle value of the last seconds.
    pub process_time: Option<Duration>,
    /// From a frame's last packet to its output, middle value of the last seconds.
    pub frame_age: Option<Duration>,
    /// The largest `frame_age` of the last seconds.
    pub frame_age_max: Option<Duration>,
    pub last_input_at: Option<SystemTime>,
    pub last_output_at: Option<SystemTime>,
}

/// Why a stream could not be created or changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    #[error("Stream not found: {id}")]
    NotFound { id: String },
    #[error(transparent)]
    Pipeline(#[from] ResolveError),
    #[error(
        "the stream's pipeline is `{actual}`, the request names `{requested}`; leave `pipeline` out"
    )]
    PipelineMismatch { requested: String, actual: String },
    #[error("{}", summary(.0))]
    Params(Vec<FieldError>),
    #[error("{} cannot be changed while the stream runs; use PATCH /v1/streams/{{id}}, which reloads it", fields.join(", "))]
    ReloadRequired { fields: Vec<String> },
    #[error("there are {limit} streams already, which is the limit; delete one first")]
    TooManyStreams { limit: usize },
    #[error("{reason}")]
    InvalidName { reason: String },
    #[error("another change of stream {id} is under way; try again")]
    Busy { id: String },
    #[error("{0}")]
    Internal(String),
}

/// Why a WHIP or WHEP request failed.
#[derive(Debug, thiserror::Error)]
pub enum MediaError {
    #[error(
        "no stream has this address; `GET /v1/streams` lists the streams with their `whip_url` and `output_stream_url`"
    )]
    NoStream,
    #[error("no such session on this stream")]
    NoSession,
    #[error(transparent)]
    Offer(#[from] OfferError),
}

fn summary(errors: &[FieldError]) -> String {
    let texts: Vec<_> =
        errors.iter().map(|error| format!("params{}: {}", error.pointer, error.message)).collect();
    texts.join("; ")
}
