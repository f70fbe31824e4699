//! RTSP with ffmpeg, GStreamer and a client by hand: what goes in comes out, by TCP and UDP, and nobody gets further than
//! they may.

#![allow(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

mod programs;
#[path = "../rtsp_support/mod.rs"]
mod rtsp_support;
#[path = "../support/mod.rs"]
mod support;

use host_media::{MediaConfig, RtspServer};
use host_ports::{FrameSize, IngressEvent, MediaPath, StreamKeys, VideoCodec, VideoSettings};
use programs::{
    colour, ffmpeg_fails, ffmpeg_hears, ffmpeg_plays, ffmpeg_publishes, gstreamer_plays,
    gstreamer_publishes,
};
use rtsp_support::client::Client;
use rtsp_support::proxy::losing;
use rtsp_support::track::{SDP, Track, VIDEO};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};
use support::{Pixels, Server, publisher};
use test_peer::{Clip, Codec, PATIENCE};

const SIZE: FrameSize = FrameSize::new(160, 120);
const RED: &str = "-f lavfi -i color=red:s=320x240:r=30";
const MOVING: &str = "-f lavfi -i testsrc=s=320x240:r=30";

struct Keys;

impl StreamKeys for Keys {
    fn stream_of(&self, stream_key: &str) -> Option<String> {
        (stream_key == "stk_1").then(|| "echo".to_owned())
    }
}

struct Rtsp {
    address: SocketAddr,
    _server: RtspServer,
    path: Arc<dyn MediaPath>,
    events: mpsc::Receiver<IngressEvent>,
    // Last, since the others live on its runtime.
    media: Server,
}

impl Rtsp {
    fn start() -> Self {
        Self::start_with(MediaConfig::default())
    }

    fn start_with(config: MediaConfig) -> Self {
        let media = Server::start_with(config);
        let (path, events) = media.echo(SIZE);
        let (address, server) = media.rtsp(Arc::new(Keys));
        Self { address, _server: server, path, events, media }
    }

    fn input(&self) -> String {
        format!("rtsp://{}/echo?key=stk_1", self.address)
    }

    fn output(&self) -> String {
        format!("rtsp://{}/echo_out", self.address)
    }

    fn expect(&self, event: IngressEvent) {
        assert_eq!(self.events.recv_timeout(PATIENCE), Ok(event));
    }

    /// Until so many pictures were decoded.
    fn decodes(&self, pictures: u64) {
        let give_up = Instant::now() + PATIENCE;
        while self.path.ingress_stats().frames_decoded < pictures {
            assert!(Instant::now() < give_up, "{pictures}: {:?}", self.path.ingress_stats());
            std::thread::yield_now();
        }
    }

    /// Until something was shown.
    fn wait_for_pictures(&self) {
        let give_up = Instant::now() + PATIENCE;
        while Client::connect(self.address, "echo_out").ask("DESCRIBE", "", &[], "") != 200 {
            assert!(Instant::now() < give_up, "nothing was shown");
        }
    }
}

fn is_red(picture: &[u8]) -> bool {
    let [red, green, blue] = colour(picture);
    red > 200 && green < 40 && blue < 40
}

fn is_blue(picture: &[u8]) -> bool {
    let [red, green, blue] = colour(picture);
    red < 40 && green < 40 && blue > 200
}

#[test]
fn ffmpeg_publishes_and_plays_in_the_connection() {
    let rtsp = Rtsp::start();
    let publisher = ffmpeg_publishes(RED, "", "tcp", &rtsp.input());
    rtsp.expect(IngressEvent::PublisherConnected);
    rtsp.wait_for_pictures();
    let pictures = ffmpeg_plays("tcp", &rtsp.output(), 20);
    assert!(pictures.iter().all(|picture| is_red(picture)), "{:?}", colour(&pictures[0]));
    let ingress = rtsp.path.ingress_stats();
    assert!(ingress.is_publishing && ingress.codec == Some("H264"), "{ingress:?}");
    assert!(ingress.packets_received > 20 && ingress.packets_lost == 0, "{ingress:?}");
    drop(publisher);
    rtsp.expect(IngressEvent::PublisherGone);
    // The output goes on without a publisher.
    assert!(is_red(&ffmpeg_plays("tcp", &rtsp.output(), 3)[2]));
}

#[test]
fn ffmpeg_publishes_and_plays_by_udp() {
    let rtsp = Rtsp::start();
    let _publisher = ffmpeg_publishes(MOVING, "", "udp", &rtsp.input());
    rtsp.wait_for_pictures();
    let pictures = ffmpeg_plays("udp", &rtsp.output(), 20);
    assert!(pictures.windows(2).any(|pair| pair[0] != pair[1]), "the picture moves");
    assert!(pictures.iter().all(|picture| colour(picture).iter().all(|mean| *mean > 60)));
}

