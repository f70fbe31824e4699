//! What the runtime tells about streams, and what it is asked: plain values for `host-api` to put on the wire.

use crate::budget::Shortage;
use crate::events::TooManyEventReaders;
use crate::secret::Secret;
use host_ports::{
    EgressStats, FieldError, HlsError, IngressStats, LatencyFigures, OfferError, RecordError,
    ResolveError, RestreamStats,
};
use host_stream::{Condition, Phase, Vitals};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, SystemTime};

/// A request for a stream.
#[derive(Clone, Default)]
pub struct NewStream {
    pub name: Option<String>,
    pub pipeline: String,
    pub params: Map<String, Value>,
    pub output_rtmp_url: Option<String>,
}

/// A change of a stream.
#[derive(Clone, Default)]
pub struct StreamChange {
    /// Must be the stream's own when given.
    pub pipeline: Option<String>,
    /// Merged into the stream's params.
    pub params: Map<String, Value>,
    /// Values at JSON pointers into params, laid over `params`: single items of lists, which are otherwise replaced as a
    /// whole. What they point to must be there.
    pub items: Vec<(String, Value)>,
    /// Refuse the change when it would need a reload (`PATCH …/params`).
    pub is_hot_only: bool,
    /// Empty text stops restreaming; none leaves it.
    pub output_rtmp_url: Option<String>,
    /// The revisions it is meant for; none means any.
    pub revisions: Option<Vec<u64>>,
    pub mode: Mode,
}

/// How far a change goes before it is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Checked and kept.
    #[default]
    Apply,
    /// Checked, and nothing done.
    Plan,
    /// Until a frame was made with it, but no longer than this.
    ApplyAndWait(Duration),
}

/// A stream as clients see it.
#[derive(Clone, PartialEq)]
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
    /// What was accepted and has no effect, and why; in a status also what the pipeline tells of its work.
    pub warnings: Vec<String>,
}

/// A stream's state and figures at one moment.
#[derive(Clone, Debug)]
pub struct StreamStatus {
    pub view: StreamView,
    /// None while none has agreed to the stream's params.
    pub plugin: Option<String>,
    /// By the plugin's plan; 0 where it does not say.
    pub memory_bytes: u64,
    /// How much of it is whose, of what the pipeline opens by name.
    pub parts_bytes: BTreeMap<String, u64>,
    pub started_at: Option<SystemTime>,
    pub last_error: Option<StreamError>,
    pub restarts: u64,
    pub last_restart_at: Option<SystemTime>,
    pub last_params_update_at: Option<SystemTime>,
    pub loading: Option<host_ports::Progress>,
    /// The model that is being fetched before the pipeline is loaded.
    pub fetching: Option<host_ports::FetchProgress>,
    /// Whether viewers are served: from the first published frame on.
    pub has_picture: bool,
    pub worker_pid: Option<u32>,
    /// The image processors that failed; the pipeline goes on without them.
    pub switched_off: Vec<host_ports::SwitchedOff>,
    /// Those that params point to.
    pub pictures: Vec<PictureReport>,
    /// The recording that goes on, or the last one.
    pub recording: Option<host_ports::Recording>,
    pub ingress: IngressStats,
    pub egress: EgressStats,
    /// None unless it goes to another server too.
    pub restream: Option<RestreamStats>,
    pub frames: FrameFigures,
    /// Who follow the stream's events now.
    pub event_readers: usize,
}

impl StreamStatus {
    /// How the stream does at `now`, by Daydream's thresholds.
    pub fn condition(&self, now: SystemTime) -> Condition {
        let age = |at: Option<SystemTime>| at.map(|at| now.duration_since(at).unwrap_or_default());
        Condition::of(&Vitals {
            phase: self.view.phase,
            is_publishing: self.ingress.is_publishing,
            input_fps: self.frames.input_fps,
            output_fps: self.frames.output_fps,
            input_age: age(self.frames.last_input_at),
            output_age: age(self.frames.last_output_at),
            error_age: age(self.last_error.as_ref().map(|error| error.at)),
            restart_age: age(self.last_restart_at),
        })
    }
}

