//! Publishers by RTMP and RTSP whose sound comes later or earlier than the pictures of its moment, by the wall clock: by
//! their own clocks both are of one moment, and at one moment they are seen and heard.

#![allow(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

mod rtmp;
mod rtsp;
#[path = "../rtsp_support/mod.rs"]
mod rtsp_support;
#[path = "../support/mod.rs"]
mod support;

use host_media::RtmpConfig;
use host_ports::{FrameSize, MediaPath, OfferError, StreamKeys};
use rtsp_support::proxy::holding_back;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::{Server, offer_to_play_both};
use test_peer::{Client, Codec, Lags, PATIENCE, lags};

const SIZE: FrameSize = FrameSize::new(64, 64);
/// How far apart people take sound and picture for one (ITU-R BT.1359, sound early).
const APART_MS: f64 = 45.0;
/// How much later one of both comes.
const LATE: Duration = Duration::from_millis(200);

/// A flash and a beep once a second, for ffmpeg to make.
const FLASH: &str =
    "-re -f lavfi -i color=black:s=64x64:r=30,geq=lum='if(lt(mod(T,1),0.1),235,16)':cb=128:cr=128";
const BEEP: &str = "-f lavfi -i aevalsrc='if(lt(mod(t,1),0.1),sin(6283*t)/2,0)':sample_rate=48000:channel_layout=mono";
const AS_IT_COMES: &str =
    "-c:v libx264 -preset ultrafast -tune zerolatency -g 30 -pix_fmt yuv420p -c:a aac";

/// As encoders are set for streaming: with pictures that refer to later ones, which are sent before them.
const OUT_OF_ORDER: &str =
    "-c:v libx264 -preset veryfast -bf 3 -b_strategy 0 -g 30 -pix_fmt yuv420p -c:a aac";

/// Who holds back what.
#[derive(Clone, Copy, Debug, Default)]
struct Held {
    video: Duration,
    audio: Duration,
}

const LATE_SOUND: Held = Held { video: Duration::ZERO, audio: LATE };
const EARLY_SOUND: Held = Held { video: LATE, audio: Duration::ZERO };

struct Keys;

impl StreamKeys for Keys {
    fn stream_of(&self, stream_key: &str) -> Option<String> {
        (stream_key == "stk_1").then(|| "echo".to_owned())
    }
}

/// ffmpeg at work; ended with the test.
struct Ffmpeg(Child);

impl Ffmpeg {
    fn command(line: &str) -> Command {
        let mut command = Command::new("ffmpeg");
        command.args(["-v", "error", "-nostdin"]).args(line.split_ascii_whitespace());
        command
    }

    fn start(line: &str) -> Self {
        let child = Self::command(line).stdin(Stdio::null()).spawn();
        Self(child.expect("ffmpeg is installed"))
    }
}

impl Drop for Ffmpeg {
    fn drop(&mut self) {
        // Both fail when it has ended.
        let _ = (self.0.kill(), self.0.wait());
    }
}

/// What a reader sees and hears for some seconds, once all has settled.
fn watch(path: &dyn MediaPath, seconds: u64) -> Lags {
    let give_up = Instant::now() + PATIENCE;
    let mut reader: Client = loop {
        match offer_to_play_both(path, Codec::H264) {
            Ok(client) => break client,
            Err(OfferError::NotReady) => assert!(Instant::now() < give_up, "nothing was shown"),
            Err(error) => panic!("{error}"),
        }
    };
    // Until the reader was told the clock of both tracks, and a key frame came after that.
    let warm = Instant::now() + Duration::from_secs(3);
    let (mut frames, mut end) = (Vec::new(), None);
    while end.is_none_or(|end| Instant::now() < end) {
        let received = reader.step();
        if end.is_none() {
            reader.heard.clear();
            if Instant::now() < warm {
                continue;
            }
            if !received.iter().any(|frame| frame.is_keyframe()) {
                reader.ask_for_key_frame();
                continue;
            }
            end = Some(Instant::now() + Duration::from_secs(seconds));
        }
        frames.extend(received);
    }
    let heard = std::mem::take(&mut reader.heard);
    let lags = lags(&reader, Codec::H264, &frames, &heard);
    println!("audio later by {:.1?} ms, {} flashes without", lags.each, lags.silent);
    lags
}

