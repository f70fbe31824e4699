//! The way of a track's packets: channels of the connection itself, or a pair of UDP ports for each track.

use super::transport::{Pair, Transport};
use crate::unit::Unit;
use bytes::{BufMut, BytesMut};
use socket2::SockRef;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::OnceLock;
use std::task::{Context, Poll, ready};
use tokio::io::ReadBuf;
use tokio::net::UdpSocket;

/// Tries to find two free ports in a row, of which the first is even.
const TRIES: usize = 32;
/// A key frame comes as fast as the network carries it.
const BUFFER: usize = 1 << 20;

/// UDP packets may be as long.
const MAX_DATAGRAM: usize = 1 << 16;

/// What there is to do for a session, beside its requests.
#[derive(Debug)]
pub enum Event {
    Send(Unit),
    /// A packet by UDP: so many bytes.
    Datagram {
        track: usize,
        is_report: bool,
        length: usize,
    },
    Over(&'static str),
}

/// Both ends of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Ends {
    pub local: IpAddr,
    pub remote: IpAddr,
}

#[derive(Debug)]
pub enum Way {
    Interleaved(Pair<u8>),
    Udp(Udp),
}

#[derive(Debug)]
pub struct Udp {
    sockets: Pair<UdpSocket>,
    local: Pair<u16>,
    /// Never another machine than the one that asked for it.
    remote: IpAddr,
    ports: Pair<u16>,
    /// Whose packets are taken: of whom the first came. Others at the same address know no key.
    heard: Pair<OnceLock<SocketAddr>>,
}

impl Way {
    /// `track` names the channels where the client leaves them to us.
    pub fn open(transport: Transport, ends: Ends, track: usize) -> io::Result<Self> {
        match transport {
            Transport::Interleaved(Some(channels)) => Ok(Self::Interleaved(channels)),
            Transport::Interleaved(None) => {
                let media = 2 * track as u8;
                Ok(Self::Interleaved(Pair { media, reports: media + 1 }))
            }
            Transport::Udp(ports) => {
                let (sockets, local) = bind(ends.local.to_canonical())?;
                let (remote, heard) = (ends.remote.to_canonical(), Pair::default());
                Ok(Self::Udp(Udp { sockets, local, remote, ports, heard }))
            }
        }
    }

    /// The `Transport` that the client is answered; `source` is whose packets it will get.
    pub fn header(&self, source: Option<u32>) -> String {
        let source = source.map(|source| format!(";ssrc={source:08X}")).unwrap_or_default();
        match self {
            Self::Interleaved(channels) => {
                format!("RTP/AVP/TCP;unicast;interleaved={channels}{source}")
            }
            Self::Udp(udp) => {
                format!(
                    "RTP/AVP;unicast;client_port={};server_port={}{source}",
                    udp.ports, udp.local
                )
            }
        }
    }

    pub fn is_udp(&self) -> bool {
        matches!(self, Self::Udp(_))
    }

    /// Whether it is by this channel, and whether with reports.
    pub fn carries(&self, channel: u8) -> Option<bool> {
        match self {
            Self::Interleaved(Pair { media, .. }) if *media == channel => Some(false),
            Self::Interleaved(Pair { reports, .. }) if *reports == channel => Some(true),
            _ => None,
        }
    }

    pub fn overlaps(&self, other: &Self) -> bool {
        let Self::Interleaved(Pair { media, reports }) = other else { return false };
        self.carries(*media).or(self.carries(*reports)).is_some()
    }

    /// Sends a packet or report. In the connection it goes to `out`; by UDP a packet that finds no room is lost.
    pub fn send(&self, is_report: bool, packet: &[u8], out: &mut BytesMut) {
        match self {
            Self::Interleaved(Pair { media, reports }) => {
                out.put_u8(b'$');
                out.put_u8(if is_report { *reports } else { *media });
                out.put_u16(packet.len() as u16);
                out.put_slice(packet);
            }
            Self::Udp(Udp { sockets, remote, ports, .. }) => {
                let (socket, port) = match is_report {
                    true => (&sockets.reports, ports.reports),
                    false => (&sockets.media, ports.media),
                };
                // The reader may be gone, which is found by its silence.
                let _ = socket.try_send_to(packet, SocketAddr::new(*remote, port));
            }
        }
    }

    /// The next packet by UDP, and whether it is a report.
    fn poll_receive(&self, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<(bool, usize)> {
        let Self::Udp(udp) = self else { return Poll::Pending };
        let (sockets, heard) = (&udp.sockets, &udp.heard);
        let media = (&sockets.media, &heard.media);
        for (end, is_report) in [(media, false), ((&sockets.reports, &heard.reports), true)] {
            if let Poll::Ready(length) = udp.poll_socket(end, context, buffer) {
                return Poll::Ready((is_report, length));
            }
        }
        Poll::Pending
    }
}

/// The next packet that comes by UDP on any of these ways.
pub async fn receive<'a, W: Iterator<Item = (usize, &'a Way)>>(
    ways: impl Fn() -> W,
    datagram: &mut Vec<u8>,
) -> Event {
    if ways().any(|(_, way)| way.is_udp()) {
        datagram.resize(MAX_DATAGRAM, 0);
    }
    let poll = |context: &mut Context<'_>| {
        for (track, way) in ways() {
            if let Poll::Ready((is_report, length)) = way.poll_receive(context, datagram) {
                return Poll::Ready(Event::Datagram { track, is_report, length });
            }
        }
        Poll::Pending
    };
    poll_fn(poll).await
}

impl Udp {
    fn poll_socket(
        &self,
        (socket, heard): (&UdpSocket, &OnceLock<SocketAddr>),
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<usize> {
        loop {
            let mut buffer = ReadBuf::new(buffer);
            match ready!(socket.poll_recv_from(context, &mut buffer)) {
                Ok(from)
                    if from.ip().to_canonical() == self.remote
                        && *heard.get_or_init(|| from) == from =>
                {
                    return Poll::Ready(buffer.filled().len());
                }
                // From a stranger; or an earlier packet of ours did not arrive.
                Ok(_) | Err(_) => {}
            }
        }
    }
}

fn bind(local: IpAddr) -> io::Result<(Pair<UdpSocket>, Pair<u16>)> {
    let mut refused = io::Error::from(io::ErrorKind::AddrInUse);
    for _ in 0..TRIES {
        match bind_pair(local) {
            Ok(Some(pair)) => return Ok(pair),
            Ok(None) => {}
            Err(error) => refused = error,
        }
    }
    Err(refused)
}

/// None if the first port that was free is odd.
fn bind_pair(local: IpAddr) -> io::Result<Option<(Pair<UdpSocket>, Pair<u16>)>> {
    let media = std::net::UdpSocket::bind((local, 0))?;
    let port = media.local_addr()?.port();
    if port % 2 != 0 {
        return Ok(None);
    }
    let reports = std::net::UdpSocket::bind((local, port + 1))?;
    for socket in [&media, &reports] {
        socket.set_nonblocking(true)?;
        let socket = SockRef::from(socket);
        // As much as the system allows.
        let _ = socket.set_recv_buffer_size(BUFFER).and(socket.set_send_buffer_size(BUFFER));
    }
    let sockets =
        Pair { media: UdpSocket::from_std(media)?, reports: UdpSocket::from_std(reports)? };
    Ok(Some((sockets, Pair { media: port, reports: port + 1 })))
}
