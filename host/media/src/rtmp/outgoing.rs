//! One connection to an RTMP server, from its opening until it fails or is no longer wanted. Whatever the server does,
//! only this connection waits for it: units that it does not take in time are gone, and it goes on at a key frame.

use super::chunk::{self, Message, kind};
use super::client::{Client, ClientError, write_metadata};
use super::flv::Outgoing;
use super::handshake;
use super::soundtrack::Soundtrack;
use crate::feed::Feed;
use crate::unit::{Track, Unit};
use host_ports::{OfferError, RestreamTarget};
use rustls::pki_types::ServerName;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

/// Answers to the server that may wait, which asks seldom: more are not given.
const REPLIES: usize = 8;

/// What may lie on this machine for a server that is slow: much more would only be old once it arrives.
const SEND_BUFFER: usize = 512 << 10;

/// How long a server that is no longer wanted may take to be told so.
const GOODBYE: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
pub(crate) enum SessionError {
    #[error("{0}")]
    Resolve(String),
    #[error("no connection to the server: {0}")]
    Connect(io::Error),
    #[error("no secure connection to the server: {0}")]
    Secure(io::Error),
    #[error("the server does not answer within {} s", .0.as_secs_f32())]
    Unanswered(Duration),
    #[error("the server took nothing for {} s", .0.as_secs_f32())]
    Stalled(Duration),
    #[error("the connection broke: {0}")]
    Broken(#[from] io::Error),
    #[error("the server closed the connection")]
    Closed,
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("the stream cannot be had: {0}")]
    Feed(#[from] OfferError),
    #[error("the stream's output ended")]
    Ended,
    #[error("no longer wanted")]
    Stopped,
}

pub(crate) trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

/// A connection whose server takes what we publish.
pub(crate) struct Session {
    connection: Box<dyn Connection>,
    client: Client,
    target: RestreamTarget,
    stream: u32,
}

/// What a live session works with.
pub(crate) struct Surroundings<'a> {
    pub feed: Feed,
    pub bytes_sent: &'a AtomicU64,
    pub stall_timeout: Duration,
    pub stop: &'a CancellationToken,
}

impl Session {
    /// Connects, and asks until the server takes our stream.
    pub async fn open(
        target: &RestreamTarget,
        tls: &TlsConnector,
        limit: Duration,
    ) -> Result<Self, SessionError> {
        let opened = timeout(limit, Self::open_now(target, tls, limit)).await;
        opened.map_err(|_| SessionError::Unanswered(limit))?
    }

    async fn open_now(
        target: &RestreamTarget,
        tls: &TlsConnector,
        limit: Duration,
    ) -> Result<Self, SessionError> {
        let mut connection = connect(target, tls, limit).await?;
        handshake::connect(&mut connection).await?;
        let mut client = Client::new(target.clone());
        let mut buffer = vec![0; 4096];
        loop {
            connection.write_all(&client.out).await?;
            connection.flush().await?;
            client.out.clear();
            if let Some(stream) = client.publishing() {
                return Ok(Self { connection, client, target: target.clone(), stream });
            }
            match connection.read(&mut buffer).await? {
                0 => return Err(SessionError::Closed),
                count => client.read(&buffer[..count])?,
            }
        }
    }

    /// Sends what the stream shows until that ends or fails.
    pub async fn run(self, surroundings: Surroundings<'_>) -> SessionError {
        let Self { connection, client, target, stream } = self;
        let (reading, writing) = tokio::io::split(connection);
        let (replies, to_reply) = mpsc::channel(REPLIES);
        let writer = Writer {
            writing,
            stream,
            outgoing: Outgoing::default(),
            began: None,
            soundtrack: Soundtrack::new(Duration::ZERO, Instant::now()),
            bytes: Vec::new(),
        };
        tokio::select! {
            error = listen(reading, client, replies) => error,
            error = write(writer, surroundings, to_reply, &target) => error,
        }
    }
}

async fn connect(
    target: &RestreamTarget,
    tls: &TlsConnector,
    limit: Duration,
) -> Result<Box<dyn Connection>, SessionError> {
    let unresolved =
        |error: io::Error| SessionError::Resolve(format!("the server's name is unknown: {error}"));
    let found = tokio::net::lookup_host((&target.host[..], target.port)).await;
    let addresses: Vec<_> = found.map_err(unresolved)?.collect();
    let mut last = io::Error::new(io::ErrorKind::NotFound, "its name has no address");
    // One that swallows everything leaves time for the others.
    let each = limit / u32::try_from(addresses.len().max(1)).unwrap_or(u32::MAX);
    for address in addresses {
        let connected = timeout(each, TcpStream::connect(address)).await;
        match connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                socket2::SockRef::from(&stream).set_send_buffer_size(SEND_BUFFER)?;
                return secure(stream, target, tls).await;
            }
            Err(error) => last = error,
        }
    }
    Err(SessionError::Connect(last))
}

