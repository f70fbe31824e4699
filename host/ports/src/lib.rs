//! The traits at which the runtime meets the edges: media, plugins and storage.
//!
//! Each edge implements its traits without knowing the others; `host-daemon` joins them. Nothing here does I/O, and no
//! type of a web, media or plugin library shows.

mod catalog;
mod frame;
mod latency;
mod mailbox;
mod media;
mod models;
mod outputs;
mod pictures;
mod pipeline;
mod restream;
mod store;
mod video;

pub use catalog::{
    Claim, ClaimRef, Contribution, FieldError, NameGiven, PipelineCatalog, Plan, PlanError,
    PluginReport, PluginState, ResolveError, Unsupported, Withheld,
};
pub use frame::{Frame, FramePool, FrameSize, FrameSlot, FrameStamp};
pub use latency::{LATENCY_BOUNDS_MS, LatencyFigures, LatencyHistogram, LatencyWindow};
pub use mailbox::Mailbox;
pub use media::{
    Answer, EgressStats, Fit, IngressEvent, IngressSink, IngressStats, MediaPath, MediaServer,
    OfferError, SessionId, StreamKeys,
};
pub use models::{Artefact, Fetch, FetchError, FetchNews, FetchProgress, ModelStore, Size};
pub use outputs::{
    HlsError, HlsFile, HlsRequest, Pending, RecordError, RecordedFile, Recording, RecordingEnd,
};
pub use pictures::{Picture, PictureError, PictureFetch, PictureStore};
pub use pipeline::{
    Formats, Metric, Notice, OpenRequest, Opened, Pipeline, PipelineError, Progress, SwitchedOff,
};
pub use restream::{Restream, RestreamState, RestreamStats, RestreamTarget, RestreamTargetError};
pub use store::{StateStore, StoreError, StoredStream};
pub use video::{
    VIDEO_PRESETS, VIDEO_TUNES, VideoAbilities, VideoCodec, VideoProfile, VideoSettings,
};