/// How it stands with a picture that a param points to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PictureReport {
    /// The param, or with dots the field in one.
    pub field: String,
    pub state: PictureState,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PictureState {
    Fetching,
    /// The pipeline has it.
    Ready,
    /// The pipeline has the one before, or none.
    Failed {
        reason: String,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub struct StreamError {
    pub message: String,
    pub at: SystemTime,
}

/// Counters since the stream was created, rates and latencies over the last seconds.
///
/// Every decoded frame is counted in `received` and ends in exactly one of `processed`, `skipped`, `dropped` and
/// `set_aside`; the sums differ only by the frames that are on their way.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FrameFigures {
    /// Frames that the publisher's decoder offered.
    pub received: u64,
    /// Displaced in the input mailbox by a newer frame, found no free memory, lost in a call that failed, or came after
    /// their publisher had left.
    pub dropped: u64,
    /// Those of `dropped`, by cause.
    pub drops: Drops,
    /// Through the pipeline.
    pub processed: u64,
    /// Calls that the pipeline answered with "the last output still stands".
    pub skipped: u64,
    /// Came while the pipeline could take none: with the fallback `input` they were shown as they are.
    pub set_aside: u64,
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
    /// From a frame's last packet until it lies where the pipeline takes it: decoding, scaling, converting.
    pub decode_latency: LatencyFigures,
    /// How long processed frames lay there.
    pub wait_latency: LatencyFigures,
    /// The calls of the pipeline that gave an output.
    pub process_latency: LatencyFigures,
    /// What the pipeline says took how long of such a call, in milliseconds, newer ones weighing more.
    pub parts_ms: BTreeMap<String, f64>,
}

/// Frames that were dropped before the pipeline made something of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Drops {
    /// Found no free memory.
    pub no_memory: u64,
    /// Came after their publisher had left.
    pub late: u64,
    /// Displaced in the input mailbox by a newer one.
    pub displaced: u64,
    /// Lost in a call that failed.
    pub failed: u64,
}

// What is written by `{:?}` ends in logs: keys, params and publish URLs do not belong there.

impl fmt::Debug for NewStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewStream")
            .field("name", &self.name)
            .field("pipeline", &self.pipeline)
            .field("params", &Secret::new(&self.params))
            .field("output_rtmp_url", &Secret::new(&self.output_rtmp_url))
            .finish()
    }
}

impl fmt::Debug for StreamChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamChange")
            .field("pipeline", &self.pipeline)
            .field("params", &Secret::new(&self.params))
            .field("items", &Secret::new(&self.items))
            .field("is_hot_only", &self.is_hot_only)
            .field("output_rtmp_url", &Secret::new(&self.output_rtmp_url))
            .field("revisions", &self.revisions)
            .field("mode", &self.mode)
            .finish()
    }
}

impl fmt::Debug for StreamView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamView")
            .field("id", &self.id)
            .field("name", &self.name)
            .field("stream_key", &Secret::new(&self.stream_key))
            .field("playback_id", &self.playback_id)
            .field("created_at", &self.created_at)
            .field("pipeline", &self.pipeline)
            .field("params", &Secret::new(&self.params))
            .field("revision", &self.revision)
            .field("phase", &self.phase)
            .field("output_rtmp_url", &Secret::new(&self.output_rtmp_url))
            .field("warnings", &self.warnings)
            .finish()
    }
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
    #[error(transparent)]
    NoMemory(Shortage),
    #[error("{reason}")]
    InvalidName { reason: String },
    #[error("the stream is at revision {revision}, the request is meant for {}; read the stream and try again", listed(.wanted))]
    Stale { revision: u64, wanted: Vec<u64> },
    #[error("another change of stream {id} is under way; try again")]
    Busy { id: String },
    #[error("{0}")]
    Internal(String),
}

impl ChangeError {
    /// What was sent as an id may be anything; the error repeats no more of it than an id has.
    pub fn not_found(id: &str) -> Self {
        Self::NotFound { id: shortened(id) }
    }
}

/// Why a stream's events cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum EventsError {
    #[error("Stream not found: {id}")]
    NotFound { id: String },
    #[error(transparent)]
    TooManyReaders(#[from] TooManyEventReaders),
}

/// Why a request for media failed.
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
    #[error(transparent)]
    Hls(HlsError),
    #[error(transparent)]
    Record(RecordError),
}

impl From<HlsError> for MediaError {
    fn from(error: HlsError) -> Self {
        match error {
            HlsError::Offer(error) => Self::Offer(error),
            error => Self::Hls(error),
        }
    }
}

impl From<RecordError> for MediaError {
    fn from(error: RecordError) -> Self {
        match error {
            RecordError::Offer(error) => Self::Offer(error),
            error => Self::Record(error),
        }
    }
}

fn listed(revisions: &[u64]) -> String {
    match revisions {
        [] => "none that a stream has".to_owned(),
        some => some.iter().map(u64::to_string).collect::<Vec<_>>().join(" or "),
    }
}

pub(crate) fn shortened(id: &str) -> String {
    id.chars().take(80).collect()
}

fn summary(errors: &[FieldError]) -> String {
    let texts: Vec<_> =
        errors.iter().map(|error| format!("params{}: {}", error.pointer, error.message)).collect();
    texts.join("; ")
}
