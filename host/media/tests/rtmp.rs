//! RTMP with ffmpeg at the other end, and streams that go on to other servers whatever becomes of these.

#![allow(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

mod rtmp_support;
mod support;

use gstreamer as gst;
use gstreamer::prelude::*;
use host_media::{ConnectionLimits, MediaConfig, RestreamConfig, RtmpConfig};
use host_ports::{FrameSize, MediaPath, Restream, RestreamState, RestreamStats};
use rtmp_support::{Ffmpeg, Screen, Way, Ways, eventually};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use support::{Pixels, Server, offer_to_play};
use test_peer::{Client, Clip, Codec, PATIENCE};

const SIZE: FrameSize = FrameSize::new(160, 120);

/// Waits and pauses short enough for a test.
fn impatient() -> MediaConfig {
    let restream = RestreamConfig {
        connect_timeout: Duration::from_secs(2),
        stall_timeout: Duration::from_millis(700),
        backoff_first: Duration::from_millis(50),
        backoff_max: Duration::from_millis(200),
        ..RestreamConfig::default()
    };
    MediaConfig { restream, ..MediaConfig::default() }
}

fn address(port: u16, key: &str) -> String {
    format!("rtmp://127.0.0.1:{port}/live/{key}")
}

fn send_to(path: &dyn MediaPath, url: &str) {
    path.restream(Some(Restream { url: url.to_owned(), told: Box::new(|_| {}) }));
}

fn reach(path: &dyn MediaPath, what: &str, is_meant: impl Fn(&RestreamStats) -> bool) {
    eventually(what, || path.restream_stats().filter(|stats| is_meant(stats)));
}

fn is_live(stats: &RestreamStats) -> bool {
    stats.state == RestreamState::Live
}

#[test]
fn what_ffmpeg_publishes_is_seen_and_a_newer_publisher_takes_its_place() {
    let server = Server::start();
    let (_path, screen) = Screen::open(&server, "one", SIZE);
    let url = address(server.listen_for_rtmp(RtmpConfig::default()), "key-of-one");
    let mut first = Ffmpeg::publish("color=c=0x404040:s=160x120:r=30", &[], &url);
    screen.until("the first publisher's grey", |brightness| brightness.abs_diff(0x40) < 6);
    let _second = Ffmpeg::publish("color=c=0xc0c0c0:s=320x240:r=30", &[], &url);
    screen.until("the second publisher's grey", |brightness| brightness.abs_diff(0xc0) < 6);
    let said = first.end();
    assert!(said.contains("a newer publisher took the stream"), "{said}");
}

#[test]
fn what_gstreamer_publishes_is_seen() {
    let server = Server::start();
    let (path, screen) = Screen::open(&server, "one", SIZE);
    let url = address(server.listen_for_rtmp(RtmpConfig::default()), "key-of-one");
    let graph = format!(
        "flvmux name=mux streamable=true ! rtmp2sink location={url} \
         videotestsrc is-live=true pattern=solid-color foreground-color=0xff909090 \
         ! video/x-raw,width=160,height=120,framerate=30/1 ! x264enc tune=zerolatency speed-preset=ultrafast \
         ! h264parse ! mux. \
         audiotestsrc is-live=true ! avenc_aac ! aacparse ! mux."
    );
    let graph = gst::parse::launch(&graph).unwrap();
    graph.set_state(gst::State::Playing).unwrap();
    screen.until("the grey", |brightness| brightness.abs_diff(0x90) < 6);
    graph.set_state(gst::State::Null).unwrap();
    eventually("it is gone", || (!path.ingress_stats().is_publishing).then_some(()));
}

#[test]
fn pictures_that_were_coded_out_of_order_are_seen_in_order() {
    let server = Server::start();
    let (_path, screen) = Screen::open(&server, "one", SIZE);
    let url = address(server.listen_for_rtmp(RtmpConfig::default()), "key-of-one");
    let ramp = "color=c=black:s=160x120:r=30:d=3,format=yuv420p,geq=lum='20+2*N':cb=128:cr=128";
    let out_of_order =
        ["-tune:v", "psnr", "-bf", "3", "-b_strategy", "0", "-g", "200", "-qp", "10"];
    let mut ffmpeg = Ffmpeg::publish(ramp, &out_of_order, &url);
    screen.until("the end of the ramp", |brightness| brightness > 180);
    let seen = screen.seen();
    assert!(seen.is_sorted(), "{seen:?}");
    assert!(seen.len() > 60, "{}", seen.len());
    ffmpeg.end();
}

