//! A WebRTC client made from the sans-IO library: real UDP or TCP sockets, time from the clock.

use crate::PATIENCE;
use crate::sound::Sound;
use crate::video::{Clip, Codec};
use socket2::{Domain, Socket, Type};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};
use str0m::change::{SdpAnswer, SdpPendingOffer};
use str0m::media::{
    Direction, Frequency, KeyframeRequestKind, MediaData, MediaKind, MediaTime, Mid, Pt,
    SenderFeedback,
};
use str0m::net::{Protocol, Receive, TcpType, Transmit};
use str0m::{Candidate, Event, IceConnectionState, Input, Output, Rtc, RtcConfig};

/// How long one look at the socket may take.
const PACE: Duration = Duration::from_millis(5);

pub enum Link {
    Udp(UdpSocket),
    /// Bound, and connected as soon as there is something to send; with what was received of the next packet.
    Tcp {
        local: SocketAddr,
        bound: Option<Socket>,
        stream: Option<TcpStream>,
        pending: Vec<u8>,
    },
}

/// What a server makes of an offer.
pub struct Answered {
    /// Names the session to the server.
    pub session: String,
    pub sdp: String,
}

/// One peer connection with one video track, and perhaps one of audio.
pub struct Client {
    rtc: Rtc,
    link: Link,
    mid: Mid,
    audio: Option<Mid>,
    /// Audio that came and was not taken yet.
    pub heard: Vec<MediaData>,
    /// The last report on each track's clock.
    reports: Vec<SenderFeedback>,
    pub session: String,
    pub is_connected: bool,
    pub is_closed: bool,
    /// The server asked for a key frame.
    is_asked_for_key_frame: bool,
    /// The answer, for tests of its text.
    pub answer: String,
}

fn config(codecs: &[Codec]) -> RtcConfig {
    RtcConfig::new()
        .set_crypto_provider(Arc::new(str0m::crypto::from_feature_flags()))
        .clear_codecs()
        .enable_h264(codecs.contains(&Codec::H264))
        .enable_vp8(codecs.contains(&Codec::Vp8))
        .enable_vp9(codecs.contains(&Codec::Vp9))
        .enable_h265(codecs.contains(&Codec::H265))
        .enable_opus(true, false)
        .set_reordering_size_video(400)
        .set_reordering_timeout_video(Some(Duration::from_millis(300)))
}

/// An offer as a client of these codecs makes it.
fn offer(
    codecs: &[Codec],
    (direction, has_audio): (Direction, bool),
    link: &Link,
) -> (Rtc, (Mid, Option<Mid>), String, SdpPendingOffer) {
    let mut rtc = config(codecs).build(Instant::now());
    let candidate = match link {
        Link::Udp(socket) => Candidate::host(socket.local_addr().unwrap(), Protocol::Udp).unwrap(),
        Link::Tcp { local, .. } => {
            Candidate::builder().tcp().host(*local).tcptype(TcpType::Active).build().unwrap()
        }
    };
    rtc.add_local_candidate(candidate);
    let mut changes = rtc.sdp_api();
    let mid = changes.add_media(MediaKind::Video, direction, None, None, None);
    let audio = has_audio.then(|| changes.add_media(MediaKind::Audio, direction, None, None, None));
    let (offer, pending) = changes.apply().unwrap();
    (rtc, (mid, audio), offer.to_sdp_string(), pending)
}

impl Client {
    pub fn udp() -> Link {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.set_read_timeout(Some(PACE)).unwrap();
        Link::Udp(socket)
    }

    pub fn tcp() -> Link {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
        let local = socket.local_addr().unwrap().as_socket().unwrap();
        Link::Tcp { local, bound: Some(socket), stream: None, pending: Vec::new() }
    }

    /// A reader; `exchange` takes the offer to the server and brings its answer.
    pub fn play<E>(
        codecs: &[Codec],
        link: Link,
        exchange: impl FnOnce(&str) -> Result<Answered, E>,
    ) -> Result<Self, E> {
        Self::open(codecs, (Direction::RecvOnly, false), link, exchange)
    }

    /// A reader of video and audio.
    pub fn play_both<E>(
        codecs: &[Codec],
        link: Link,
        exchange: impl FnOnce(&str) -> Result<Answered, E>,
    ) -> Result<Self, E> {
        Self::open(codecs, (Direction::RecvOnly, true), link, exchange)
    }

    /// A publisher, which sends nothing by itself.
    pub fn publish<E>(
        codec: Codec,
        link: Link,
        exchange: impl FnOnce(&str) -> Result<Answered, E>,
    ) -> Result<Self, E> {
        Self::open(&[codec], (Direction::SendOnly, false), link, exchange)
    }

    /// A publisher of video and audio.
    pub fn publish_both<E>(
        codec: Codec,
        link: Link,
        exchange: impl FnOnce(&str) -> Result<Answered, E>,
    ) -> Result<Self, E> {
        Self::open(&[codec], (Direction::SendOnly, true), link, exchange)
    }

