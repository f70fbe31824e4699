//! One question over one connection: to an address that was looked at, and to no other.

use super::error::FetchError;
use super::network::Network;
use bytes::Bytes;
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use url::{Host, Url};

/// Of an answer.
const HEAD_BYTES: usize = 16 << 10;
const HEADERS: usize = 64;
/// What is read ahead of a body.
const BUFFER_BYTES: usize = 64 << 10;
/// A name with more addresses is tried at the first ones.
const MOST_ADDRESSES: usize = 4;

/// An answer whose body is still to come. Dropping it ends the connection.
pub struct Answer {
    pub response: Response<Incoming>,
    _connection: Connection,
}

struct Connection(JoinHandle<()>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// How a host is reached.
pub struct Way<'w> {
    pub network: &'w dyn Network,
    /// Of the host, all of them looked at.
    pub addresses: &'w [IpAddr],
    pub tls: &'w Arc<ClientConfig>,
    /// Of one attempt.
    pub limit: Duration,
}

impl Way<'_> {
    /// Asks the host of `url`.
    pub async fn ask(&self, url: &Url) -> Result<Answer, FetchError> {
        let stream = self.connect(url).await?;
        if url.scheme() != "https" {
            return send(url, stream).await;
        }
        let name = server_name(url).ok_or(FetchError::NoTarget)?;
        let stream = TlsConnector::from(self.tls.clone()).connect(name, stream).await;
        send(url, stream.map_err(FetchError::Tls)?).await
    }

    async fn connect(&self, url: &Url) -> Result<TcpStream, FetchError> {
        let port = url.port_or_known_default().ok_or(FetchError::NoTarget)?;
        let mut failure = FetchError::UnknownName(io::ErrorKind::NotFound.into());
        for address in self.addresses.iter().take(MOST_ADDRESSES) {
            let connecting = self.network.connect(SocketAddr::new(*address, port));
            failure = match tokio::time::timeout(self.limit, connecting).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => FetchError::Connect(error),
                Err(_) => FetchError::ConnectTooSlow(self.limit),
            };
        }
        Err(failure)
    }
}

fn server_name(url: &Url) -> Option<ServerName<'static>> {
    match url.host()? {
        Host::Domain(name) => ServerName::try_from(name.trim_end_matches('.').to_owned()).ok(),
        Host::Ipv4(address) => Some(ServerName::from(IpAddr::from(address))),
        Host::Ipv6(address) => Some(ServerName::from(IpAddr::from(address))),
    }
}

async fn send(
    url: &Url,
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
) -> Result<Answer, FetchError> {
    let mut builder = http1::Builder::new();
    builder.max_headers(HEADERS).max_buf_size(BUFFER_BYTES).max_header_size(HEAD_BYTES);
    let (mut sender, connection) =
        builder.handshake(TokioIo::new(stream)).await.map_err(explain)?;
    // What it fails at is told where the answer is read.
    let connection = Connection(tokio::spawn(async move { drop(connection.await) }));
    let request = request(url).ok_or(FetchError::NoTarget)?;
    let response = sender.send_request(request).await.map_err(explain)?;
    Ok(Answer { response, _connection: connection })
}

fn request(url: &Url) -> Option<Request<Empty<Bytes>>> {
    let host = match url.port() {
        Some(port) => format!("{}:{port}", url.host_str()?),
        None => url.host_str()?.to_owned(),
    };
    let target = &url[url::Position::BeforePath..url::Position::AfterQuery];
    let request = Request::get(target)
        .header("Host", host)
        .header("User-Agent", concat!("streamdiffusion-host/", env!("CARGO_PKG_VERSION")))
        .header("Accept", "image/png, image/jpeg, image/webp")
        .header("Accept-Encoding", "identity")
        .header("Connection", "close");
    request.body(Empty::new()).ok()
}

/// What of it the client is told.
pub fn explain(error: hyper::Error) -> FetchError {
    if error.is_parse_too_large() {
        FetchError::HeadTooLarge { limit: HEAD_BYTES }
    } else if error.is_parse() {
        FetchError::NotHttp(error)
    } else {
        FetchError::Broken(error)
    }
}