#[test]
fn who_is_not_wanted_is_told_why() {
    let server = Server::start();
    let (path, _screen) = Screen::open(&server, "one", SIZE);
    let port = server.listen_for_rtmp(RtmpConfig::default());
    let grey = "color=c=gray:s=160x120:r=30";
    for (key, options, reason) in [
        ("wrong", &[][..], "no stream has this key"),
        ("key-of-none", &[], "no stream has this key"),
        (
            "key-of-one",
            &["-f", "lavfi", "-i", "sine", "-c:a", "pcm_s16le"],
            "must be AAC, this is PCM",
        ),
    ] {
        let said = Ffmpeg::publish(grey, options, &address(port, key)).end();
        assert!(said.contains(reason), "{key}: {said}");
    }
    let player = Command::new("ffmpeg")
        .args(["-hide_banner", "-nostdin", "-i", &address(port, "key-of-one"), "-f", "null", "-"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&player.stderr);
    assert!(said.contains("watching is by WHEP"), "{said}");
    assert!(!path.ingress_stats().is_publishing);
}

#[test]
fn a_publisher_that_falls_silent_is_let_go() {
    let server = Server::start();
    let (path, screen) = Screen::open(&server, "one", SIZE);
    let timeout = Duration::from_secs(1);
    let port = server.listen_for_rtmp(RtmpConfig { timeout, ..RtmpConfig::default() });
    let ways = Ways::to(&server, port, None);
    let grey = "color=c=gray:s=160x120:r=30";
    let _publisher = Ffmpeg::publish(grey, &[], &address(ways.port, "key-of-one"));
    screen.until("a frame", |_| true);
    assert!(path.ingress_stats().is_publishing);
    ways.set(Way::Stalled);
    eventually("it is let go", || (!path.ingress_stats().is_publishing).then_some(()));
}

#[test]
fn strangers_and_the_silent_are_closed() {
    let server = Server::start();
    let timeout = Duration::from_millis(300);
    let limits = ConnectionLimits { all: 2, per_address: 2 };
    let config = RtmpConfig { timeout, limits, ..RtmpConfig::default() };
    let port = server.listen_for_rtmp(config);
    let connect = || {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    };
    let is_closed = |mut stream: TcpStream| {
        let mut rest = Vec::new();
        let read = stream.read_to_end(&mut rest);
        read.is_ok() || read.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset)
    };
    let mut stranger = connect();
    stranger.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    assert!(is_closed(stranger));
    let (first, second) = (connect(), connect());
    assert!(is_closed(connect()), "a third one is closed");
    assert!(is_closed(first) && is_closed(second), "they say nothing");
}

/// How long it takes until a frame that is shown here is seen there.
fn age(source: &dyn MediaPath, there: &Screen, brightness: u8) -> Duration {
    let shown_at = Instant::now();
    source.show(Pixels::plain(SIZE, brightness));
    there.until("the frame", |seen| seen.abs_diff(brightness) < 3);
    shown_at.elapsed()
}

#[test]
fn a_stream_goes_on_to_another_and_is_moved_and_stopped() {
    let server = Server::start_with(impatient());
    let port = server.listen_for_rtmp(RtmpConfig::default());
    let (source, _) = Screen::open(&server, "source", SIZE);
    let (there_path, there) = Screen::open(&server, "there", SIZE);
    let (elsewhere_path, elsewhere) = Screen::open(&server, "elsewhere", SIZE);
    send_to(&*source, &address(port, "key-of-there"));
    let waiting = source.restream_stats().unwrap();
    assert_eq!((waiting.state, waiting.error), (RestreamState::Waiting, None), "nothing to show");
    source.show(Pixels::plain(SIZE, 200));
    there.until("the grey of the source", |brightness| brightness.abs_diff(200) < 8);
    reach(&*source, "it is live", |stats| is_live(stats) && stats.bytes_sent > 1000);
    let mut ages: Vec<_> = (0..20).map(|n| age(&*source, &there, 30 + 8 * n)).collect();
    ages.sort_unstable();
    println!("encoded, sent, decoded: p50 {:?}, p95 {:?}", ages[10], ages[19]);
    assert!(ages[10] < Duration::from_millis(200), "{ages:?}");
    source.show(Pixels::plain(FrameSize::new(96, 64), 60));
    there.until("its grey in another size", |brightness| brightness.abs_diff(60) < 8);

    send_to(&*source, &address(port, "key-of-elsewhere"));
    elsewhere.until("the same", |brightness| brightness.abs_diff(60) < 8);
    eventually("the first is left", || (!there_path.ingress_stats().is_publishing).then_some(()));
    source.restream(None);
    assert_eq!(source.restream_stats(), None);
    eventually("the second is left", || {
        (!elsewhere_path.ingress_stats().is_publishing).then_some(())
    });
    assert_eq!(source.egress_stats().readers, 0);
}

