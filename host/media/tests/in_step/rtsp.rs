//! Publishers by RTSP that hold one track back: a way for ffmpeg, and one of our own by UDP.

use crate::Held;
use crate::client::Client;
use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use str0m::unversioned::{H264Packetizer, Packetizer};
use test_peer::{Clip, Codec, Sound};

/// How often a publisher looks at the clock.
const PACE: Duration = Duration::from_millis(1);

/// A way to a server on which one client's tracks are held back; the first is video. Ends with the client.
pub fn proxy(server: SocketAddr, held: Held) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (client, _) = listener.accept().unwrap();
        let there = TcpStream::connect(server).unwrap();
        let (mut answers, mut asking) = (there.try_clone().unwrap(), client.try_clone().unwrap());
        std::thread::spawn(move || std::io::copy(&mut answers, &mut asking));
        let (sender, receiver) = channel();
        std::thread::spawn(move || let_go(&receiver, there));
        let mut client = BufReader::new(client);
        while let Ok(Some((bytes, channel))) = next(&mut client) {
            let held = match channel {
                None => Duration::ZERO,
                Some(0 | 1) => held.video,
                Some(_) => held.audio,
            };
            if sender.send((Instant::now() + held, bytes)).is_err() {
                return;
            }
        }
    });
    address
}

/// The next request, or packet with its channel.
fn next(client: &mut BufReader<TcpStream>) -> std::io::Result<Option<(Vec<u8>, Option<u8>)>> {
    if client.fill_buf()?.first() == Some(&b'$') {
        let mut bytes = vec![0; 4];
        client.read_exact(&mut bytes)?;
        let length = usize::from(u16::from_be_bytes([bytes[2], bytes[3]]));
        bytes.resize(4 + length, 0);
        client.read_exact(&mut bytes[4..])?;
        let channel = bytes[1];
        return Ok(Some((bytes, Some(channel))));
    }
    // A line of a request or of its body.
    let mut line = Vec::new();
    client.read_until(b'\n', &mut line)?;
    Ok((!line.is_empty()).then_some((line, None)))
}

