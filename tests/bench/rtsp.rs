//! Glass to glass by RTSP alone: a clock is painted, published and played by programs that hold no picture back.

use crate::Verdict;
use serde_json::json;
use std::io::{Read, Write};
use std::process::{ChildStdin, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use tests::ffmpeg::{H264, Running, program};
use tests::host::Host;
use tests::libraries::library;

const SIDE: usize = 512;
const FPS: u64 = 30;
/// The clock: milliseconds in so many bits, each a column, black over white or white over black.
const BITS: usize = 16;
const WARM_UP: Duration = Duration::from_secs(3);
const MEASURED: Duration = Duration::from_secs(10);
/// The bar for the median, in milliseconds.
const P50: f64 = 150.0;

/// Publisher and reader as who reads and how.
const RUNS: [(&str, &str); 4] =
    [("ffmpeg", "tcp"), ("ffmpeg", "udp"), ("gst-launch-1.0", "tcp"), ("gst-launch-1.0", "udp")];

pub fn run() -> Vec<Verdict> {
    let host = Host::start(&[library("passthrough")]);
    RUNS.iter().flat_map(|(reader, transport)| measure(&host, reader, transport)).collect()
}

fn measure(host: &Host, reader: &str, transport: &str) -> Vec<Verdict> {
    let stream = host.create("passthrough", json!({"width": SIDE, "height": SIDE}));
    let (id, key) = (stream.text("id"), stream.text("stream_key"));
    let begun = Instant::now();
    let (_publisher, paper) = publisher(transport, &host.rtsp(&format!("{id}?key={key}")));
    thread::spawn(move || paint(paper, begun));
    stream.wait_until("frames flow", |status| {
        status["data"]["host_status"]["frames"]["processed"].as_u64() > Some(30)
    });
    let asked_at = Instant::now();
    let mut player = player(reader, transport, &host.rtsp(&format!("{id}_out")));
    let mut pictures = player.0.stdout.take().expect("stdout is piped");
    let mut picture = vec![0; SIDE * SIDE];
    let (mut first, mut ages, mut unreadable) = (None, Vec::new(), 0.0);
    while asked_at.elapsed() < WARM_UP + MEASURED {
        pictures.read_exact(&mut picture).expect("pictures come");
        let now = begun.elapsed().as_millis() as u64;
        first.get_or_insert(asked_at.elapsed());
        if asked_at.elapsed() < WARM_UP {
            continue;
        }
        match read(&picture) {
            Some(painted) => ages.push((now.wrapping_sub(painted) & 0xffff) as f64),
            None => unreadable += 1.0,
        }
    }
    stream.delete();
    ages.sort_by(f64::total_cmp);
    let at = |share: f64| {
        ages.get((ages.len() as f64 * share) as usize).copied().unwrap_or(f64::INFINITY)
    };
    let fps = ages.len() as f64 / MEASURED.as_secs_f64();
    println!(
        "{reader} by {transport}: glass to glass p50 {} ms, p95 {} ms, min {} ms, {fps:.1} fps, first picture after {:?}",
        at(0.5),
        at(0.95),
        at(0.0),
        first.unwrap_or_default()
    );
    let name = |what: &str| format!("{reader} by {transport}: {what}");
    vec![
        Verdict::new(name("glass to glass p50"), at(0.5), P50, "ms"),
        Verdict::new(name("unreadable frames"), unreadable, 0.0, "frames"),
    ]
}

fn publisher(transport: &str, url: &str) -> (Running, ChildStdin) {
    let line = format!(
        "-loglevel error -f rawvideo -pix_fmt gray -s {SIDE}x{SIDE} -r {FPS} -i - {H264} -f rtsp -rtsp_transport {transport} {url}"
    );
    let mut publisher = program("ffmpeg", &line);
    let mut child = publisher.stdin(Stdio::piped()).spawn().expect("ffmpeg is installed");
    let paper = child.stdin.take().expect("stdin is piped");
    (Running(child), paper)
}

fn player(reader: &str, transport: &str, url: &str) -> Running {
    let line = match reader {
        "ffmpeg" => format!(
            "-loglevel error -threads 1 -fflags nobuffer -flags low_delay -probesize 32 -analyzeduration 0 -max_delay 0 \
             -rtsp_transport {transport} -i {url} -fps_mode passthrough -f rawvideo -pix_fmt gray -"
        ),
        _ => format!(
            "-q rtspsrc location={url} protocols={transport} latency=0 ! rtph264depay ! h264parse ! avdec_h264 max-threads=1 ! \
             videoconvert ! video/x-raw,format=GRAY8 ! fdsink fd=1 sync=false"
        ),
    };
    let child = program(reader, &line).stdout(Stdio::piped()).spawn();
    Running(child.unwrap_or_else(|error| panic!("{reader} is installed: {error}")))
}

/// Until nobody takes the pictures.
fn paint(mut paper: ChildStdin, begun: Instant) {
    for number in 1.. {
        let due = Duration::from_nanos(1_000_000_000 / FPS * number);
        thread::sleep(due.saturating_sub(begun.elapsed()));
        let time = begun.elapsed().as_millis() as u64;
        let value = |index: usize| {
            let (x, y) = (index % SIDE, index / SIDE);
            let is_set = time >> (x * BITS / SIDE) & 1 == 1;
            if is_set == (y < SIDE / 2) { 235 } else { 16 }
        };
        let picture: Vec<u8> = (0..SIDE * SIDE).map(value).collect();
        if paper.write_all(&picture).is_err() {
            return;
        }
    }
}

/// The time in a picture, unless a column says neither.
fn read(picture: &[u8]) -> Option<u64> {
    let column = SIDE / BITS;
    let at = |bit: usize, y: usize| i32::from(picture[y * SIDE + bit * column + column / 2]);
    (0..BITS).try_fold(0, |time, bit| {
        let difference = at(bit, SIDE / 4) - at(bit, SIDE * 3 / 4);
        (difference.abs() > 60).then_some(time | u64::from(difference > 0) << bit)
    })
}