#[test]
fn a_server_that_refuses_is_tried_again_and_its_words_are_told_without_the_key() {
    let server = Server::start_with(impatient());
    let port = server.listen_for_rtmp(RtmpConfig::default());
    let (source, _) = Screen::open(&server, "source", SIZE);
    source.show(Pixels::plain(SIZE, 200));
    send_to(&*source, &address(port, "key-of-later"));
    reach(&*source, "it was tried again", |stats| stats.reconnects >= 2);
    let error = source.restream_stats().unwrap().error.unwrap();
    assert!(error.contains("no stream has this key"), "{error}");
    let (_path, later) = Screen::open(&server, "later", SIZE);
    later.until("the grey of the source", |brightness| brightness.abs_diff(200) < 8);
    reach(&*source, "the error is over", |stats| is_live(stats) && stats.error.is_none());

    send_to(&*source, "rtmp://127.0.0.1:1/live/topsecret");
    reach(&*source, "nobody is there", |stats| stats.error.is_some());
    let error = source.restream_stats().unwrap().error.unwrap();
    assert!(error.contains("no connection to the server") && !error.contains("topsecret"));
}

#[test]
fn a_server_that_takes_nothing_delays_no_viewer_and_is_left_and_found_again() {
    // Much for little time: the buffers on the way are soon full.
    let server = Server::start_with(MediaConfig { bitrate_kbps: 20_000, ..impatient() });
    let port = server.listen_for_rtmp(RtmpConfig::default());
    let (source, screen) = Screen::open(&server, "source", FrameSize::new(320, 240));
    screen.shows(&source);
    let (_path, there) = Screen::open(&server, "there", SIZE);
    let _publisher = support::publisher(&*source, Clip::noise(Codec::Vp8, 320, 240));
    screen.until("a frame", |_| true);
    let mut viewer = offer_to_play(&*source, &[Codec::H264], Client::udp()).unwrap();
    let ways = Ways::to(&server, port, None);
    send_to(&*source, &address(ways.port, "key-of-there"));
    viewer.frames(1);
    let before =
        Flow::of(&mut viewer, "both are served", |frames| frames > 60 && !there.seen().is_empty());

    ways.set(Way::Stalled);
    let has_left = |stats: Option<RestreamStats>| {
        stats.and_then(|stats| stats.error).is_some_and(|error| error.contains("took nothing"))
    };
    let stalled =
        Flow::of(&mut viewer, "the server is left", |_| has_left(source.restream_stats()));
    println!("at the viewer: {before:?}, then {stalled:?}");
    // A busy machine delays it, too, and before as much.
    let allowed = Duration::from_millis(500) + before.longest_pause;
    assert!(stalled.rate > before.rate / 2.0 && stalled.longest_pause < allowed);

    ways.set(Way::Open);
    reach(&*source, "it is live again", is_live);
    let seen = there.seen().len();
    eventually("it shows more", || (there.seen().len() > seen + 10).then_some(()));
    ways.set(Way::Cut);
    reach(&*source, "the cut is noticed", |stats| stats.state == RestreamState::Waiting);
    ways.set(Way::Open);
    reach(&*source, "it is live again", is_live);
}

/// How frames came to a viewer.
#[derive(Debug)]
struct Flow {
    /// Frames per second.
    rate: f64,
    longest_pause: Duration,
}

impl Flow {
    /// Watches until it is over, by the number of frames. A viewer has to read all the time: what it does not take in time
    /// is lost.
    fn of(viewer: &mut Client, what: &str, is_over: impl Fn(usize) -> bool) -> Self {
        let (began, mut last) = (Instant::now(), Instant::now());
        let (mut frames, mut longest_pause) = (0, Duration::ZERO);
        viewer.until(what, |_, received| {
            longest_pause = longest_pause.max(last.elapsed());
            if !received.is_empty() {
                last = Instant::now();
                frames += received.len();
            }
            is_over(frames)
        });
        Self { rate: frames as f64 / began.elapsed().as_secs_f64(), longest_pause }
    }
}

