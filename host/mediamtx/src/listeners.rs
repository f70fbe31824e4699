//! The ports of a MediaMTX that the host runs.

use crate::Urls;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};

/// 0 stands for any free one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// On loopback, whatever the address of the others.
    pub api: u16,
    pub rtsp: u16,
    pub rtmp: u16,
    pub hls: u16,
    /// HTTP.
    pub webrtc: u16,
    /// UDP.
    pub webrtc_media: u16,
    /// UDP.
    pub srt: u16,
}

impl Ports {
    /// The same with free ports for zeros. They are free until somebody takes them; should that happen before MediaMTX does,
    /// it ends, and is started with others.
    pub fn with_free_ones(self, address: IpAddr) -> io::Result<Self> {
        // Held until all are found, so that none is found twice.
        let (mut tcp, mut udp) = (Vec::new(), Vec::new());
        let mut free_tcp = |port: u16, address: IpAddr| -> io::Result<u16> {
            if port != 0 {
                return Ok(port);
            }
            let socket = TcpListener::bind((address, 0))?;
            let port = socket.local_addr()?.port();
            tcp.push(socket);
            Ok(port)
        };
        let mut free_udp = |port: u16| -> io::Result<u16> {
            if port != 0 {
                return Ok(port);
            }
            let socket = UdpSocket::bind((address, 0))?;
            let port = socket.local_addr()?.port();
            udp.push(socket);
            Ok(port)
        };
        Ok(Self {
            api: free_tcp(self.api, Ipv4Addr::LOCALHOST.into())?,
            rtsp: free_tcp(self.rtsp, address)?,
            rtmp: free_tcp(self.rtmp, address)?,
            hls: free_tcp(self.hls, address)?,
            webrtc: free_tcp(self.webrtc, address)?,
            webrtc_media: free_udp(self.webrtc_media)?,
            srt: free_udp(self.srt)?,
        })
    }

    /// Where this machine reaches each protocol.
    pub fn urls(&self, address: IpAddr) -> Urls {
        let address = match address {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        let protocols = [
            ("rtsp", "rtsp", self.rtsp),
            ("rtmp", "rtmp", self.rtmp),
            ("hls", "http", self.hls),
            ("webrtc", "http", self.webrtc),
            ("srt", "srt", self.srt),
        ];
        let url = |scheme, port| format!("{scheme}://{}", SocketAddr::new(address, port));
        protocols.map(|(protocol, scheme, port)| (protocol, url(scheme, port))).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn zeros_become_free_ports_and_the_rest_stays() {
        let wish = Ports { api: 0, rtsp: 0, rtmp: 7, hls: 0, webrtc: 0, webrtc_media: 9, srt: 0 };
        let local = Ipv4Addr::LOCALHOST.into();
        let found = wish.with_free_ones(local).unwrap();
        assert_eq!((found.rtmp, found.webrtc_media), (7, 9));
        let tcp = BTreeSet::from([found.api, found.rtsp, found.hls, found.webrtc]);
        assert!(tcp.len() == 4 && !tcp.contains(&0) && found.srt != 0, "{found:?}");
        let urls = found.urls(Ipv4Addr::UNSPECIFIED.into());
        assert_eq!(urls["rtmp"], "rtmp://127.0.0.1:7");
        assert_eq!(found.urls(Ipv6Addr::LOCALHOST.into())["rtmp"], "rtmp://[::1]:7");
    }
}
