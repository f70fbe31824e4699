//! For fuzz targets: answers to offers, and what is read of RTSP and RTMP, without sockets, sessions and threads.

use crate::config::{MediaConfig, MediaStartError};
use crate::negotiate::Role;
use crate::server::Context;
use crate::sockets::Announced;
use host_ports::OfferError;
use tokio::sync::mpsc;

pub use crate::rtmp::{read_publisher, read_server};
pub use crate::rtsp::fuzzed::publish as publish_by_rtsp;
pub use crate::server::PANICKED;

/// Answers offers of peers that never come.
pub struct Negotiator(Context);

impl Negotiator {
    pub fn new() -> Result<Self, MediaStartError> {
        gstreamer::init().map_err(MediaStartError::GStreamer)?;
        let config = MediaConfig::default();
        let announced = Announced::new(&config, config.rtc_port);
        // Nothing is encoded for nobody, so nothing is sent.
        let (units, _) = mpsc::channel(1);
        Context::new(config, announced, units).map(Self)
    }

    /// The answer to a WHIP offer.
    pub fn publish(&self, offer: &str) -> Result<String, OfferError> {
        self.0.negotiate(offer, Role::Publisher, None).map(|negotiated| negotiated.sdp)
    }

    /// The answer to a WHEP offer.
    pub fn play(&self, offer: &str) -> Result<String, OfferError> {
        self.0.negotiate(offer, Role::Reader, None).map(|negotiated| negotiated.sdp)
    }
}