/// Receives as a platform does, until so much has come.
fn receive(seconds: &str, file: &Path, source: impl FnOnce(&str)) {
    let url = format!("rtmp://127.0.0.1:{}/app/topsecret", rtmp_support::free_port());
    let file = file.to_str().unwrap();
    let args = ["-listen", "1", "-i", &url, "-t", seconds, "-c", "copy", "-f", "flv", "-y", file];
    let mut receiver = Ffmpeg::start(&args);
    source(&url);
    let said = receiver.end();
    assert!(Path::new(file).exists(), "{said}");
}

fn tracks(file: &Path) -> String {
    let fields = "stream=codec_name,sample_rate,channels";
    let probe = ["-v", "error", "-show_entries", fields, "-of", "csv=p=0"];
    let output = Command::new("ffprobe").args(probe).arg(file).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// The mean volume in dB.
fn volume(file: &Path) -> f64 {
    let file = file.to_str().unwrap();
    let filter = ["-af", "volumedetect", "-vn", "-f", "null", "-"];
    let said = Ffmpeg::start(&[&["-i", file][..], &filter].concat()).end();
    let mean = said.split("mean_volume: ").nth(1).unwrap_or_else(|| panic!("{said}"));
    mean.split(' ').next().unwrap().parse().unwrap()
}

fn brightness(file: &Path) -> u8 {
    let raw = ["-vf", "scale=16:16", "-pix_fmt", "gray", "-f", "rawvideo", "-"];
    let output = Command::new("ffmpeg").args(["-v", "error", "-i"]).arg(file).args(raw).output();
    *output.unwrap().stdout.last().unwrap()
}

#[test]
fn ffmpeg_receives_the_pictures_with_silence_or_the_publishers_sound() {
    let server = Server::start_with(impatient());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("silent.flv");
    let (still, _) = Screen::open(&server, "still", SIZE);
    still.show(Pixels::plain(SIZE, 200));
    receive("3", &file, |url| send_to(&*still, url));
    assert_eq!(tracks(&file), "h264\naac,48000,2\n");
    assert!(brightness(&file).abs_diff(200) < 8, "{}", brightness(&file));
    assert!(volume(&file) < -80.0);

    let file = folder.path().join("loud.flv");
    let (path, screen) = Screen::open(&server, "one", SIZE);
    screen.shows(&path);
    let url = address(server.listen_for_rtmp(RtmpConfig::default()), "key-of-one");
    let sine = ["-f", "lavfi", "-i", "sine=r=44100", "-c:a", "aac", "-b:a", "96k"];
    let _publisher = Ffmpeg::publish("color=c=0x404040:s=160x120:r=30", &sine, &url);
    eventually("it is heard", || (path.ingress_stats().audio_packets > 0).then_some(()));
    screen.until("it is seen", |_| true);
    receive("4", &file, |url| send_to(&*path, url));
    assert!(volume(&file) > -40.0, "{}", volume(&file));
    assert_eq!(tracks(&file), "h264\naac,44100,1\n", "the publisher's own from the start");
}

#[test]
fn rtmps_reaches_only_servers_whose_certificate_is_in_order() {
    let authority = rtmp_support::Authority::new();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("authority.pem");
    std::fs::write(&file, authority.pem()).unwrap();
    let mut config = impatient();
    config.restream.authorities = Some(file);
    for (config, is_trusted) in [(config, true), (impatient(), false)] {
        let server = Server::start_with(config);
        let port = server.listen_for_rtmp(RtmpConfig::default());
        let (source, _) = Screen::open(&server, "source", SIZE);
        let (_path, there) = Screen::open(&server, "there", SIZE);
        source.show(Pixels::plain(SIZE, 200));
        let ways = Ways::to(&server, port, Some(authority.acceptor()));
        send_to(&*source, &format!("rtmps://localhost:{}/live/key-of-there", ways.port));
        if is_trusted {
            there.until("the grey of the source", |brightness| brightness.abs_diff(200) < 8);
        } else {
            reach(&*source, "it is refused", |stats| stats.error.is_some());
            let error = source.restream_stats().unwrap().error.unwrap();
            assert!(error.contains("no secure connection") && error.contains("UnknownIssuer"));
            assert!(there.seen().is_empty());
        }
    }
}