    fn open<E>(
        codecs: &[Codec],
        tracks: (Direction, bool),
        link: Link,
        exchange: impl FnOnce(&str) -> Result<Answered, E>,
    ) -> Result<Self, E> {
        let (mut rtc, (mid, audio), offer, pending) = offer(codecs, tracks, &link);
        let Answered { session, sdp: answer } = exchange(&offer)?;
        rtc.sdp_api().accept_answer(pending, SdpAnswer::from_sdp_string(&answer).unwrap()).unwrap();
        if let Some(sent) = rtc.direct_api().stream_tx_by_mid(mid, None) {
            sent.set_rtx_cache(1024, Duration::from_secs(1), Some(0.5));
        }
        Ok(Self {
            rtc,
            link,
            mid,
            audio,
            heard: Vec::new(),
            reports: Vec::new(),
            session,
            is_connected: false,
            is_closed: false,
            is_asked_for_key_frame: false,
            answer,
        })
    }

    /// Does what is due and waits a moment for a packet. Returns received frames.
    pub fn step(&mut self) -> Vec<MediaData> {
        let mut frames = Vec::new();
        while !self.is_closed {
            match self.rtc.poll_output() {
                Ok(Output::Timeout(_)) => break,
                Ok(Output::Transmit(packet)) => self.send(packet),
                Ok(Output::Event(Event::Connected)) => self.is_connected = true,
                Ok(Output::Event(Event::MediaData(data))) if Some(data.mid) == self.audio => {
                    self.heard.push(data);
                }
                Ok(Output::Event(Event::MediaData(data))) => frames.push(data),
                Ok(Output::Event(Event::SenderFeedback(report))) => {
                    self.reports.retain(|other| other.mid != report.mid);
                    self.reports.push(report);
                }
                Ok(Output::Event(Event::KeyframeRequest(_))) => self.is_asked_for_key_frame = true,
                Ok(Output::Event(Event::IceConnectionStateChange(
                    IceConnectionState::Disconnected,
                )))
                | Err(_) => {
                    self.is_closed = true;
                }
                Ok(Output::Event(_)) => {}
            }
        }
        self.is_closed |= !self.rtc.is_alive();
        self.receive();
        frames
    }

    fn send(&mut self, packet: Transmit) {
        match &mut self.link {
            Link::Udp(socket) => drop(socket.send_to(&packet.contents, packet.destination)),
            Link::Tcp { bound, stream, .. } => {
                let stream = stream.get_or_insert_with(|| {
                    let socket = bound.take().unwrap();
                    socket.connect(&packet.destination.into()).unwrap();
                    socket.set_read_timeout(Some(PACE)).unwrap();
                    socket.into()
                });
                let length = u16::try_from(packet.contents.len()).unwrap().to_be_bytes();
                let _ = stream.write_all(&[&length, &packet.contents[..]].concat());
            }
        }
    }

    fn receive(&mut self) {
        let mut bytes = vec![0; 65536];
        let now = Instant::now;
        match &mut self.link {
            Link::Udp(socket) => match socket.recv_from(&mut bytes) {
                Ok((count, source)) => {
                    let local = socket.local_addr().unwrap();
                    let received =
                        Receive::new(Protocol::Udp, source, local, &bytes[..count]).unwrap();
                    let _ = self.rtc.handle_input(Input::Receive(now(), received));
                }
                Err(error)
                    if [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind()) =>
                {
                    let _ = self.rtc.handle_input(Input::Timeout(now()));
                }
                Err(error) => panic!("udp: {error}"),
            },
            Link::Tcp { local, stream: Some(stream), pending, .. } => {
                if let Ok(count) = stream.read(&mut bytes) {
                    self.is_closed |= count == 0;
                    pending.extend_from_slice(&bytes[..count]);
                }
                let Ok(remote) = stream.peer_addr() else {
                    self.is_closed = true;
                    return;
                };
                // One packet at a time: everything that it causes is sent before the next is looked at.
                let length = pending.get(..2).map_or(usize::MAX - 2, |length| {
                    usize::from(u16::from_be_bytes([length[0], length[1]]))
                });
                if let Some(packet) = pending.get(2..2 + length) {
                    let received = Receive::new(Protocol::Tcp, remote, *local, packet).unwrap();
                    let _ = self.rtc.handle_input(Input::Receive(now(), received));
                    pending.drain(..2 + length);
                }
                let _ = self.rtc.handle_input(Input::Timeout(now()));
            }
            Link::Tcp { .. } => drop(self.rtc.handle_input(Input::Timeout(now()))),
        }
    }

    /// Goes on until `done`, at most as long as tests have patience.
    pub fn until(&mut self, what: &str, mut done: impl FnMut(&mut Self, Vec<MediaData>) -> bool) {
        let give_up = Instant::now() + PATIENCE;
        loop {
            let frames = self.step();
            if done(self, frames) {
                return;
            }
            let state = (self.is_connected, self.is_closed);
            assert!(
                Instant::now() < give_up,
                "waited in vain until {what}; (connected, closed) is {state:?}"
            );
        }
    }

    pub fn connect(&mut self) {
        self.until("connected", |client, _| client.is_connected);
    }

