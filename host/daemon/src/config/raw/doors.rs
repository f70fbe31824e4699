//! Settings of RTSP and RTMP.

use serde::{Deserialize, Serialize};

/// Readers play `rtsp://HOST:8554/{id}_out`; whoever knows the id may. Publishers record to `rtsp://HOST:8554/{id}` with the
/// stream key as password of any user, or as `?key=`: one video track of H264, VP8, VP9 or H265, and one of audio (AAC, Opus)
/// if they like. Both go by TCP and by UDP; UDP takes any free ports, so where a firewall is between, use TCP. Nothing is encrypted. Readers
/// beyond `media.max_readers` are refused with 453, sessions beyond `media.max_sessions` with 503.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RawRtsp {
    /// Take readers and publishers.
    /// Needs a restart.
    pub enabled: bool,
    /// Address to listen on; `0.0.0.0` and `::` stand for all interfaces.
    /// Needs a restart.
    pub listen: String,
    /// TCP port; 0 takes any free one.
    /// Needs a restart.
    pub port: i64,
    /// Connections at once; more are closed.
    /// Needs a restart.
    pub max_connections: i64,
    /// The same of one address, or of one /64 network of IPv6, so that nobody takes every place alone. Where a proxy or a
    /// shared network stands for many clients, raise it.
    /// Needs a restart.
    pub max_connections_per_address: i64,
}

/// Encoders publish H264 and AAC to `rtmp://HOST/live/{stream_key}`. A stream with an `output_rtmp_url` is sent there, by
/// `rtmps://` encrypted and to servers only whose certificate is in order; `/status` says how that stands. The server connects
/// to whatever that names, private addresses too, for whoever may create or change streams: where these are not trusted with
/// that, let a firewall say where this machine may connect to.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RawRtmp {
    /// Take publishers.
    /// Needs a restart.
    pub enabled: bool,
    /// Address to listen on; `0.0.0.0` and `::` stand for all interfaces.
    /// Needs a restart.
    pub listen: String,
    /// TCP port; 0 takes any free one.
    /// Needs a restart.
    pub port: i64,
    /// Connections at once; more are closed.
    /// Needs a restart.
    pub max_connections: i64,
    /// The same of one address, or of one /64 network of IPv6, so that nobody takes every place alone. Where a proxy or a
    /// shared network stands for many encoders, raise it.
    /// Needs a restart.
    pub max_connections_per_address: i64,
    /// How long a connection may take until it publishes, and a publisher may send nothing, in seconds.
    /// Needs a restart.
    pub timeout_seconds: i64,
    /// File of certificates in PEM that are believed beside the built-in authorities when a stream is sent by `rtmps://`.
    /// Empty: none.
    /// Needs a restart.
    pub authorities: String,
}

impl Default for RawRtsp {
    fn default() -> Self {
        Self {
            enabled: true,
            listen: "0.0.0.0".into(),
            port: 8554,
            max_connections: 200,
            max_connections_per_address: 20,
        }
    }
}

impl Default for RawRtmp {
    fn default() -> Self {
        Self {
            enabled: true,
            listen: "0.0.0.0".into(),
            port: 1935,
            max_connections: 100,
            max_connections_per_address: 10,
            timeout_seconds: 10,
            authorities: String::new(),
        }
    }
}
