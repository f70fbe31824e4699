//! A MediaMTX beside the server: what it is told of streams, where it finds the server, and what the API is told of it.

use crate::connections::Limits;
use crate::http::{ListenError, Listeners, Servers, bind_alone};
use host_api::{ApiConfig, Door, MediaMtxReport, mediamtx_router};
use host_mediamtx::{
    API_USER, Access, Config, MediaMtx, Place, Ports, Report, Spawn, Stream, Streams,
};
use host_runtime::Runtime;
use std::ffi::OsString;
use std::net::IpAddr;
use std::path::PathBuf;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What an operator decides.
pub struct MediaMtxConfig {
    /// Where MediaMTX alone is served.
    pub address: IpAddr,
    pub port: u16,
    /// How it gets there; none: as this machine does.
    pub host_url: Option<String>,
    pub place: MediaMtxPlace,
}

pub enum MediaMtxPlace {
    Attach { access: Access, hook_secret: Option<String> },
    Spawn { binary: PathBuf, folder: PathBuf, ports: Ports },
}

#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error("no random bytes for MediaMTX's secrets")]
    Random(#[source] getrandom::Error),
}

/// A door for MediaMTX, not yet open.
pub struct Prepared {
    config: Config,
    mode: &'static str,
    door: Door,
    listeners: Listeners,
    reports: watch::Sender<MediaMtxReport>,
}

/// A MediaMTX that is kept in step, and the server that it finds here.
pub struct Beside {
    mediamtx: MediaMtx,
    /// Ends with it.
    reporting: JoinHandle<()>,
    servers: Servers,
}

impl MediaMtxConfig {
    /// Binds its port. `address` is where one that is run here listens.
    pub async fn prepare(
        self,
        address: IpAddr,
        public_addresses: Vec<IpAddr>,
        limits: Limits,
    ) -> Result<Prepared, PrepareError> {
        let listeners = bind_alone("mediamtx.port", self.address, self.port, limits).await?;
        let host_url = self.host_url.unwrap_or_else(|| listeners.main_url());
        let (mode, door, has_hook, place) = match self.place {
            MediaMtxPlace::Attach { access, hook_secret } => {
                let api = (!access.user.is_empty())
                    .then(|| (access.user.clone(), access.password.clone()));
                let has_hook = hook_secret.is_some();
                // Where it is not to ask, nobody knows where it could.
                let secret = hook_secret.map_or_else(random, Ok)?;
                ("attach", Door { secret, api }, has_hook, Place::Attach(access))
            }
            MediaMtxPlace::Spawn { binary, folder, ports } => {
                let api_password = random()?;
                let api = Some((API_USER.to_owned(), api_password.clone()));
                let place = Place::Spawn(Spawn {
                    binary,
                    launcher: launcher(),
                    folder,
                    address,
                    public_addresses,
                    ports,
                    api_password,
                });
                ("spawn", Door { secret: random()?, api }, true, place)
            }
        };
        let hook_path = has_hook.then(|| door.path());
        let config = Config { host_url, hook_path, place };
        let reports = watch::channel(MediaMtxReport { mode, ..MediaMtxReport::default() }).0;
        Ok(Prepared { config, mode, door, listeners, reports })
    }
}

impl Prepared {
    pub fn reports(&self) -> watch::Receiver<MediaMtxReport> {
        self.reports.subscribe()
    }

    pub fn start(self, api: ApiConfig, runtime: Runtime) -> Beside {
        // What it is told of sessions must lead it here, and not to where others come in.
        let api = ApiConfig { public_url: Some(self.config.host_url.clone()), ..api };
        let servers = self.listeners.serve(mediamtx_router(api, runtime.clone(), self.door));
        let news = runtime.arrivals();
        let streams = Streams { list: Box::new(move || streams_of(&runtime)), news };
        let mediamtx = MediaMtx::start(self.config, streams);
        let reporting = tokio::spawn(hand_on(mediamtx.report(), self.reports, self.mode));
        Beside { mediamtx, reporting, servers }
    }
}

impl Beside {
    /// First of all: what fetches streams and hands publishers on is to end before they do.
    pub async fn stop(self) {
        self.mediamtx.stop().await;
        if let Err(error) = self.reporting.await {
            tracing::error!(%error, "what tells of MediaMTX ended with a panic");
        }
        self.servers.refuse_more();
        self.servers.join().await;
    }
}

fn streams_of(runtime: &Runtime) -> Vec<Stream> {
    let stream = |status: host_runtime::StreamStatus| Stream {
        id: status.view.id,
        playback_id: status.view.playback_id,
        stream_key: status.view.stream_key,
        has_output: status.has_picture,
    };
    runtime.statuses().into_iter().map(stream).collect()
}

/// As long as there are any.
async fn hand_on(
    mut newest: watch::Receiver<Report>,
    reports: watch::Sender<MediaMtxReport>,
    mode: &'static str,
) {
    while newest.changed().await.is_ok() {
        let report = newest.borrow_and_update().clone();
        let urls = report.urls.into_iter();
        reports.send_replace(MediaMtxReport {
            mode,
            connected: report.is_connected,
            version: report.version.map(|version| version.to_string()),
            urls: urls.map(|(protocol, url)| (protocol.to_owned(), url)).collect(),
            publishers: report.publishers,
            readers: report.readers,
            error: report.error,
        });
    }
}

/// This program again, which becomes MediaMTX after it has seen to it that it ends with this process.
fn launcher() -> Vec<OsString> {
    let Ok(program) = std::env::current_exe() else {
        tracing::warn!(
            "this program does not know where it lies; MediaMTX will outlive it if it is killed"
        );
        return Vec::new();
    };
    vec![program.into(), "beside".into(), std::process::id().to_string().into()]
}

/// 128 bits, as letters and digits.
fn random() -> Result<String, PrepareError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(PrepareError::Random)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
