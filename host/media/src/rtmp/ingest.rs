//! Takes publishers that come by RTMP. Each has a task of its own, and is told why it is refused.

use super::chunk::{Message, kind};
use super::flv::{self, Audio, AvcHeader, FlvError, Video};
use super::handshake;
use super::server::{Event, Server, ServerError};
use crate::codecs::Codec;
use crate::path::Path;
use crate::paths::Paths;
use crate::places::{ConnectionLimits, Places};
use crate::publisher::Publisher;
use crate::server::Media;
use crate::unit::AudioFormat;
use host_ports::{OfferError, StreamKeys};
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How much is read at once.
const BUFFER: usize = 32 << 10;

/// A key frame of the largest picture that is decoded has less.
const MAX_MEDIA: usize = 4 << 20;

/// How long a publisher that was refused may take to read why.
const FAREWELL: Duration = Duration::from_secs(2);

#[derive(Clone, Debug)]
pub struct RtmpConfig {
    pub address: IpAddr,
    /// 0 takes any free one.
    pub port: u16,
    pub limits: ConnectionLimits,
    /// How long a connection may take until it publishes, and a publisher may send nothing.
    pub timeout: Duration,
}

impl Default for RtmpConfig {
    fn default() -> Self {
        Self {
            address: Ipv4Addr::UNSPECIFIED.into(),
            port: 1935,
            limits: ConnectionLimits { all: 100, per_address: 10 },
            timeout: Duration::from_secs(10),
        }
    }
}

/// Bound, not yet serving.
pub struct Rtmp {
    listener: TcpListener,
    port: u16,
    config: RtmpConfig,
}