#[test]
fn gstreamer_plays_what_ffmpeg_publishes_in_other_codecs() {
    let codecs = [
        ("libvpx -deadline realtime -cpu-used 8", VideoCodec::Vp8),
        ("libvpx-vp9 -deadline realtime -cpu-used 8", VideoCodec::Vp9),
        ("libx265 -preset ultrafast -tune zerolatency", VideoCodec::H265),
    ];
    for (encoder, codec) in codecs {
        let rtsp = Rtsp::start();
        rtsp.path.set_video(VideoSettings { codec, ..VideoSettings::default() });
        let encoding = format!("-c:v {encoder} -g 30 -pix_fmt yuv420p -strict experimental");
        let _publisher = ffmpeg_publishes(RED, &encoding, "tcp", &rtsp.input());
        rtsp.wait_for_pictures();
        let name = codec.name().to_ascii_uppercase();
        assert_eq!(rtsp.path.ingress_stats().codec, Some(name.as_str()));
        for protocols in ["tcp", "udp"] {
            let pictures = gstreamer_plays(protocols, &rtsp.output(), 10);
            assert!(pictures.iter().all(|picture| is_red(picture)), "{:?}", colour(&pictures[0]));
        }
        assert!(is_red(&ffmpeg_plays("tcp", &rtsp.output(), 5)[4]));
        assert_eq!(rtsp.path.egress_stats().codecs, [name]);
    }
}

#[test]
fn audio_goes_beside_the_video() {
    let rtsp = Rtsp::start();
    let source = format!("{RED} -f lavfi -i sine=frequency=500:sample_rate=48000");
    let codecs =
        "-c:v libx264 -preset ultrafast -tune zerolatency -g 30 -pix_fmt yuv420p -c:a aac -ac 2";
    let _publisher = ffmpeg_publishes(&source, codecs, "tcp", &rtsp.input());
    rtsp.wait_for_pictures();
    let samples = ffmpeg_hears(&rtsp.output(), 1.0);
    // The end: what came first may be cut off by the codec.
    let samples = &samples[samples.len() / 2..];
    let crossings = samples.windows(2).filter(|pair| (pair[0] < 0) != (pair[1] < 0)).count();
    let hertz = crossings as f64 / 2.0 / (samples.len() as f64 / 8000.0);
    assert!((450.0..=550.0).contains(&hertz), "{hertz} Hz of {} samples", samples.len());
    assert!(is_red(&ffmpeg_plays("tcp", &rtsp.output(), 5)[4]));
}

#[test]
fn only_the_stream_key_lets_a_publisher_in() {
    let rtsp = Rtsp::start();
    for login in ["", "any:stk_2@"] {
        let said = ffmpeg_fails(&format!("rtsp://{login}{}/echo", rtsp.address));
        assert!(said.contains("401"), "{said}");
    }
    // The key of another stream is as wrong.
    let said = ffmpeg_fails(&format!("rtsp://{}/other?key=stk_1", rtsp.address));
    assert!(said.contains("401"), "{said}");
    assert!(rtsp.events.try_recv().is_err());
    let with_password = format!("rtsp://any:stk_1@{}/echo", rtsp.address);
    let _publisher = ffmpeg_publishes(RED, "", "tcp", &with_password);
    rtsp.expect(IngressEvent::PublisherConnected);
    let mut client = Client::connect(rtsp.address, "echo?key=wrong");
    assert_eq!([0; 4].map(|_| client.ask("ANNOUNCE", "", &[], "v=0\r\n")), [401; 4]);
    assert!(client.is_closed(), "who guesses is let go");
}

#[test]
fn a_newer_publisher_replaces_the_older_one_through_every_door() {
    let rtsp = Rtsp::start();
    let mut by_rtsp = ffmpeg_publishes(RED, "", "tcp", &rtsp.input());
    rtsp.expect(IngressEvent::PublisherConnected);
    rtsp.wait_for_pictures();
    let by_whip = publisher(&*rtsp.path, Clip::plain(0x0000ff, Codec::H264, 320, 240));
    rtsp.expect(IngressEvent::PublisherConnected);
    by_rtsp.wait(PATIENCE);
    let blue = ffmpeg_plays("tcp", &rtsp.output(), 30);
    assert!(is_blue(&blue[29]), "{:?}", colour(&blue[29]));
    let _again = ffmpeg_publishes(RED, "", "tcp", &rtsp.input());
    rtsp.expect(IngressEvent::PublisherConnected);
    by_whip.wait_until_closed();
    let red = ffmpeg_plays("tcp", &rtsp.output(), 60);
    assert!(is_red(&red[59]), "{:?}", colour(&red[59]));
    assert!(rtsp.events.try_recv().is_err(), "the stream was never without a publisher");
}