async fn secure(
    stream: TcpStream,
    target: &RestreamTarget,
    tls: &TlsConnector,
) -> Result<Box<dyn Connection>, SessionError> {
    if !target.is_tls {
        return Ok(Box::new(stream));
    }
    let name = ServerName::try_from(target.host.clone())
        .map_err(|error| SessionError::Secure(io::Error::other(error)))?;
    let stream = tls.connect(name, stream).await.map_err(SessionError::Secure)?;
    Ok(Box::new(stream))
}

/// Hears what the server says meanwhile: pings, and why it ends.
async fn listen(
    mut reading: impl AsyncRead + Unpin,
    mut client: Client,
    replies: mpsc::Sender<Vec<u8>>,
) -> SessionError {
    let mut buffer = vec![0; 4096];
    loop {
        match reading.read(&mut buffer).await {
            Ok(0) => return SessionError::Closed,
            Ok(count) => {
                if let Err(error) = client.read(&buffer[..count]) {
                    return error.into();
                }
            }
            Err(error) => return error.into(),
        }
        if !client.out.is_empty() {
            // Full: it asks more often than it reads.
            let _ = replies.try_send(std::mem::take(&mut client.out));
        }
    }
}

struct Writer<W> {
    writing: W,
    stream: u32,
    outgoing: Outgoing,
    /// When the first frame was due.
    began: Option<Duration>,
    soundtrack: Soundtrack,
    bytes: Vec<u8>,
}

async fn write(
    mut writer: Writer<impl AsyncWrite + Unpin>,
    surroundings: Surroundings<'_>,
    mut to_reply: mpsc::Receiver<Vec<u8>>,
    target: &RestreamTarget,
) -> SessionError {
    let Surroundings { mut feed, bytes_sent, stall_timeout, stop } = surroundings;
    write_metadata(writer.stream, &mut writer.bytes);
    loop {
        tokio::select! {
            () = stop.cancelled() => {
                writer.bytes = Client::goodbye(target, writer.stream);
                // It may be gone, or not listen.
                let _ = timeout(GOODBYE, writer.flush()).await;
                return SessionError::Stopped;
            }
            unit = feed.next() => match unit {
                Some(unit) => writer.add(&unit),
                None => return SessionError::Ended,
            },
            Some(reply) = to_reply.recv() => writer.bytes.extend(reply),
        }
        let size = writer.bytes.len() as u64;
        let flushed = tokio::select! {
            flushed = timeout(stall_timeout, writer.flush()) => flushed,
            // In the midst of a message: there is no way to say anything more.
            () = stop.cancelled() => return SessionError::Stopped,
        };
        match flushed {
            Ok(Ok(())) => bytes_sent.fetch_add(size, Relaxed),
            Ok(Err(error)) => return error.into(),
            Err(_) => return SessionError::Stalled(stall_timeout),
        };
    }
}

impl<W: AsyncWrite + Unpin> Writer<W> {
    async fn flush(&mut self) -> io::Result<()> {
        self.writing.write_all(&self.bytes).await?;
        self.bytes.clear();
        self.writing.flush().await
    }

    fn add(&mut self, unit: &Unit) {
        let now = Instant::now();
        let Self { stream, outgoing, soundtrack, bytes, began, .. } = self;
        let start = match *began {
            Some(start) => start,
            // Feeds begin with a key frame.
            None => {
                *soundtrack = Soundtrack::new(unit.time, now);
                *began.insert(unit.time)
            }
        };
        let mut send = |kind: u8, time: Duration, data: Vec<u8>| {
            let timestamp = time.saturating_sub(start).as_millis() as u32;
            let chunk_stream = if kind == kind::VIDEO { 6 } else { 5 };
            chunk::write(bytes, chunk_stream, &Message { kind, stream: *stream, timestamp, data });
        };
        match &unit.track {
            Track::Video(_) => {
                soundtrack.silence(unit.time, now, |time, tag| send(kind::AUDIO, time, tag));
                outgoing.video(unit.is_key_frame, &unit.data, |tag| {
                    send(kind::VIDEO, unit.time, tag);
                });
            }
            Track::Audio(format) => {
                soundtrack.sound((format, &unit.data), unit.time, now, |time, tag| {
                    send(kind::AUDIO, time, tag);
                });
            }
        }
    }
}