/// One picture that a busy machine held up is no fault of the clocks.
fn assert_in_step(lags: &Lags, least: usize) {
    assert!(lags.each.len() >= least && lags.silent <= 1, "{:?} {}", lags.each, lags.silent);
    assert!(lags.within(0.6) < APART_MS, "{:?}", lags.each);
}

fn by_rtmp(held: Held, first: u32, jump: Option<rtmp::Jump>) -> Lags {
    let server = Server::start();
    let (path, _events) = server.echo(SIZE);
    let port = server.listen_for_rtmp(RtmpConfig::default());
    let _publisher = rtmp::Publisher::start((port, "key-of-echo"), held, first, jump);
    watch(&*path, 5)
}

#[test]
fn by_rtmp_sound_that_comes_late_is_heard_with_its_picture() {
    assert_in_step(&by_rtmp(LATE_SOUND, 0, None), 4);
}

#[test]
fn by_rtmp_sound_that_comes_early_is_too_also_when_the_clock_begins_again() {
    assert_in_step(&by_rtmp(EARLY_SOUND, u32::MAX - 5500, None), 4);
}

#[test]
fn by_rtmp_the_clocks_stay_together_when_they_jump() {
    for by in [3_600_000, -3_600_000] {
        let jump = rtmp::Jump { after: 5500, by };
        let lags = by_rtmp(EARLY_SOUND, 10_000_000, Some(jump));
        assert_in_step(&lags, 3);
    }
}

#[test]
fn by_rtmp_pictures_that_are_sent_out_of_order_keep_step() {
    let server = Server::start();
    let (path, _events) = server.echo(SIZE);
    let port = server.listen_for_rtmp(RtmpConfig::default());
    let line = format!(
        "{FLASH} -re {BEEP} {OUT_OF_ORDER} -f flv rtmp://127.0.0.1:{port}/live/key-of-echo"
    );
    let _publisher = Ffmpeg::start(&line);
    assert_in_step(&watch(&*path, 5), 4);
}

#[test]
fn by_rtsp_in_the_connection_what_ffmpeg_sends_keeps_step_however_it_is_held_up() {
    for (held, encoding) in [(LATE_SOUND, AS_IT_COMES), (EARLY_SOUND, OUT_OF_ORDER)] {
        let server = Server::start();
        let (path, _events) = server.echo(SIZE);
        let (address, _serving) = server.rtsp(Arc::new(Keys));
        let proxy = holding_back(address, move |channel| match channel {
            0 | 1 => held.video,
            _ => held.audio,
        });
        let line = format!(
            "{FLASH} -re {BEEP} {encoding} -f rtsp -rtsp_transport tcp rtsp://{proxy}/echo?key=stk_1"
        );
        let _publisher = Ffmpeg::start(&line);
        assert_in_step(&watch(&*path, 5), 4);
    }
}

fn by_udp(held: Held, reports: rtsp::Reports) -> Lags {
    let server = Server::start();
    let (path, _events) = server.echo(SIZE);
    let (address, _serving) = server.rtsp(Arc::new(Keys));
    let _publisher = rtsp::Publisher::start(address, held, reports);
    watch(&*path, 4)
}

#[test]
fn by_udp_reports_bring_sound_and_picture_together() {
    for held in [LATE_SOUND, EARLY_SOUND] {
        assert_in_step(&by_udp(held, rtsp::Reports::True), 3);
    }
}

#[test]
fn without_a_word_on_its_clocks_or_with_a_lie_sound_is_heard_as_it_comes() {
    for reports in [rtsp::Reports::None, rtsp::Reports::HourApart] {
        let lags = by_udp(LATE_SOUND, reports);
        let late = LATE.as_secs_f64() * 1000.0;
        assert!(lags.each.len() >= 3, "{:?}", lags.each);
        assert!((lags.mean() - late).abs() < 70.0, "{:?}", lags.each);
    }
}
