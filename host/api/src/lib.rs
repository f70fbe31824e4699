//! The HTTP side of the host: Daydream's REST calls, WHIP and WHEP, the OpenAPI document and the page.
//!
//! Handlers only translate: what happens to a stream is the runtime's matter, what a params field means is the plugin's.
//! [`router`] is the whole of it; who listens where is left to the daemon.

mod access;
mod answer;
mod body;
mod care;
mod common_errors;
mod cors;
mod docs;
mod errors;
mod events;
mod gpu;
mod health;
mod hls;
mod ice;
mod ledger;
mod media;
mod mediamtx;
mod metrics;
mod openapi;
mod page;
mod params_schemas;
mod path;
mod plugins;
mod recordings;
mod requests;
mod routes;
mod status;
mod streams;
mod timestamp;
mod traffic;
mod trickle;
mod urls;
mod wire;

use host_runtime::Runtime;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

pub use access::{Gate, Scope, Scopes, UnknownScope, is_same};
pub use gpu::GpuFigures;
pub use ice::{IceLogin, IceServer};
pub use mediamtx::{Door, MediaMtxReport};
pub use routes::{https_only, mediamtx_router, router};

/// What an operator decides about the HTTP side. Already checked.
#[derive(Clone)]
pub struct ApiConfig {
    /// Leads every URL in answers, without a slash at the end. None: taken from each request.
    pub public_url: Option<String>,
    /// `http` or `https`: leads URLs where neither a proxy nor `public_url` names another.
    pub scheme: &'static str,
    /// `host:port` for URLs when the request names no usable host.
    pub local_authority: String,
    /// Who may call `/v1/*`. None: anyone.
    pub gate: Option<Arc<dyn Gate>>,
    /// The newest figures of the GPU; none as long as there are none.
    pub gpu: watch::Receiver<Option<GpuFigures>>,
    /// How the MediaMTX beside this server does; none where there is none.
    pub mediamtx: Option<watch::Receiver<MediaMtxReport>>,
    /// What WHIP and WHEP clients are told of.
    pub ice_servers: watch::Receiver<Arc<[IceServer]>>,
    /// `Access-Control-Allow-Origin`; none means any.
    pub cors_origin: Option<String>,
    /// How a list is answered when `Accept` does not name `application/json`.
    pub list_shape: ListShape,
    /// `/{id}/whip` takes any publisher, not only those that show the stream key.
    pub is_whip_by_id_open: bool,
    pub bodies: BodyLimits,
}

impl Default for ApiConfig {
    fn default() -> Self {
        Self {
            public_url: None,
            scheme: "http",
            local_authority: String::new(),
            gate: None,
            gpu: watch::channel(None).1,
            mediamtx: None,
            ice_servers: watch::channel(Arc::default()).1,
            cors_origin: None,
            list_shape: ListShape::default(),
            is_whip_by_id_open: false,
            bodies: BodyLimits::default(),
        }
    }
}

/// How large a request's body may be, and how slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyLimits {
    /// Bytes of JSON.
    pub json: usize,
    /// Bytes of an offer.
    pub sdp: usize,
    /// From the end of the head to the end of the body.
    pub time: Duration,
}

impl Default for BodyLimits {
    /// A style image may be a `data:` URL of 5 MB, which is a third more in base64; a browser's offer has a few KiB.
    fn default() -> Self {
        Self { json: 8 << 20, sdp: 64 << 10, time: Duration::from_secs(20) }
    }
}

/// The two shapes a list of streams can have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ListShape {
    /// `{"success": true, "data": […]}`
    #[default]
    Envelope,
    /// `[…]`
    Array,
}

/// What every handler works with.
struct Shared {
    config: ApiConfig,
    runtime: Runtime,
    traffic: traffic::Traffic,
    tags: trickle::Tags,
}

type App = Arc<Shared>;
