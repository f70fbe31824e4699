//! Joins the parts of the host: settings, plugins, media, runtime and HTTP, from start to an orderly end.
//!
//! [`start`] is all of `main` that a test needs. What each part does is its own crate's matter.

mod bench;
mod config;
mod connections;
pub mod doctor;
mod engines;
mod fetching;
mod gpu;
mod http;
mod ice_servers;
pub mod logging;
mod mediamtx;
mod models;
mod one_pipeline;
mod params_help;
mod public_base;
pub mod ready;
pub mod signals;
mod size;
mod tls;
mod tokens;
mod watched;

use host_api::{ApiConfig, router};
use host_media::{
    AuthoritiesError, Media, MediaConfig, MediaStartError, Rtmp, RtmpConfig, RtmpServer, Rtsp,
    RtspConfig, RtspServer, find_public_address,
};
use host_plugins::PluginCatalog;
use host_ports::StateStore;
use host_runtime::{ChangeError, Ports, Runtime};
use host_store::{MemoryStore, OpenError, RedbStore};
use http::{HttpConfig, Servers};
use mediamtx::{Beside, Prepared};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokens::Tokens;
use tokio::task::JoinError;

/// In the folder `paths.state`.
const STREAMS_FILE: &str = "streams.redb";

pub use bench::{Bench, BenchError};
pub use config::{Config, ConfigError, Loaded, LogConfig, LogFormat};
pub use engines::{EnginesCommand, EnginesError};
pub use models::{ModelsCommand, ModelsError};
pub use params_help::{ParamsHelp, ParamsHelpError};
pub use tokens::{TokenError, TokenFile};

