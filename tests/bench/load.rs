//! The API under load beside a running stream, and streams that come and go.

use crate::Verdict;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use test_peer::{Clip, Codec};
use tests::host::{Host, Stream};
use tests::libraries::library;
use tests::peers::{publish, watch};
use tests::process::{Holdings, children, holdings, shared_memory};

const GETS_PER_SECOND: u32 = 2000;
const PATCHES_PER_SECOND: u32 = 200;
/// Connections that share the requests of one kind.
const GETTERS: u32 = 8;
const PATCHERS: u32 = 4;
/// Of each phase: as long as without load, twice as long as the figures of latency look back.
const PHASE: Duration = Duration::from_secs(10);
const ROUNDS: usize = 3;
const CYCLES: usize = 1000;
/// Until everything that is kept for good was needed once.
const FIRST_CYCLES: usize = 100;
/// Longer than an idle thread is kept.
const SETTLING: Duration = Duration::from_secs(15);
/// One in so many cycles has a publisher and a viewer.
const WITH_MEDIA: usize = 20;

pub fn run() -> Vec<Verdict> {
    let host = Host::start(&[library("passthrough")]);
    let clip = Clip::ball(Codec::H264, 512, 512);
    let mut verdicts = beside_a_stream(&host, &clip);
    verdicts.extend(come_and_go(&host, &clip));
    verdicts
}

fn beside_a_stream(host: &Host, clip: &Arc<Clip>) -> Vec<Verdict> {
    let stream = host.create("passthrough", json!({"width": 512, "height": 512}));
    let publisher = publish(&stream, clip, 30);
    let mut viewer = watch(host, &stream, Codec::H264);
    let is_over = &AtomicBool::new(false);
    let phases = thread::scope(|scope| {
        scope.spawn(move || {
            while !is_over.load(Ordering::Relaxed) {
                viewer.step();
            }
        });
        stream.wait_until("frames are watched", |status| frame_latency(status).is_some());
        let phases: Vec<_> = (0..ROUNDS).map(|_| (without(&stream), with(host, &stream))).collect();
        is_over.store(true, Ordering::Relaxed);
        phases
    });
    drop(publisher);
    stream.delete();
    let quiet = middle(phases.iter().map(|(quiet, _)| *quiet).collect());
    let loaded = middle(phases.iter().map(|(_, load)| load.frame_latency_ms).collect());
    println!("median frame latency: {quiet:.2} ms without load, {loaded:.2} ms with it");
    let mut gets: Vec<_> = phases.iter().flat_map(|(_, load)| load.gets.iter().copied()).collect();
    let mut patches: Vec<_> =
        phases.iter().flat_map(|(_, load)| load.patches.iter().copied()).collect();
    let failures: usize = phases.iter().map(|(_, load)| load.failures).sum();
    for (what, times) in [("GET", &mut gets), ("PATCH", &mut patches)] {
        times.sort_unstable();
        let (p50, p99) = (percentile(times, 50), percentile(times, 99));
        println!("{what}: {} answers, p50 {p50:.2} ms, p99 {p99:.2} ms", times.len());
    }
    vec![
        Verdict::new("GET p99", percentile(&gets, 99), 20.0, "ms"),
        Verdict::new("requests that failed", failures as f64, 0.0, "requests"),
        Verdict::new("median frame latency beside the load", 100.0 * loaded / quiet, 120.0, "%"),
    ]
}

fn without(stream: &Stream<'_>) -> f64 {
    thread::sleep(PHASE);
    frame_latency(&stream.status()).expect("the viewer is still there")
}

/// What one phase with load came to.
struct Load {
    frame_latency_ms: f64,
    gets: Vec<Duration>,
    patches: Vec<Duration>,
    failures: usize,
}

fn with(host: &Host, stream: &Stream<'_>) -> Load {
    let (to, path) = (host.authority(), stream.path());
    let get = |n: u32| {
        let paths = [&path, &format!("{path}/status"), "/v1/streams", "/health"];
        format!("GET {} HTTP/1.1\r\nHost: {to}\r\n\r\n", paths[n as usize % paths.len()])
    };
    let patch = |n: u32| {
        let body = json!({"params": {"prompt": format!("prompt {n}")}}).to_string();
        let length = body.len();
        format!("PATCH {path} HTTP/1.1\r\nHost: {to}\r\nContent-Length: {length}\r\n\r\n{body}")
    };
    thread::scope(|scope| {
        let getters: Vec<_> =
            (0..GETTERS).map(|_| scope.spawn(|| ask(to, GETS_PER_SECOND / GETTERS, get))).collect();
        let patchers: Vec<_> = (0..PATCHERS)
            .map(|_| scope.spawn(|| ask(to, PATCHES_PER_SECOND / PATCHERS, patch)))
            .collect();
        let (gets, failed_gets) = gather(getters);
        let frame_latency_ms = frame_latency(&stream.status()).expect("the viewer is still there");
        let (patches, failed_patches) = gather(patchers);
        Load { frame_latency_ms, gets, patches, failures: failed_gets + failed_patches }
    })
}

