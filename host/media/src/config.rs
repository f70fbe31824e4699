//! What the media server is started with, and why it may not start.

use crate::codecs::MissingElements;
use crate::recording::RecordingConfig;
use crate::rtmp::{AuthoritiesError, RestreamConfig};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

#[derive(Clone, Debug)]
pub struct MediaConfig {
    /// Addresses to receive media on; an unspecified one stands for all interfaces of its family.
    pub rtc_bind: Vec<IpAddr>,
    /// UDP and TCP port for all media; 0 takes any that is free for both.
    pub rtc_port: u16,
    /// Addresses by which peers reach this machine although no interface has them (NAT, containers). Announced
    /// before the interfaces' own.
    pub public_addresses: Vec<PublicAddress>,
    /// Readers that one path takes.
    pub max_readers: usize,
    /// Sessions of all paths together.
    pub max_sessions: usize,
    /// What readers are sent, in kbit/s.
    pub bitrate_kbps: u32,
    /// How long a session may take from its answer to being connected.
    pub connect_timeout: Duration,
    pub restream: RestreamConfig,
    pub recordings: RecordingConfig,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicAddress {
    pub ip: IpAddr,
    /// Forwarded to the media port; none: the media port itself.
    pub port: Option<u16>,
    /// Whether UDP does not come this way.
    pub is_tcp_only: bool,
}

impl From<IpAddr> for PublicAddress {
    fn from(ip: IpAddr) -> Self {
        Self { ip, port: None, is_tcp_only: false }
    }
}

impl Default for MediaConfig {
    fn default() -> Self {
        Self {
            rtc_bind: vec![Ipv4Addr::UNSPECIFIED.into()],
            rtc_port: 8189,
            public_addresses: Vec::new(),
            max_readers: 100,
            max_sessions: 1000,
            bitrate_kbps: 2500,
            connect_timeout: Duration::from_secs(10),
            restream: RestreamConfig::default(),
            recordings: RecordingConfig::default(),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum MediaStartError {
    #[error("GStreamer does not start")]
    GStreamer(#[source] gstreamer::glib::Error),
    #[error(transparent)]
    Codecs(#[from] MissingElements),
    #[error("no address to receive media on; name at least one, 0.0.0.0 stands for all")]
    NoAddress,
    #[error("cannot receive media on {address}; is another server running there?")]
    Bind {
        address: SocketAddr,
        #[source]
        source: std::io::Error,
    },
    #[error("OpenSSL made no certificate for DTLS")]
    Certificate,
    #[error(transparent)]
    Authorities(#[from] AuthoritiesError),
    #[error("must be started inside a tokio runtime")]
    NoRuntime,
}
