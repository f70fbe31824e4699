//! ICE over TCP: peers that cannot send UDP connect to the same port; each packet is framed by RFC 4571.

use crate::accept::accept;
use crate::framing::{Deframer, frame};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Packets that may wait for a peer, about half a second of video: whoever is slower is disconnected.
const OUTGOING: usize = 512;

/// A peer that takes nothing for this long is gone.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// Both ends of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Ends {
    pub local: SocketAddr,
    pub remote: SocketAddr,
}

pub(crate) enum TcpEvent {
    /// Dropping the sender closes the connection.
    Opened(Ends, mpsc::Sender<Vec<u8>>),
    Received(Ends, Vec<u8>),
    Closed(Ends),
}

/// Takes connections until the hub is gone. How many and for how long is the hub's to say.
pub(crate) async fn listen(listener: TcpListener, events: mpsc::Sender<TcpEvent>) {
    while !events.is_closed() {
        let (stream, remote) = tokio::select! {
            accepted = accept(&listener) => accepted,
            () = events.closed() => return,
        };
        if let Err(error) = open(stream, remote, &events).await {
            tracing::debug!(error = %error, %remote, "tcp connection not taken");
        }
    }
}

async fn open(
    stream: TcpStream,
    remote: SocketAddr,
    events: &mpsc::Sender<TcpEvent>,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let ends = Ends { local: stream.local_addr()?, remote };
    let (outgoing, packets) = mpsc::channel(OUTGOING);
    if events.send(TcpEvent::Opened(ends, outgoing)).await.is_err() {
        return Ok(());
    }
    tokio::spawn(serve(stream, ends, packets, events.clone()));
    Ok(())
}

async fn serve(
    stream: TcpStream,
    ends: Ends,
    packets: mpsc::Receiver<Vec<u8>>,
    events: mpsc::Sender<TcpEvent>,
) {
    let (reading, writing) = stream.into_split();
    let ended = tokio::select! {
        ended = read(reading, ends, &events) => ended,
        ended = write(writing, packets) => ended,
    };
    if let Err(error) = ended {
        tracing::debug!(error = %error, remote = %ends.remote, "tcp connection ended");
    }
    // If the hub is gone there is nobody to tell.
    let _ = events.send(TcpEvent::Closed(ends)).await;
}

async fn read(
    mut stream: OwnedReadHalf,
    ends: Ends,
    events: &mpsc::Sender<TcpEvent>,
) -> io::Result<()> {
    let (mut deframer, mut bytes) = (Deframer::default(), [0; 4096]);
    loop {
        let count = stream.read(&mut bytes).await?;
        if count == 0 {
            return Ok(());
        }
        let mut packets = Vec::new();
        deframer
            .push(&bytes[..count], |packet| packets.push(packet.to_vec()))
            .map_err(io::Error::other)?;
        for packet in packets {
            // Waiting here makes the peer wait: a full channel bounds what it can have in flight.
            if events.send(TcpEvent::Received(ends, packet)).await.is_err() {
                return Ok(());
            }
        }
    }
}

async fn write(mut stream: OwnedWriteHalf, mut packets: mpsc::Receiver<Vec<u8>>) -> io::Result<()> {
    let mut bytes = Vec::new();
    while let Some(packet) = packets.recv().await {
        bytes.clear();
        frame(&packet, &mut bytes);
        while let Ok(packet) = packets.try_recv() {
            frame(&packet, &mut bytes);
        }
        timeout(WRITE_TIMEOUT, stream.write_all(&bytes)).await??;
    }
    Ok(())
}