/// Serving.
pub struct RtmpServer {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Rtmp {
    pub async fn bind(config: RtmpConfig) -> io::Result<Self> {
        let listener = TcpListener::bind((config.address, config.port)).await?;
        let port = listener.local_addr()?.port();
        Ok(Self { listener, port, config })
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Takes publishers of the streams whose keys they know.
    pub fn serve(self, media: &Media, keys: Arc<dyn StreamKeys>) -> RtmpServer {
        let stop = CancellationToken::new();
        let door = Door {
            keys,
            paths: media.paths().clone(),
            timeout: self.config.timeout,
            stop: stop.clone(),
        };
        let places = Places::new("rtmp", self.config.limits);
        let task = tokio::spawn(listen(self.listener, Arc::new(door), places));
        RtmpServer { stop, task }
    }
}

impl RtmpServer {
    /// Frees the port and ends all connections.
    pub async fn stop(self) {
        self.stop.cancel();
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the RTMP listener ended with a panic");
        }
    }
}

/// What all connections have in common.
struct Door {
    keys: Arc<dyn StreamKeys>,
    paths: Arc<Paths>,
    timeout: Duration,
    stop: CancellationToken,
}

/// Ends when all connections have.
async fn listen(listener: TcpListener, door: Arc<Door>, places: Arc<Places>) {
    let tasks = TaskTracker::new();
    loop {
        let (stream, remote, place) = tokio::select! {
            accepted = places.accept(&listener) => accepted,
            () = door.stop.cancelled() => break,
        };
        let door = door.clone();
        tasks.spawn(async move {
            let (ended, stream) = serve(stream, &door).await;
            match stream {
                Some(path) => {
                    tracing::info!(path, %remote, reason = %ended, "rtmp publisher ended")
                }
                None => tracing::debug!(%remote, reason = %ended, "rtmp connection ended"),
            }
            drop(place);
        });
    }
    drop(listener);
    tasks.close();
    tasks.wait().await;
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("the publisher ended")]
    Orderly,
    #[error("the publisher closed the connection")]
    Closed,
    #[error("the connection broke: {0}")]
    Broken(#[from] io::Error),
    #[error("it did not publish in time, or sent nothing for too long")]
    Silent,
    #[error("the server stops")]
    Stopped,
    #[error("a newer publisher took the stream, or the stream ended")]
    Replaced,
    #[error(
        "no stream has this key; publish to rtmp://HOST/live/KEY, where KEY is the stream's `stream_key`"
    )]
    UnknownKey,
    #[error(transparent)]
    Protocol(#[from] ServerError),
    #[error(transparent)]
    Media(#[from] FlvError),
    #[error(transparent)]
    Path(#[from] OfferError),
}

impl Ended {
    /// What the publisher is told, if it is there to be told anything.
    fn code(&self) -> Option<&'static str> {
        match self {
            Self::Orderly | Self::Closed | Self::Broken(_) => None,
            // Told already where it can be.
            Self::Protocol(_) => None,
            Self::UnknownKey => Some("NetStream.Publish.BadName"),
            Self::Silent | Self::Stopped | Self::Replaced => Some("NetStream.Publish.Rejected"),
            Self::Media(_) | Self::Path(_) => Some("NetStream.Publish.Failed"),
        }
    }
}

/// Why it ended, and the stream that was published to, if it came to that.
async fn serve(mut stream: TcpStream, door: &Door) -> (Ended, Option<String>) {
    let (mut server, mut publishing) = (Server::new(), None);
    let ended = match run(&mut stream, &mut server, &mut publishing, door).await {
        Ok(never) => match never {},
        Err(ended) => ended,
    };
    // Gone before it is told so.
    let path =
        publishing.take().and_then(|publishing| Some(publishing.publisher?.path_name().to_owned()));
    if let Some(code) = ended.code() {
        server.refuse(code, &ended.to_string());
    }
    // It may be gone.
    let _ = timeout(FAREWELL, farewell(&mut stream, &server.out)).await;
    (ended, path)
}

/// Says the last, and reads on until the peer has read it: what lies unread when a connection is closed takes with it
/// what was sent.
async fn farewell(stream: &mut TcpStream, last: &[u8]) -> io::Result<()> {
    stream.write_all(last).await?;
    stream.shutdown().await?;
    let mut buffer = [0; 4096];
    while stream.read(&mut buffer).await? > 0 {}
    Ok(())
}

async fn run(
    stream: &mut TcpStream,
    server: &mut Server,
    publishing: &mut Option<Publishing>,
    door: &Door,
) -> Result<std::convert::Infallible, Ended> {
    stream.set_nodelay(true)?;
    let mut silent_at = Instant::now() + door.timeout;
    let shaken = tokio::select! {
        shaken = timeout_at(silent_at, handshake::accept(stream)) => shaken,
        () = door.stop.cancelled() => return Err(Ended::Stopped),
    };
    shaken.map_err(|_| Ended::Silent)??;
    let mut buffer = vec![0; BUFFER];
    loop {
        let read = tokio::select! {
            read = timeout_at(silent_at, stream.read(&mut buffer)) => read,
            () = replaced(publishing) => return Err(Ended::Replaced),
            () = door.stop.cancelled() => return Err(Ended::Stopped),
        };
        let count = read.map_err(|_| Ended::Silent)??;
        if count == 0 {
            return Err(Ended::Closed);
        }
        server.count(count);
        let mut input = &buffer[..count];
        while let Some(event) = server.read(&mut input)? {
            match (event, publishing.as_mut()) {
                (Event::Publish { address }, _) => {
                    *publishing = Some(Publishing::new(open(door, &address)?));
                    server.accept(MAX_MEDIA);
                }
                (Event::Media(message), Some(publishing)) => {
                    publishing.take(&message)?;
                    if publishing.publisher.is_some() {
                        silent_at = Instant::now() + door.timeout;
                    }
                }
                (Event::Media(_), None) => {}
                (Event::Ended, _) => return Err(Ended::Orderly),
            }
        }
        if !server.out.is_empty() {
            let written = tokio::select! {
                written = timeout(door.timeout, stream.write_all(&server.out)) => written,
                () = door.stop.cancelled() => return Err(Ended::Stopped),
            };
            written.map_err(|_| Ended::Silent)??;
            server.out.clear();
        }
    }
}

async fn replaced(publishing: &Option<Publishing>) {
    match publishing.as_ref().and_then(|publishing| publishing.publisher.as_ref()) {
        Some(publisher) => publisher.ended().cancelled().await,
        None => std::future::pending().await,
    }
}

fn open(door: &Door, address: &str) -> Result<Arc<Path>, Ended> {
    let key = key_of(address).ok_or(Ended::UnknownKey)?;
    let stream = door.keys.stream_of(key).ok_or(Ended::UnknownKey)?;
    door.paths.get(&stream).ok_or(Ended::UnknownKey)
}

/// The key in `live/{stream_key}`. Encoders split an address in different places, and some add what they were told beside
/// it.
fn key_of(address: &str) -> Option<&str> {
    let key = address.trim_matches('/').strip_prefix("live/")?;
    let key = key.split('?').next()?.trim_matches('/');
    (!key.is_empty()).then_some(key)
}

/// One publisher's tracks.
struct Publishing {
    /// Until it publishes, it keeps no stream.
    path: Weak<Path>,
    tracks: Tracks,
    /// From the first key frame on.
    publisher: Option<Publisher>,
}

impl Publishing {
    fn new(path: Arc<Path>) -> Self {
        Self { path: Arc::downgrade(&path), tracks: Tracks::default(), publisher: None }
    }

    fn take(&mut self, message: &Message) -> Result<(), Ended> {
        let now = std::time::Instant::now();
        match self.tracks.read(message)? {
            Some(Packet::Video { is_key_frame, data, time }) => {
                // Only now: who sends nothing that can be shown takes no stream from another.
                if self.publisher.is_none() && is_key_frame {
                    let path = self.path.upgrade().ok_or(Ended::UnknownKey)?;
                    let publisher = path.begin_publishing(Codec::H264)?;
                    // All messages have one clock.
                    publisher.related(0);
                    self.publisher = Some(publisher);
                    tracing::info!(path = %path.state.name, "rtmp publisher connected");
                }
                if let Some(publisher) = &mut self.publisher {
                    // False until the next key frame, which cannot be asked for.
                    publisher.video(data.into(), time, now);
                }
            }
            Some(Packet::Audio { format, data, time }) => {
                if let Some(publisher) = &mut self.publisher {
                    publisher.audio(&format, data.into(), time, now);
                }
            }
            None => {}
        }
        Ok(())
    }
}

enum Packet<'a> {
    Video { is_key_frame: bool, data: Vec<u8>, time: Duration },
    Audio { format: Arc<AudioFormat>, data: &'a [u8], time: Duration },
}

/// What has been told of the tracks.
#[derive(Default)]
struct Tracks {
    video: Option<AvcHeader>,
    audio: Option<Arc<AudioFormat>>,
    clock: Clock,
}

impl Tracks {
    fn read<'a>(&mut self, message: &'a Message) -> Result<Option<Packet<'a>>, FlvError> {
        let time = self.clock.read(message.timestamp);
        if message.kind == kind::AUDIO {
            return Ok(match flv::read_audio(&message.data)? {
                Audio::Header(format) => {
                    self.audio = Some(format);
                    None
                }
                Audio::Frame(data) => {
                    self.audio.clone().map(|format| Packet::Audio { format, data, time })
                }
                Audio::Nothing => None,
            });
        }
        match (flv::read_video(&message.data)?, &self.video) {
            (Video::Header(header), _) => {
                self.video = Some(header);
                Ok(None)
            }
            (Video::Frame { is_key_frame, shown_after, units }, Some(header)) => {
                let data = header.byte_stream(is_key_frame, units)?;
                let after = Duration::from_millis(shown_after.unsigned_abs().into());
                let time = match shown_after < 0 {
                    true => time.saturating_sub(after),
                    false => time + after,
                };
                Ok(Some(Packet::Video { is_key_frame, data, time }))
            }
            (Video::Frame { .. } | Video::Nothing, _) => Ok(None),
        }
    }
}

