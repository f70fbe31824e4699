//! Peers and sinks for the integration tests: a WebRTC client over real sockets and a sink that echoes.

#![allow(dead_code, reason = "each test binary uses its part")]

use host_media::{
    ConnectionLimits, Media, MediaConfig, Rtmp, RtmpConfig, Rtsp, RtspConfig, RtspServer,
};
use host_ports::{
    Answer, Fit, Frame, FrameSize, FrameSlot, FrameStamp, IngressEvent, IngressSink, MediaPath,
    MediaServer, OfferError, StreamKeys,
};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, OnceLock, Weak, mpsc};
use std::time::Instant;
use test_peer::{Answered, Client, Clip, Codec, Link, Publisher, Sound};
use tokio::runtime::Runtime;

/// A media server on free ports, with its own runtime.
pub struct Server {
    pub media: Arc<Media>,
    runtime: Runtime,
}

impl Server {
    pub fn start() -> Self {
        Self::start_with(MediaConfig::default())
    }

    pub fn start_with(config: MediaConfig) -> Self {
        let runtime = Runtime::new().unwrap();
        let media = runtime
            .block_on(async { Media::start(MediaConfig { rtc_port: 0, ..config }) })
            .unwrap();
        Self { media, runtime }
    }

    /// Takes publishers by RTMP, each stream by the key `key-of-{stream}`; on a free port.
    pub fn listen_for_rtmp(&self, config: RtmpConfig) -> u16 {
        self.runtime.block_on(async {
            let rtmp = Rtmp::bind(RtmpConfig { port: 0, ..config }).await.unwrap();
            let port = rtmp.port();
            // Serves until its runtime ends.
            let _serving = rtmp.serve(&self.media, Arc::new(Keys));
            port
        })
    }

    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    pub fn stop(&self) {
        self.runtime.block_on(self.media.stop());
    }

    /// RTSP for its paths, on a free port.
    pub fn rtsp(&self, keys: Arc<dyn StreamKeys>) -> (SocketAddr, RtspServer) {
        self.runtime.block_on(async {
            let address = Ipv4Addr::LOCALHOST.into();
            let limits = ConnectionLimits { all: 16, per_address: 16 };
            let config = RtspConfig { address, port: 0, limits };
            let rtsp = Rtsp::bind(config).await.unwrap();
            ((address, rtsp.port()).into(), rtsp.serve(&self.media, keys))
        })
    }

    /// A path whose publisher is echoed to its readers.
    pub fn echo(&self, size: FrameSize) -> (Arc<dyn MediaPath>, mpsc::Receiver<IngressEvent>) {
        let (events, received) = mpsc::channel();
        let sink = Arc::new(Echo { size, path: OnceLock::new(), last_id: Mutex::new(0), events });
        let path = self.media.open("echo", sink.clone());
        let _ = sink.path.set(Arc::downgrade(&path));
        (path, received)
    }
}

struct Keys;

impl StreamKeys for Keys {
    fn stream_of(&self, stream_key: &str) -> Option<String> {
        stream_key.strip_prefix("key-of-").map(str::to_owned)
    }
}

/// A reader of a path, not connected yet.
pub fn offer_to_play(
    path: &dyn MediaPath,
    codecs: &[Codec],
    link: Link,
) -> Result<Client, OfferError> {
    Client::play(codecs, link, |offer| path.play(offer).map(answered))
}

/// A publisher to a path, not connected yet.
pub fn offer_to_publish(
    path: &dyn MediaPath,
    codec: Codec,
    link: Link,
) -> Result<Client, OfferError> {
    Client::publish(codec, link, |offer| path.publish(offer).map(answered))
}

/// A reader of video and audio.
pub fn offer_to_play_both(path: &dyn MediaPath, codec: Codec) -> Result<Client, OfferError> {
    Client::play_both(&[codec], Client::udp(), |offer| path.play(offer).map(answered))
}

/// A publisher of video, and of sound if there is any; audio is offered in either case.
pub fn publisher_of_both(
    path: &dyn MediaPath,
    clip: Arc<Clip>,
    sound: Option<Arc<Sound>>,
) -> Publisher {
    let exchange = |offer: &str| path.publish(offer).map(answered);
    let client = Client::publish_both(clip.codec, Client::udp(), exchange).unwrap();
    Publisher::start_both(client, clip, 30, sound)
}

/// Publishes a clip over and over.
pub fn publisher(path: &dyn MediaPath, clip: Arc<Clip>) -> Publisher {
    let client = offer_to_publish(path, clip.codec, Client::udp()).unwrap();
    Publisher::start(client, clip, 30)
}

fn answered(answer: Answer) -> Answered {
    Answered { session: answer.session.0, sdp: answer.sdp }
}

struct Echo {
    size: FrameSize,
    path: OnceLock<Weak<dyn MediaPath>>,
    last_id: Mutex<u64>,
    events: mpsc::Sender<IngressEvent>,
}

impl IngressSink for Echo {
    fn lease(&self) -> Option<Box<dyn FrameSlot>> {
        Some(Box::new(Pixels::black(self.size)))
    }

    fn fit(&self) -> Fit {
        Fit::Crop
    }

    fn put(&self, frame: Frame) {
        let mut last_id = self.last_id.lock().unwrap();
        assert!(frame.stamp.id > *last_id && frame.stamp.captured_at <= Instant::now());
        *last_id = frame.stamp.id;
        if let Some(path) = self.path.get().and_then(Weak::upgrade) {
            path.show(frame);
        }
    }

    fn on(&self, event: IngressEvent) {
        let _ = self.events.send(event);
    }
}

/// Frame memory of a test's own.
pub struct Pixels(FrameSize, Vec<u8>);

impl Pixels {
    pub fn black(size: FrameSize) -> Self {
        Self(size, vec![0; size.bytes()])
    }

    /// A frame of one brightness.
    pub fn plain(size: FrameSize, brightness: u8) -> Frame {
        let stamp = FrameStamp { id: 1, captured_at: Instant::now() };
        Frame::new(stamp, Box::new(Self(size, vec![brightness; size.bytes()])))
    }
}

impl FrameSlot for Pixels {
    fn size(&self) -> FrameSize {
        self.0
    }
    fn pixels(&self) -> &[u8] {
        &self.1
    }
    fn pixels_mut(&mut self) -> &mut [u8] {
        &mut self.1
    }
    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}
