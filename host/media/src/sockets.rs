//! The one media port: UDP sockets that know which of this machine's addresses a packet came to, TCP listeners beside
//! them, and the candidates that announce them.

use crate::config::{MediaConfig, MediaStartError, PublicAddress};
use quinn_udp::{BATCH_SIZE, RecvMeta, UdpSockRef, UdpSocketState};
use socket2::{Domain, Protocol as IpProtocol, Socket, Type};
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::task::Poll;
use str0m::Candidate;
use str0m::net::TcpType;
use tokio::io::Interest;
use tokio::net::{TcpListener, UdpSocket};

/// Video comes in bursts of a whole frame.
const SOCKET_BUFFER: usize = 4 << 20;

/// With receive offload the kernel joins packets of one sender up to this.
const DATAGRAMS: usize = 64 << 10;

const BATCH: usize = if BATCH_SIZE < 8 { BATCH_SIZE } else { 8 };

/// How often another port is tried when one is free for UDP but not for TCP.
const ATTEMPTS: usize = 20;

/// More addresses than this help no peer.
const MAX_ADDRESSES: usize = 16;

pub(crate) struct Sockets {
    pub udp: UdpSockets,
    pub tcp: Vec<TcpListener>,
    pub announced: Announced,
}

/// Binds UDP and TCP on every address, all with the same port.
pub(crate) fn bind(config: &MediaConfig) -> Result<Sockets, MediaStartError> {
    let first = *config.rtc_bind.first().ok_or(MediaStartError::NoAddress)?;
    let mut attempts = 0;
    loop {
        attempts += 1;
        let port = match config.rtc_port {
            0 => free_port(first).map_err(|source| bind_error(first, 0, source))?,
            port => port,
        };
        match bind_all(&config.rtc_bind, port) {
            Ok((udp, tcp)) => {
                let announced = Announced::new(config, port);
                return Ok(Sockets { udp: UdpSockets::new(udp)?, tcp, announced });
            }
            Err(_) if config.rtc_port == 0 && attempts < ATTEMPTS => {}
            Err(error) => return Err(error),
        }
    }
}

fn free_port(address: IpAddr) -> io::Result<u16> {
    Ok(std::net::UdpSocket::bind((address, 0))?.local_addr()?.port())
}

fn bind_all(
    addresses: &[IpAddr],
    port: u16,
) -> Result<(Vec<UdpSocket>, Vec<TcpListener>), MediaStartError> {
    let (mut udp, mut tcp) = (Vec::new(), Vec::new());
    for address in addresses {
        let failed = |source| bind_error(*address, port, source);
        udp.push(open_udp(SocketAddr::new(*address, port)).map_err(failed)?);
        tcp.push(open_tcp(SocketAddr::new(*address, port)).map_err(failed)?);
    }
    Ok((udp, tcp))
}

fn bind_error(address: IpAddr, port: u16, source: io::Error) -> MediaStartError {
    MediaStartError::Bind { address: SocketAddr::new(address, port), source }
}