/// Milliseconds that begin again every 49 days.
#[derive(Default)]
struct Clock {
    last: Option<u32>,
    milliseconds: u64,
}

impl Clock {
    fn read(&mut self, timestamp: u32) -> Duration {
        // Far from 0, since the time may also go back.
        let last = self.last.replace(timestamp);
        self.milliseconds = match last {
            Some(last) => {
                let step = timestamp.wrapping_sub(last) as i32;
                self.milliseconds.saturating_add_signed(step.into())
            }
            None => 1 << 40,
        };
        Duration::from_millis(self.milliseconds)
    }
}

/// For fuzz targets: as a connection does, without one.
pub(super) fn read_alone(bytes: &[u8], pieces: usize) -> bool {
    let (mut server, mut tracks) = (Server::new(), Tracks::default());
    for mut input in bytes.chunks(bytes.len().div_ceil(pieces.max(1)).max(1)) {
        server.count(input.len());
        loop {
            match server.read(&mut input) {
                Ok(Some(Event::Publish { address })) => {
                    key_of(&address);
                    server.accept(MAX_MEDIA);
                }
                Ok(Some(Event::Media(message))) => {
                    if tracks.read(&message).is_err() {
                        return false;
                    }
                }
                Ok(Some(Event::Ended)) => return true,
                Ok(None) => break,
                Err(_) => return false,
            }
        }
        assert!(server.out.len() <= 1 << 20, "{} bytes to answer", server.out.len());
        server.out.clear();
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_found_wherever_an_encoder_splits_the_address() {
        for address in ["live/key", "live//key", "live/key/", "/live/key?token=1", "live/key?a/b"] {
            assert_eq!(key_of(address), Some("key"), "{address}");
        }
        for address in ["", "live", "live/", "live/?a", "other/key", "key"] {
            assert_eq!(key_of(address), None, "{address}");
        }
    }

    #[test]
    fn a_picture_is_shown_later_or_earlier_than_its_message_on_the_clock_of_the_sound() {
        let message = |kind, timestamp, data: &[u8]| Message {
            kind,
            stream: 1,
            timestamp,
            data: data.to_vec(),
        };
        let header = [0x17, 0, 0, 0, 0, 1, 66, 0, 30, 0xff, 0xe1, 0, 1, 0x67, 1, 0, 1, 0x68];
        let mut tracks = Tracks::default();
        let mut time =
            |kind, timestamp, data: &[u8]| match tracks.read(&message(kind, timestamp, data)) {
                Ok(Some(Packet::Video { time, .. } | Packet::Audio { time, .. })) => Some(time),
                Ok(None) => None,
                Err(error) => panic!("{error}"),
            };
        assert_eq!(time(kind::VIDEO, 5, &header), None);
        assert_eq!(time(kind::AUDIO, 5, &[0xaf, 0, 0x11, 0x90]), None);
        let heard = time(kind::AUDIO, 5, &[0xaf, 1, 1]).unwrap();
        let frame = |after: [u8; 3]| [&[0x27, 1][..], &after, &[0, 0, 0, 1, 0x41]].concat();
        let ms = Duration::from_millis;
        assert_eq!(time(kind::VIDEO, 5, &frame([0, 0, 0])), Some(heard));
        assert_eq!(time(kind::VIDEO, 45, &frame([0, 1, 0])), Some(heard + ms(40 + 256)));
        assert_eq!(time(kind::VIDEO, 85, &frame([0xff, 0xff, 0xd8])), Some(heard + ms(40)));
    }

    #[test]
    fn time_goes_on_when_its_field_begins_again() {
        let mut clock = Clock::default();
        let first = clock.read(u32::MAX - 9);
        assert_eq!(clock.read(10) - first, Duration::from_millis(20));
        assert_eq!(clock.read(5) - first, Duration::from_millis(15));
    }
}