/// Passes on what is due.
fn let_go(receiver: &Receiver<(Instant, Vec<u8>)>, mut there: TcpStream) {
    let mut waiting: VecDeque<(Instant, Vec<u8>)> = VecDeque::new();
    loop {
        let now = Instant::now();
        while waiting.front().is_some_and(|(due, _)| *due <= now) {
            let Some((_, bytes)) = waiting.pop_front() else { return };
            if there.write_all(&bytes).is_err() {
                return;
            }
        }
        let next = waiting.front().map_or(Duration::from_secs(1), |(due, _)| *due - now);
        match receiver.recv_timeout(next) {
            Ok(one) => {
                let place = waiting.partition_point(|(due, _)| *due <= one.0);
                waiting.insert(place, one);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// What a publisher says of its clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reports {
    None,
    True,
    /// That its sound is of another hour than its pictures.
    HourApart,
}

/// Sends a flash and a beep a second by UDP.
pub struct Publisher {
    stop: Option<Sender<()>>,
    sending: Option<JoinHandle<()>>,
}

/// A track on its way.
struct Track {
    media: UdpSocket,
    reports: UdpSocket,
    payload_type: u8,
    rate: u32,
    /// Its clock begins anywhere.
    begin: u32,
    sequence: u16,
    /// Seconds that its reports are off by.
    off: u64,
}

const SDP: &str = "v=0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=control:0\r\n\
    m=audio 0 RTP/AVP 97\r\na=rtpmap:97 opus/48000/2\r\na=control:1\r\n";

impl Publisher {
    pub fn start(server: SocketAddr, held: Held, reports: Reports) -> Self {
        let mut client = Client::connect(server, "echo?key=stk_1");
        assert_eq!(client.ask("ANNOUNCE", "", &[], SDP), 200, "{}", client.body);
        let mut video = Track::set_up(&mut client, server, ("/0", 96, 90_000));
        let mut audio = Track::set_up(&mut client, server, ("/1", 97, 48_000));
        audio.off = if reports == Reports::HourApart { 3600 } else { 0 };
        assert_eq!(client.ask("RECORD", "", &[], ""), 200);
        let (clip, sound) = (Clip::flash(Codec::H264, 64), Sound::beep(1000));
        let (stop, stopped) = channel();
        let sending = std::thread::spawn(move || {
            // The publisher ends with its connection.
            let _client = client;
            let (started, mut shown, mut said, mut told) = (Instant::now(), 0_u32, 0_u32, 0_u32);
            while stopped.recv_timeout(PACE) == Err(RecvTimeoutError::Timeout) {
                let now = started.elapsed();
                let time = Duration::from_secs(1) * shown / 30;
                if now >= time + held.video {
                    let frame = &clip.frames[shown as usize % clip.frames.len()];
                    let payloads = H264Packetizer::default().packetize(1200, frame).unwrap();
                    video.send(time, &payloads);
                    shown += 1;
                }
                let time = Sound::PACKET * said;
                if now >= time + Sound::PACKET + held.audio {
                    audio.send(time, &[sound.packets[said as usize % 50].to_vec()]);
                    said += 1;
                }
                if reports != Reports::None && now >= Duration::from_millis(700) * told {
                    video.report(now);
                    audio.report(now);
                    told += 1;
                }
            }
        });
        Self { stop: Some(stop), sending: Some(sending) }
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.stop = None;
        let _ = self.sending.take().map(JoinHandle::join);
    }
}

impl Track {
    fn set_up(
        client: &mut Client,
        server: SocketAddr,
        (name, payload_type, rate): (&str, u8, u32),
    ) -> Self {
        let bind = || UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = |socket: &UdpSocket| socket.local_addr().unwrap().port();
        let (media, reports) = (bind(), bind());
        let ports = format!("{}-{}", port(&media), port(&reports));
        let transport = format!("Transport: RTP/AVP;unicast;client_port={ports};mode=record");
        assert_eq!(client.ask("SETUP", name, &[&transport], ""), 200);
        let theirs = client.head.split("server_port=").nth(1).unwrap();
        let mut theirs = theirs.split(|each: char| !each.is_ascii_digit());
        for socket in [&media, &reports] {
            let port: u16 = theirs.next().unwrap().parse().unwrap();
            socket.connect((server.ip(), port)).unwrap();
        }
        let begin = u32::MAX - 3 * rate;
        Self { media, reports, payload_type, rate, begin, sequence: 65_000, off: 0 }
    }

    fn timestamp(&self, time: Duration) -> u32 {
        let ticks = time.as_nanos() * u128::from(self.rate) / 1_000_000_000;
        self.begin.wrapping_add(ticks as u32)
    }

    fn send(&mut self, time: Duration, payloads: &[Vec<u8>]) {
        for (index, payload) in payloads.iter().enumerate() {
            self.sequence = self.sequence.wrapping_add(1);
            let marker = u8::from(index + 1 == payloads.len()) << 7;
            let mut packet = vec![0x80, marker | self.payload_type];
            packet.extend(self.sequence.to_be_bytes());
            packet.extend(self.timestamp(time).to_be_bytes());
            packet.extend([0, 0, 0, self.payload_type]);
            packet.extend(payload);
            // The server may have gone.
            let _ = self.media.send(&packet);
        }
    }

    fn report(&self, time: Duration) {
        let seconds = 3_900_000_000 + self.off + time.as_secs();
        let part = (u64::from(time.subsec_nanos()) << 32) / 1_000_000_000;
        let mut packet = vec![0x80, 200, 0, 6, 0, 0, 0, self.payload_type];
        packet.extend((seconds << 32 | part).to_be_bytes());
        packet.extend(self.timestamp(time).to_be_bytes());
        packet.extend([0; 8]);
        let _ = self.reports.send(&packet);
    }
}