#[test]
fn what_is_not_there_is_not_found_and_what_is_too_much_is_refused() {
    let rtsp = Rtsp::start_with(MediaConfig { max_readers: 1, ..MediaConfig::default() });
    let describe = |path| Client::connect(rtsp.address, path).ask("DESCRIBE", "", &[], "");
    // Nothing was shown on the first, the others are no outputs.
    assert_eq!(["echo_out", "echo", "other_out", ""].map(describe), [404; 4]);
    rtsp.path.show(Pixels::plain(SIZE, 200));
    let mut reader = Client::connect(rtsp.address, "echo_out");
    reader.play();
    assert_eq!(describe("echo_out"), 453);
    let mut other = Client::connect(rtsp.address, "echo_out");
    assert_eq!(other.ask("PLAY", "", &[], ""), 455);
    assert_eq!(other.ask("SING", "", &[], ""), 501);
    assert_eq!(other.ask("PLAY", "", &["Session: other"], ""), 454);
    assert_eq!(other.ask("OPTIONS", "", &["Require: www.onvif.org/ver20/backchannel"], ""), 551);
    assert_eq!(other.ask("SETUP", "/trackID=0", &["Transport: RTP/SAVP;unicast"], ""), 461);
    assert_eq!(reader.ask("TEARDOWN", "", &[], ""), 200);
    assert_eq!(describe("echo_out"), 200);
    let mut publisher = Client::connect(rtsp.address, "echo?key=stk_1");
    let sdp = "v=0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 AV1/90000\r\n";
    assert_eq!(publisher.ask("ANNOUNCE", "", &[], sdp), 415);
    assert!(publisher.body.contains("H264, VP8, VP9 or H265"), "{}", publisher.body);
}

#[test]
fn a_reader_sees_a_key_frame_first_and_reports_that_tell_the_time() {
    let rtsp = Rtsp::start();
    rtsp.path.show(Pixels::plain(SIZE, 200));
    let mut reader = Client::connect(rtsp.address, "echo_out");
    reader.play();
    assert!(reader.body.is_empty());
    let report = reader.packet();
    assert_eq!((report.channel, report.bytes[1]), (1, 200), "a sender report");
    let first = reader.packet();
    // Parameter sets, in one packet.
    assert_eq!(
        (first.channel, first.bytes[12] & 0x1f, first.bytes[13..15] == [0, 0]),
        (0, 24, false)
    );
    let reported = u32::from_be_bytes(report.bytes[16..20].try_into().unwrap());
    let apart = f64::from(first.timestamp().wrapping_sub(reported).cast_signed()) / 90.0;
    assert!(apart.abs() < 1000.0, "the picture is {apart} ms from the report's time");
}

#[test]
fn a_slow_reader_delays_nobody_and_goes_on_at_a_fresh_key_frame() {
    let rtsp = Rtsp::start();
    let noise = "-f lavfi -i nullsrc=s=160x120:r=30,geq=random(1)*255:128:128";
    let _publisher = ffmpeg_publishes(noise, "", "tcp", &rtsp.input());
    rtsp.wait_for_pictures();
    let mut slow = Client::connect(rtsp.address, "echo_out");
    slow.play();
    let before = loop {
        let packet = slow.packet();
        if packet.channel == 0 {
            break packet.timestamp();
        }
    };
    // Reads nothing while another one is shown seconds of video.
    let mut quick = Client::connect(rtsp.address, "echo_out");
    quick.play();
    let decoded = || rtsp.path.ingress_stats().frames_decoded;
    let (begun, already) = (Instant::now(), decoded());
    let (mut latest, mut pictures) = (0, 0_u64);
    while begun.elapsed() < Duration::from_secs(8) {
        let packet = quick.packet();
        if packet.channel == 0 && packet.timestamp() != latest {
            latest = packet.timestamp();
            pictures += 1;
        }
    }
    // As many as the machine has time for come in, and are encoded for the readers.
    let shown = decoded() - already;
    assert!(5 * pictures > 2 * shown, "the quick reader saw {pictures} of {shown} pictures");
    // What the system kept comes first; then there is a gap, and after it a key frame.
    let mut last = before;
    let resumed = loop {
        let packet = slow.packet();
        if packet.channel != 0 {
            continue;
        }
        let gap = packet.timestamp().wrapping_sub(last);
        last = packet.timestamp();
        if gap > 90_000 {
            break packet;
        }
    };
    assert_eq!(resumed.bytes[12] & 0x1f, 24, "it begins with parameter sets");
}

