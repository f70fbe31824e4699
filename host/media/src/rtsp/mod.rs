//! RTSP (RFC 2326): readers play `/{stream}_out`, publishers record to `/{stream}` with its stream key, both in the
//! connection itself or by UDP.
//!
//! `connection` moves bytes; `exchange` answers requests (`message`, `url`, `transport`, `credentials`) and owns the one
//! session of a connection: a `player`, which cuts units into packets (`describe`, `pack`), or a `recorder`, which puts
//! packets together (`announce`, `reorder`, `assemble`, `statistics`). `way` is how packets travel, `rtp` what they look like.

mod announce;
mod assemble;
mod connection;
mod credentials;
mod describe;
mod exchange;
pub(crate) mod message;
mod nal;
mod pack;
mod player;
mod recorder;
mod reorder;
mod rtp;
mod statistics;
mod transport;
mod url;
mod way;

use crate::server::Media;
use exchange::Shared;
use host_ports::StreamKeys;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// A pause after the system had no descriptor for one more connection.
const NO_ROOM: Duration = Duration::from_secs(1);

/// Serves until it is stopped or dropped.
pub struct RtspServer {
    stop: CancellationToken,
    serving: JoinSet<()>,
}

impl RtspServer {
    /// Serves the paths of a media server; more connections than these wait until others end. Must be called inside a
    /// tokio runtime.
    pub fn start(
        listener: TcpListener,
        max_connections: usize,
        media: &Media,
        keys: Arc<dyn StreamKeys>,
    ) -> Self {
        let shared = Arc::new(Shared { paths: media.paths().clone(), keys });
        let stop = CancellationToken::new();
        let mut serving = JoinSet::new();
        serving.spawn(serve(listener, max_connections, shared, stop.clone()));
        Self { stop, serving }
    }

    /// Ends all connections and frees the port.
    pub async fn stop(mut self) {
        self.stop.cancel();
        while self.serving.join_next().await.is_some() {}
    }
}

async fn serve(
    listener: TcpListener,
    max_connections: usize,
    shared: Arc<Shared>,
    stop: CancellationToken,
) {
    let mut connections = JoinSet::new();
    loop {
        let has_room = connections.len() < max_connections;
        tokio::select! {
            () = stop.cancelled() => break,
            Some(ended) = connections.join_next() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "an RTSP connection ended with a panic");
                }
            }
            connection = accept(&listener), if has_room => {
                connections.spawn(connection::serve(connection, shared.clone()));
            }
        }
    }
    drop(listener);
    connections.shutdown().await;
}

async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((connection, _)) => return connection,
            Err(error) if is_of_client(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "no RTSP connection can be accepted");
                tokio::time::sleep(NO_ROOM).await;
            }
        }
    }
}

/// The client was gone before it was let in.
fn is_of_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}
