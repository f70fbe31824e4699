//! Takes connections for as long as somebody wants them.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};

/// Out of file handles, most likely: others are given so long to end.
const NO_ROOM: Duration = Duration::from_secs(1);

/// The next connection to a listener; what goes wrong on the way to it is told and tried again.
pub async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(connection) => return connection,
            Err(error) if is_of_client(&error) => {}
            Err(error) => {
                let port = listener.local_addr().map_or(0, |address| address.port());
                tracing::warn!(%error, port, "no connection can be accepted");
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
