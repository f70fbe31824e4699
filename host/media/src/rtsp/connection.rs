//! One connection: reads requests, writes answers and media, and ends when it is silent, stuck or told to.

use super::exchange::{Exchange, Shared};
use super::message::{Response, Status};
use super::way::Ends;
use bytes::BytesMut;
use socket2::SockRef;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::WriteHalf;

/// What may wait to be written before no more requests are read.
const MAX_UNSENT: usize = 256 << 10;
/// As much as the system keeps of it. What waits there comes late to a slow reader, and cannot be taken back.
const SYSTEM_BUFFER: u32 = 64 << 10;
/// What one look at the socket may bring.
const READ: usize = 16 << 10;
/// A client that takes nothing for so long is gone.
const STUCK: Duration = Duration::from_secs(10);

pub async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let remote = stream.peer_addr();
    match run(stream, shared).await {
        Ok(reason) => tracing::debug!(?remote, reason, "RTSP connection closed"),
        Err(error) => tracing::debug!(?remote, %error, "RTSP connection broke off"),
    }
}

/// Why it is closed.
async fn run(mut stream: TcpStream, shared: Arc<Shared>) -> io::Result<&'static str> {
    // Packets are small, and wait for nothing. Where it cannot be set, they still come.
    let _ = stream.set_nodelay(true);
    let _ = SockRef::from(&stream).set_tcp_notsent_lowat(SYSTEM_BUFFER);
    let ends = Ends { local: stream.local_addr()?.ip(), remote: stream.peer_addr()?.ip() };
    let mut exchange = Exchange::new(shared, ends);
    let (mut received, mut unsent) = (BytesMut::new(), BytesMut::new());
    let (mut reading, mut writing) = stream.split();
    let mut written_at = Instant::now();
    loop {
        received.reserve(READ);
        if unsent.is_empty() {
            written_at = Instant::now();
        }
        let stuck_at = (!unsent.is_empty()).then_some(written_at + STUCK);
        let wake_at = [exchange.deadline(), stuck_at].into_iter().flatten().min();
        tokio::select! {
            read = reading.read_buf(&mut received), if unsent.len() < MAX_UNSENT => {
                if read? == 0 {
                    return Ok("the client closed it");
                }
                if let Err(error) = exchange.receive(&mut received, &mut unsent).await {
                    Response::refusal(Status::BadRequest, error).write(None, &mut unsent);
                    return say_goodbye(&mut writing, &unsent, "it cannot be understood").await;
                }
                if exchange.is_suspect() {
                    return say_goodbye(&mut writing, &unsent, "it has no key").await;
                }
            }
            written = writing.write_buf(&mut unsent), if !unsent.is_empty() => {
                written?;
                written_at = Instant::now();
            }
            event = exchange.next(), if unsent.is_empty() => {
                if !exchange.on(event, &mut unsent) {
                    return Ok("its session is over");
                }
            }
            () = sleep_until(wake_at), if wake_at.is_some() => return Ok("the client was silent"),
        }
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    if let Some(deadline) = deadline {
        tokio::time::sleep_until(deadline.into()).await;
    }
}

/// Writes what is left, unless that takes long.
async fn say_goodbye(
    writing: &mut WriteHalf<'_>,
    unsent: &[u8],
    reason: &'static str,
) -> io::Result<&'static str> {
    match tokio::time::timeout(STUCK, writing.write_all(unsent)).await {
        Ok(written) => written.map(|()| reason),
        Err(_) => Ok(reason),
    }
}
