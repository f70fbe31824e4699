//! RTSP (RFC 2326): readers play `/{stream}_out`, publishers record to `/{stream}` with its stream key, both in the
//! connection itself or by UDP.
//!
//! `connection` moves bytes; `exchange` answers requests (`message`, `url`, `transport`, `credentials`) and owns the one
//! session of a connection: a `player`, which cuts units into packets (`describe`, `pack`), or a `recorder`, which puts
//! packets together (`announce`, `reorder`, `assemble`, `statistics`). `nal` and `vp9` know what is in pictures. `way` is how packets travel, `rtp` what they look like.

mod announce;
mod assemble;
mod connection;
mod credentials;
mod describe;
mod exchange;
pub(crate) mod fuzzed;
mod h265;
mod message;
mod nal;
mod pack;
mod player;
mod recorder;
mod reorder;
mod rtp;
mod statistics;
mod transport;
mod url;
mod vp9;
mod way;

use crate::places::{ConnectionLimits, Places};
use crate::server::Media;
use exchange::Shared;
use host_ports::StreamKeys;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Where to listen.
#[derive(Clone, Debug)]
pub struct RtspConfig {
    pub address: IpAddr,
    /// 0 takes any free port.
    pub port: u16,
    pub limits: ConnectionLimits,
}

/// Bound, not yet serving.
pub struct Rtsp {
    listener: TcpListener,
    port: u16,
    limits: ConnectionLimits,
}

/// Serves until it is stopped or dropped.
pub struct RtspServer {
    stop: CancellationToken,
    serving: JoinSet<()>,
}

impl Rtsp {
    pub async fn bind(config: RtspConfig) -> io::Result<Self> {
        let listener = TcpListener::bind((config.address, config.port)).await?;
        let port = listener.local_addr()?.port();
        Ok(Self { listener, port, limits: config.limits })
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Serves the paths of a media server. Must be called inside a tokio runtime.
    pub fn serve(self, media: &Media, keys: Arc<dyn StreamKeys>) -> RtspServer {
        let shared = Arc::new(Shared { paths: media.paths().clone(), keys });
        let stop = CancellationToken::new();
        let mut serving = JoinSet::new();
        serving.spawn(serve(self, shared, stop.clone()));
        RtspServer { stop, serving }
    }
}

impl RtspServer {
    /// Ends all connections and frees the port.
    pub async fn stop(mut self) {
        self.stop.cancel();
        while self.serving.join_next().await.is_some() {}
    }
}

async fn serve(rtsp: Rtsp, shared: Arc<Shared>, stop: CancellationToken) {
    let Rtsp { listener, limits, .. } = rtsp;
    let places = Places::new("rtsp", limits);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(ended) = connections.join_next() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "an RTSP connection ended with a panic");
                }
            }
            (connection, _, place) = places.accept(&listener) => {
                let serving = connection::serve(connection, shared.clone());
                connections.spawn(async move {
                    serving.await;
                    drop(place);
                });
            }
        }
    }
    drop(listener);
    connections.shutdown().await;
}