fn open(address: SocketAddr, kind: Type, protocol: IpProtocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    if address.is_ipv6() {
        // IPv4 has sockets of its own.
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn open_udp(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = open(address, Type::DGRAM, IpProtocol::UDP)?;
    socket.set_recv_buffer_size(SOCKET_BUFFER)?;
    socket.set_send_buffer_size(SOCKET_BUFFER)?;
    socket.bind(&address.into())?;
    UdpSocket::from_std(socket.into())
}

fn open_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = open(address, Type::STREAM, IpProtocol::TCP)?;
    // A restarted server finds its old connections still closing.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(64)?;
    TcpListener::from_std(socket.into())
}

pub(crate) struct UdpSockets {
    sockets: Vec<(UdpSocket, UdpSocketState, u16)>,
}

/// Received packets: source, destination, and which of the bytes.
#[derive(Default)]
pub(crate) struct Packets {
    pub bytes: Vec<u8>,
    pub ranges: Vec<(SocketAddr, SocketAddr, Range<usize>)>,
}

impl UdpSockets {
    fn new(sockets: Vec<UdpSocket>) -> Result<Self, MediaStartError> {
        let prepare = |socket: UdpSocket| {
            let address =
                socket.local_addr().map_err(|source| bind_error([0, 0, 0, 0].into(), 0, source))?;
            let state = UdpSocketState::new(UdpSockRef::from(&socket))
                .map_err(|source| MediaStartError::Bind { address, source })?;
            Ok::<_, MediaStartError>((socket, state, address.port()))
        };
        let sockets = sockets.into_iter().map(prepare).collect::<Result<_, MediaStartError>>()?;
        Ok(Self { sockets })
    }

    /// Waits until one of the sockets has a packet.
    pub async fn readable(&self) -> usize {
        std::future::poll_fn(|context| {
            // An error is met again when receiving, and is no reason to stop.
            let ready = self
                .sockets
                .iter()
                .position(|(socket, ..)| socket.poll_recv_ready(context).is_ready());
            ready.map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }

    /// Receives what is there, in place of what was received before.
    pub fn receive(&mut self, index: usize, packets: &mut Packets) {
        let (socket, state, port) = &self.sockets[index];
        packets.bytes.resize(BATCH * DATAGRAMS, 0);
        packets.ranges.clear();
        let mut metas = [RecvMeta::default(); BATCH];
        let mut slices: Vec<_> = packets.bytes.chunks_mut(DATAGRAMS).map(IoSliceMut::new).collect();
        let received = socket
            .try_io(Interest::READABLE, || {
                state.recv(UdpSockRef::from(socket), &mut slices, &mut metas)
            })
            .unwrap_or(0);
        for (index, meta) in metas.iter().enumerate().take(received) {
            let Some(destination) = meta.dst_ip else { continue };
            let (start, end) = (index * DATAGRAMS, index * DATAGRAMS + meta.len);
            // The kernel may have joined packets of one sender, all of one length but the last.
            for at in (start..end).step_by(meta.stride.max(1)) {
                let range = at..(at + meta.stride.max(1)).min(end);
                packets.ranges.push((meta.addr, SocketAddr::new(destination, *port), range));
            }
        }
    }

    /// Sends a packet, or drops it if the kernel has no room: the peer asks again for what it misses.
    pub fn send(&self, source: SocketAddr, destination: SocketAddr, contents: &[u8]) {
        let is_family = |(socket, ..): &&(UdpSocket, UdpSocketState, u16)| {
            socket.local_addr().is_ok_and(|local| {
                local.is_ipv4() == source.is_ipv4()
                    && (local.ip().is_unspecified() || local.ip() == source.ip())
            })
        };
        let Some((socket, state, _)) = self.sockets.iter().find(is_family) else { return };
        let src_ip = Some(source.ip());
        let transmit =
            quinn_udp::Transmit { destination, ecn: None, contents, segment_size: None, src_ip };
        let sent = socket
            .try_io(Interest::WRITABLE, || state.try_send(UdpSockRef::from(socket), &transmit));
        if let Err(error) = sent {
            tracing::trace!(error = %error, %destination, "packet not sent");
        }
    }
}

/// What peers are told about where to reach this server.
#[derive(Clone, Debug)]
pub(crate) struct Announced {
    bind: Vec<IpAddr>,
    public: Vec<PublicAddress>,
    pub port: u16,
}

impl Announced {
    pub fn new(config: &MediaConfig, port: u16) -> Self {
        Self { bind: config.rtc_bind.clone(), public: config.public_addresses.clone(), port }
    }

    /// Candidates of the addresses that packets really come to. Read anew for each offer: interfaces come and go.
    pub fn local(&self) -> Vec<Candidate> {
        let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
        let found: Vec<_> =
            interfaces.iter().map(if_addrs::Interface::ip).filter(is_routable).collect();
        let serves = |address: &IpAddr| {
            self.bind.iter().any(|bound| {
                bound == address || (bound.is_unspecified() && bound.is_ipv4() == address.is_ipv4())
            })
        };
        let mut addresses: Vec<_> = found.into_iter().filter(serves).collect();
        // Loopback last: it serves only this machine.
        addresses.sort_by_key(IpAddr::is_loopback);
        addresses.truncate(MAX_ADDRESSES);
        let addresses: Vec<_> = addresses.into_iter().map(PublicAddress::from).collect();
        self.candidates(&addresses)
    }

    /// Candidates of the configured public addresses.
    pub fn public(&self) -> Vec<Candidate> {
        self.candidates(&self.public)
    }

    fn candidates(&self, addresses: &[PublicAddress]) -> Vec<Candidate> {
        let both = |public: &PublicAddress| {
            let address = SocketAddr::new(public.ip, public.port.unwrap_or(self.port));
            let udp = Candidate::builder().udp().host(address).build();
            let tcp = Candidate::builder().tcp().host(address).tcptype(TcpType::Passive).build();
            [(!public.is_tcp_only).then_some(udp), Some(tcp)]
        };
        // An address that cannot be a candidate (unspecified, multicast) is left out.
        addresses.iter().flat_map(both).flatten().filter_map(Result::ok).collect()
    }
}

/// The addresses that peers are told, public ones first.
pub fn announced_addresses(config: &MediaConfig) -> Vec<IpAddr> {
    let announced = Announced::new(config, config.rtc_port);
    let candidates = announced.public().into_iter().chain(announced.local());
    let mut addresses: Vec<_> = candidates.map(|candidate| candidate.addr().ip()).collect();
    // Each comes for UDP and for TCP.
    addresses.dedup();
    addresses
}

/// Link-local IPv6 needs a zone, which candidates cannot name.
fn is_routable(address: &IpAddr) -> bool {
    !matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local())
}
