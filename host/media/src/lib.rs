//! The embedded media server: publishers in by WHIP, readers out by WHEP, one UDP and TCP port for all of them.
//!
//! `offer`, `negotiate` and `answer` negotiate; `hub` is the one task that owns every peer connection (`peer`) and the sockets
//! (`sockets`, `tcp`); `decoder` and `encoder` are threads that drive GStreamer codecs (`codecs`, `graph`, `convert`, `color`);
//! `audio` holds audio until the pictures of its moment are shown, and transcodes it on demand;
//! `rtsp` is another door in and out, `rtmp` one in, and one out, each with so many `places`; `hls`, `recording` and
//! `snapshot` are what else is made of a path's output, the first two of `fmp4`. `path` ties one stream's publisher, readers
//! and codecs together. HTTP is left to the caller.

mod accept;
mod access_unit;
mod answer;
mod audio;
mod codecs;
mod color;
mod config;
mod congestion;
mod convert;
mod counters;
mod decoder;
mod egress;
mod encoder;
mod encoding;
mod feed;
mod fmp4;
mod framing;
#[doc(hidden)]
pub mod fuzzing;
mod graph;
mod hls;
mod hub;
mod negotiate;
mod net;
mod offer;
mod outputs;
mod pace;
mod path;
mod paths;
mod peer;
mod places;
mod public_address;
mod publisher;
mod receiving;
mod reception;
mod recording;
mod rtmp;
mod rtp_clock;
mod rtsp;
mod server;
mod showing;
mod snapshot;
mod sockets;
mod tcp;
mod unit;
mod worker;

pub use accept::accept;
pub use audio::MissingAudioElements;
pub use codecs::{Codec, Codecs, MissingElements};
pub use config::{MediaConfig, MediaStartError, PublicAddress};
pub use places::ConnectionLimits;
pub use public_address::{FindAddressError, find_public_address};
pub use recording::RecordingConfig;
pub use rtmp::{AuthoritiesError, RestreamConfig, Rtmp, RtmpConfig, RtmpServer};
pub use rtsp::{Rtsp, RtspConfig, RtspServer};
pub use server::Media;
pub use sockets::announced_addresses;