#[test]
fn a_publisher_may_change_its_pictures_size_and_is_missed_when_it_is_silent() {
    let rtsp = Rtsp::start();
    let mut client = Client::connect(rtsp.address, "echo?key=stk_1");
    assert_eq!(client.ask("ANNOUNCE", "", &[], SDP), 200, "{}", client.body);
    let mut video = Track::in_connection(&mut client, 4, VIDEO);
    assert_eq!(client.ask("RECORD", "", &[], ""), 200);
    rtsp.expect(IngressEvent::PublisherConnected);
    let small = Clip::plain(0xff0000, Codec::H264, 160, 120);
    let large = Clip::plain(0x0000ff, Codec::H264, 640, 480);
    let frames = small.frames.iter().chain(&large.frames);
    for (sent, frame) in (1_u32..).zip(frames) {
        video.picture(&mut client, Duration::from_secs(1) * sent / 30, frame);
        rtsp.decodes(sent.into());
    }
    let pictures = ffmpeg_plays("tcp", &rtsp.output(), 3);
    assert!(is_blue(&pictures[2]), "{:?}", colour(&pictures[2]));
    // It says nothing more.
    rtsp.expect(IngressEvent::PublisherGone);
    assert!(client.is_closed());
    rtsp.media.stop();
}

/// Whether a compound report ends with a request for a key frame of this source.
fn asks_for_key_frame(report: &[u8], source: u8) -> bool {
    report[1] == 201 && report.ends_with(&[0, 0, 0, source]) && {
        let feedback = &report[report.len() - 12..];
        feedback[..4] == [0x81, 206, 0, 2] && feedback[4..8] == report[4..8]
    }
}

#[test]
fn a_publisher_is_asked_for_a_key_frame_by_udp_and_in_the_connection() {
    for is_udp in [false, true] {
        let rtsp = Rtsp::start();
        let mut client = Client::connect(rtsp.address, "echo?key=stk_1");
        assert_eq!(client.ask("ANNOUNCE", "", &[], SDP), 200, "{}", client.body);
        let mut video = match is_udp {
            true => Track::by_udp(&mut client, rtsp.address, VIDEO),
            false => Track::in_connection(&mut client, 2, VIDEO),
        };
        assert_eq!(client.ask("RECORD", "", &[], ""), 200);
        let clip = Clip::noise(Codec::H264, 160, 120);
        let mut pictures =
            (0..).map(|number| Duration::from_secs(1) * number / 30).zip(&clip.frames);
        let mut send = |video: &mut Track, client: &mut Client| {
            let (time, frame) = pictures.next().unwrap();
            video.picture(client, time, frame);
        };
        for _ in 0..3 {
            send(&mut video, &mut client);
        }
        video.skip(1);
        // By UDP the lost packet is waited for, and given up when one comes after that.
        let begun = Instant::now();
        send(&mut video, &mut client);
        while begun.elapsed() < Duration::from_millis(60) {
            std::thread::yield_now();
        }
        send(&mut video, &mut client);
        let mut reports = (0..9).map(|_| video.receive(&mut client));
        assert!(reports.any(|report| asks_for_key_frame(&report, VIDEO.payload_type)));
        rtsp.decodes(3);
        video.picture(&mut client, Duration::from_secs(1), &clip.frames[0]);
        rtsp.decodes(4);
    }
}

#[test]
fn what_gstreamer_publishes_goes_on_after_a_loss_without_waiting_for_its_next_key_frame() {
    let rtsp = Rtsp::start();
    let is_losing = Arc::new(AtomicBool::new(false));
    let loses = is_losing.clone();
    let way = losing(rtsp.address, move || loses.swap(false, Relaxed));
    // A key frame every five minutes.
    let _publisher = gstreamer_publishes(&format!("rtsp://{way}/echo?key=stk_1"), 9000);
    let decoded = || rtsp.path.ingress_stats().frames_decoded;
    rtsp.decodes(30);
    for loss in 1..=3 {
        is_losing.store(true, Relaxed);
        let give_up = Instant::now() + PATIENCE;
        while rtsp.path.ingress_stats().packets_lost < loss {
            assert!(Instant::now() < give_up, "nothing was lost");
            std::thread::yield_now();
        }
        let begun = Instant::now();
        rtsp.decodes(decoded() + 30);
        println!("30 pictures {:?} after a loss", begun.elapsed());
    }
}