/// Why the host cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Listen(#[from] http::ListenError),
    #[error(
        "the media server does not start; `media.port` and `media.listen` say where it should listen"
    )]
    Media(#[source] MediaStartError),
    #[error("streams cannot be sent by rtmps")]
    Authorities(#[source] AuthoritiesError),
    #[error("cannot make the folder {}", path.display())]
    Folder {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    MediaMtx(#[from] mediamtx::PrepareError),
    #[error("cannot tell who may call")]
    Tokens(#[from] TokenError),
    #[error("cannot look for plugins; `plugins.folders` says where they are")]
    Plugins(#[source] io::Error),
    #[error(
        "the streams of earlier runs cannot be used; `paths.state` says in which folder they are, and with `streams.persist = false` the host does without"
    )]
    Streams(#[source] OpenError),
    #[error("pictures cannot be kept or fetched; `[pictures]` in the settings says how")]
    Pictures(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the streams of earlier runs cannot be brought back")]
    Restore(#[source] ChangeError),
}

/// A host that serves.
pub struct Running {
    addresses: Addresses,
    new_token: Option<String>,
    servers: Servers,
    runtime: Runtime,
    media: Arc<Media>,
    rtsp: Option<RtspServer>,
    rtmp: Option<RtmpServer>,
    mediamtx: Option<Beside>,
    stop_deadline: Duration,
}

/// Where a host can be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// `http://host:port`, or with `https`.
    pub http: String,
    /// More of them, for clients that look for WHIP and WHEP elsewhere; each serves everything.
    pub aliases: Vec<String>,
    /// UDP and TCP.
    pub media_port: u16,
    /// Where publishers and readers come by RTSP, if they may.
    pub rtsp_port: Option<u16>,
    /// Where publishers come by RTMP, if they may.
    pub rtmp_port: Option<u16>,
}

/// Binds everything first, so that a port in use ends the start before anything else has begun. HTTP answers when the
/// streams of earlier runs are there.
pub async fn start(config: Config) -> Result<Running, StartError> {
    for path in [&config.paths.models, &config.paths.engines, &config.paths.cache] {
        make_folder(path)?;
    }
    let store = open_store(&config).await?;
    let listeners = http::bind(&config.http).await?;
    let rtsp = bind_rtsp(config.rtsp).await?;
    let rtmp = bind_rtmp(config.rtmp).await?;
    let mediamtx = match config.mediamtx {
        Some(mediamtx) => {
            let HttpConfig { address, limits, .. } = config.http;
            let public = config.media.public_addresses.iter();
            // A port that is forwarded to ours is none of its own.
            let public = public.filter(|address| !address.is_tcp_only).map(|address| address.ip);
            let public = public.collect();
            Some(mediamtx.prepare(address, public, limits).await?)
        }
        None => None,
    };
    let media = start_media(config.media, config.stun_server).await?;
    let catalog = Arc::new(look_for_plugins(config.plugins).await?);
    let models = config.fetch_models.then(fetching::model_store).flatten();
    let pictures = Some(fetching::picture_store(config.pictures).await?);
    let ports = Ports { catalog, media: media.clone(), store, models, pictures };
    let runtime = Runtime::new(config.runtime, ports);
    runtime.restore().await.map_err(StartError::Restore)?;

    let addresses = Addresses {
        http: listeners.main_url(),
        aliases: listeners.alias_urls(),
        media_port: media.port(),
        rtsp_port: rtsp.as_ref().map(Rtsp::port),
        rtmp_port: rtmp.as_ref().map(Rtmp::port),
    };
    // Last, because a start that fails later would never tell the token it made.
    let (tokens, new_token) = Tokens::open(&config.tokens, &config.paths.state)?;
    let api = ApiConfig {
        gate: Some(Arc::new(tokens)),
        gpu: gpu::watch(config.visible_gpus),
        mediamtx: mediamtx.as_ref().map(Prepared::reports),
        ice_servers: ice_servers::watch(config.ice),
        scheme: listeners.scheme(),
        public_url: config.public.url(listeners.scheme(), listeners.main_port()),
        local_authority: listeners.local_authority(),
        ..config.api
    };
    let servers = listeners.serve(router(api.clone(), runtime.clone()));
    let rtsp = rtsp.map(|rtsp| rtsp.serve(&media, Arc::new(runtime.clone())));
    let rtmp = rtmp.map(|rtmp| rtmp.serve(&media, Arc::new(runtime.clone())));
    let mediamtx = mediamtx.map(|prepared| prepared.start(api, runtime.clone()));
    let stop_deadline = config.stop_deadline;
    Ok(Running {
        addresses,
        new_token,
        servers,
        runtime,
        media,
        rtsp,
        rtmp,
        mediamtx,
        stop_deadline,
    })
}

impl Running {
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// The token that this start made, since others reach the host and there was none. It is stored nowhere.
    pub fn new_token(&self) -> Option<&str> {
        self.new_token.as_deref()
    }

    /// Takes no more requests, ends all streams, then the media. What is not done by the deadline is left behind.
    pub async fn stop(self) {
        tracing::info!("stopping");
        let orderly = async {
            self.servers.refuse_more();
            if let Some(rtsp) = self.rtsp {
                rtsp.stop().await;
            }
            if let Some(rtmp) = self.rtmp {
                rtmp.stop().await;
            }
            // One that hangs keeps no recording from being finished.
            let mediamtx = async {
                if let Some(mediamtx) = self.mediamtx {
                    mediamtx.stop().await;
                }
            };
            let streams = async {
                self.runtime.shutdown().await;
                self.media.stop().await;
            };
            tokio::join!(mediamtx, streams);
            self.servers.join().await;
        };
        match tokio::time::timeout(self.stop_deadline, orderly).await {
            Ok(()) => tracing::info!("stopped"),
            Err(_) => {
                tracing::warn!(deadline = ?self.stop_deadline, "not everything ended in time")
            }
        }
    }
}

async fn start_media(
    mut config: MediaConfig,
    stun_server: Option<String>,
) -> Result<Arc<Media>, StartError> {
    if let Some(server) = stun_server {
        let found = tokio::task::spawn_blocking(move || find_public_address(&server)).await;
        match found.map_err(io::Error::other).map_err(Into::into).flatten() {
            Ok(address) => config.public_addresses.push(address.into()),
            Err(error) => tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the public address is not known; `media.public_addresses` can name it"
            ),
        }
    }
    Media::start(config).map_err(|error| match error {
        MediaStartError::Authorities(error) => StartError::Authorities(error),
        error => StartError::Media(error),
    })
}

/// New libraries are tried out in processes of their own, which is nothing to wait for on a thread of tokio.
async fn look_for_plugins(config: host_plugins::Config) -> Result<PluginCatalog, StartError> {
    let looking = tokio::task::spawn_blocking(|| PluginCatalog::new(config)).await;
    looking.map_err(io::Error::other).flatten().map_err(StartError::Plugins)
}

async fn bind_rtsp(config: Option<RtspConfig>) -> Result<Option<Rtsp>, http::ListenError> {
    let Some(config) = config else { return Ok(None) };
    let (address, port) = (config.address, config.port);
    let bound = Rtsp::bind(config).await;
    bound.map(Some).map_err(|error| http::ListenError::new("rtsp.port", (address, port), error))
}

async fn bind_rtmp(config: Option<RtmpConfig>) -> Result<Option<Rtmp>, http::ListenError> {
    let Some(config) = config else { return Ok(None) };
    let (address, port) = (config.address, config.port);
    let bound = Rtmp::bind(config).await;
    bound.map(Some).map_err(|error| http::ListenError::new("rtmp.port", (address, port), error))
}

/// Another host that uses the file shows here, before any port is taken.
async fn open_store(config: &Config) -> Result<Arc<dyn StateStore>, StartError> {
    if !config.persist {
        return Ok(Arc::new(MemoryStore::default()));
    }
    make_folder(&config.paths.state)?;
    let path = config.paths.state.join(STREAMS_FILE);
    let file = path.clone();
    // All of it is read.
    let opened = tokio::task::spawn_blocking(move || RedbStore::open(&file)).await;
    // A panic on the way is the file's fault.
    let damaged = |error: JoinError| OpenError::Damaged { path, reason: error.to_string() };
    let store = opened.map_err(damaged).flatten().map_err(StartError::Streams)?;
    Ok(Arc::new(store))
}

fn make_folder(path: &Path) -> Result<(), StartError> {
    let made = std::fs::create_dir_all(path);
    made.map_err(|source| StartError::Folder { path: path.to_owned(), source })
}
