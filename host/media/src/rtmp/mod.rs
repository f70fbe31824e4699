//! RTMP: publishers in by `rtmp://host:1935/live/{stream_key}`, streams out to wherever they are restreamed.
//!
//! `chunk`, `amf`, `command` and `handshake` are the protocol, `flv` what it carries; `server` and `client` are the two
//! sides without a connection. `ingest` listens and serves publishers. `restream` keeps a stream going to another server, by
//! `outgoing`.

mod amf;
mod chunk;
mod client;
mod command;
mod flv;
mod handshake;
mod ingest;
mod outgoing;
mod restream;
mod server;
mod soundtrack;

pub use ingest::{Rtmp, RtmpConfig, RtmpServer};
pub use restream::{AuthoritiesError, RestreamConfig};
pub(crate) use restream::{Restreaming, Restreams};

/// For fuzz targets: reads what a publisher sends after the handshake, in pieces, and makes of it what would be decoded.
/// Whether all of it was taken.
pub fn read_publisher(bytes: &[u8], pieces: usize) -> bool {
    ingest::read_alone(bytes, pieces)
}

/// For fuzz targets: reads what a server answers to us.
pub fn read_server(bytes: &[u8]) -> bool {
    client::read_alone(bytes)
}