type Asked = (Vec<Duration>, usize);

fn gather(threads: Vec<thread::ScopedJoinHandle<'_, Asked>>) -> Asked {
    let asked = threads.into_iter().map(|thread| thread.join().expect("it does not panic"));
    asked.fold((Vec::new(), 0), |(mut times, failures), (more, failed)| {
        times.extend(more);
        (times, failures + failed)
    })
}

/// Asks at an even pace over one connection. Each answer is timed from when its question was due, so that a slow one
/// counts for all that it held up.
fn ask(to: &str, per_second: u32, question: impl Fn(u32) -> String) -> Asked {
    let mut connection = TcpStream::connect(to).expect("the server listens");
    connection.set_nodelay(true).expect("a socket");
    let (mut times, mut failures) = (Vec::new(), 0);
    let started = Instant::now();
    for n in 0..per_second * PHASE.as_secs() as u32 {
        let due = started + Duration::from_secs(1) * n / per_second;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        failures += usize::from(!is_answered(&mut connection, &question(n)));
        times.push(due.elapsed());
    }
    (times, failures)
}

/// Whether all of an answer with status 200 comes. Done by hand, since whatever the client costs is no less of the
/// machine's time than what the server costs.
fn is_answered(connection: &mut TcpStream, question: &str) -> bool {
    connection.write_all(question.as_bytes()).expect("the server reads");
    let (mut answer, mut piece) = (Vec::new(), [0; 16 << 10]);
    loop {
        let read = connection.read(&mut piece).expect("the server answers");
        assert_ne!(read, 0, "the server closed");
        answer.extend_from_slice(&piece[..read]);
        let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length: usize =
            length.and_then(|text| text.parse().ok()).expect("answers say how long");
        if answer.len() >= end + 4 + length {
            return head.starts_with("http/1.1 200 ");
        }
    }
}

/// From a frame's last packet to its encoded output, in milliseconds.
fn frame_latency(status: &Value) -> Option<f64> {
    status["data"]["host_status"]["latency"]["end_to_end"]["p50_ms"].as_f64()
}

fn come_and_go(host: &Host, clip: &Arc<Clip>) -> Vec<Verdict> {
    let pid = u64::from(host.pid());
    // One stays, and its worker with it: ending the last worker and starting it again takes most of the time.
    let stays = host.create("passthrough", json!({}));
    (0..FIRST_CYCLES).for_each(|n| cycle(host, clip, n));
    let before = settled(pid);
    let started = Instant::now();
    (0..CYCLES).for_each(|n| cycle(host, clip, n));
    println!("{CYCLES} streams came and went in {:.1} s", started.elapsed().as_secs_f64());
    let after = settled(pid);
    println!("before {before:?}, after {after:?}");
    stays.delete();
    let change = |before: usize, after: usize| after.abs_diff(before) as f64;
    let (old, new) = (before.holdings, after.holdings);
    let growth = 100.0 * (new.memory_kib as f64 / old.memory_kib as f64 - 1.0);
    vec![
        Verdict::new("memory growth", growth, 5.0, "%"),
        Verdict::new("change of threads", change(old.threads, new.threads), 0.0, "threads"),
        Verdict::new(
            "change of descriptors",
            change(old.descriptors, new.descriptors),
            0.0,
            "files",
        ),
        Verdict::new(
            "change of shared memory",
            change(before.shared_memory, after.shared_memory),
            0.0,
            "pieces",
        ),
        Verdict::new(
            "change of processes",
            change(before.children, after.children),
            0.0,
            "processes",
        ),
    ]
}

fn cycle(host: &Host, clip: &Arc<Clip>, n: usize) {
    let stream = host.create("passthrough", json!({"width": 256, "height": 256}));
    if n.is_multiple_of(WITH_MEDIA) {
        let publisher = publish(&stream, clip, 30);
        watch(host, &stream, Codec::H264).frames(3);
        drop(publisher);
    }
    assert_eq!(stream.delete().status, 204);
}

/// What the host holds between two streams.
#[derive(Clone, Copy, Debug)]
struct Rest {
    holdings: Holdings,
    shared_memory: usize,
    children: usize,
}

/// Once what a deleted stream had has ended, and what is kept a while for the next one.
fn settled(pid: u64) -> Rest {
    thread::sleep(SETTLING);
    Rest { holdings: holdings(pid), shared_memory: shared_memory(pid), children: children(pid) }
}

fn middle(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Of sorted times, in milliseconds.
fn percentile(times: &[Duration], percent: usize) -> f64 {
    times.get(times.len() * percent / 100).map_or(f64::INFINITY, |time| time.as_secs_f64() * 1000.0)
}