    /// Receives this many frames.
    pub fn frames(&mut self, count: usize) -> Vec<MediaData> {
        let mut all = Vec::new();
        self.until("enough frames came", |_, frames| {
            all.extend(frames);
            all.len() >= count
        });
        all
    }

    pub fn ask_for_key_frame(&mut self) {
        let mut writer = self.rtc.writer(self.mid).unwrap();
        writer.request_keyframe(None, KeyframeRequestKind::Pli).unwrap();
    }

    /// When this was captured, by the server's clock; none before it told of that.
    pub fn moment(&self, data: &MediaData) -> Option<SystemTime> {
        let report = self.reports.iter().find(|report| report.mid == data.mid)?;
        let rate = if Some(data.mid) == self.audio { 48_000.0 } else { 90_000.0 };
        let reported = report.sender_info.rtp_time.numer() as u32;
        let ahead = (data.time.numer() as u32).wrapping_sub(reported) as i32;
        let offset = Duration::from_secs_f64(f64::from(ahead.unsigned_abs()) / rate);
        let wall = report.sender_info.ntp_time;
        Some(if ahead < 0 { wall - offset } else { wall + offset })
    }

    /// Sends a frame that was captured `at`, this long after the first.
    fn write(&mut self, codec: Codec, frame: &Arc<[u8]>, (at, time): (Instant, Duration)) {
        let wanted = match codec {
            Codec::H264 => str0m::format::Codec::H264,
            Codec::Vp8 => str0m::format::Codec::Vp8,
            Codec::Vp9 => str0m::format::Codec::Vp9,
            Codec::H265 => str0m::format::Codec::H265,
        };
        let time = MediaTime::from_90khz((time.as_nanos() * 90_000 / 1_000_000_000) as u64);
        if let Some(pt) = self.payload(self.mid, wanted)
            && let Some(writer) = self.rtc.writer(self.mid)
        {
            let _ = writer.write(pt, at, time, frame.clone());
        }
    }

    fn write_audio(&mut self, packet: &Arc<[u8]>, (at, samples): (Instant, u64)) {
        let Some(mid) = self.audio else { return };
        let time = MediaTime::new(samples, Frequency::FORTY_EIGHT_KHZ);
        if let Some(pt) = self.payload(mid, str0m::format::Codec::Opus)
            && let Some(writer) = self.rtc.writer(mid)
        {
            let _ = writer.write(pt, at, time, packet.clone());
        }
    }

    fn payload(&mut self, mid: Mid, codec: str0m::format::Codec) -> Option<Pt> {
        let writer = self.rtc.writer(mid)?;
        writer
            .payload_params()
            .find(|params| params.spec().codec == codec)
            .map(|params| params.pt())
    }
}

/// A client that publishes a clip over and over on a thread of its own, until dropped or closed by the server; it begins
/// anew when a key frame is asked for.
pub struct Publisher {
    pub session: String,
    pub answer: String,
    stop: Arc<AtomicBool>,
    ended: mpsc::Receiver<()>,
    thread: Option<JoinHandle<()>>,
}

impl Publisher {
    /// Goes on once the client is connected.
    pub fn start(client: Client, clip: Arc<Clip>, fps: u32) -> Self {
        Self::start_both(client, clip, fps, None)
    }

    /// The same with sound, which starts with the first frame and with each round of its own.
    pub fn start_both(
        mut client: Client,
        clip: Arc<Clip>,
        fps: u32,
        sound: Option<Arc<Sound>>,
    ) -> Self {
        client.connect();
        let (session, answer) = (client.session.clone(), client.answer.clone());
        let stop = Arc::new(AtomicBool::new(false));
        let (end, ended) = mpsc::channel();
        let is_stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            publish(&mut client, (&clip, fps), sound.as_deref(), &is_stopped);
            let _ = end.send(());
        });
        Self { session, answer, stop, ended, thread: Some(thread) }
    }

    /// Waits until the server has ended the session.
    pub fn wait_until_closed(&self) {
        self.ended.recv_timeout(PATIENCE).expect("the server ends the session");
    }
}

fn publish(
    client: &mut Client,
    (clip, fps): (&Clip, u32),
    sound: Option<&Sound>,
    is_stopped: &AtomicBool,
) {
    let (started, mut sent, mut first, mut said) = (Instant::now(), 0, 0, 0);
    while !is_stopped.load(Ordering::Relaxed) && !client.is_closed {
        client.step();
        let time = Duration::from_secs(1) * sent / fps;
        if started.elapsed() >= time {
            if std::mem::take(&mut client.is_asked_for_key_frame) && !clip.keeps_time {
                first = sent;
            }
            let frame = &clip.frames[(sent - first) as usize % clip.frames.len()];
            client.write(clip.codec, frame, (started + time, time));
            sent += 1;
        }
        let Some(sound) = sound else { continue };
        // A packet is whole only once its last sample was captured.
        let captured = started + Sound::PACKET * said;
        if captured + Sound::PACKET <= Instant::now() {
            let packet = &sound.packets[said as usize % sound.packets.len()];
            client.write_audio(packet, (captured, u64::from(said) * 960));
            said += 1;
        }
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}
