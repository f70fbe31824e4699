//! Many viewers of one stream: one encode for all of them, what each costs the server, and how many are too many.

use crate::Verdict;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use test_peer::{Clip, Codec};
use tests::host::{Host, Stream};
use tests::libraries::library;
use tests::peers::{answered_reader, publish};
use tests::process::cpu_time;

const FPS: u32 = 30;
/// Viewers that must be served, and the least frames that each must get in a second.
const VIEWERS: usize = 40;
const LEAST_FPS: f64 = 28.0;
const WINDOW: Duration = Duration::from_secs(10);
/// For a viewer to connect, and for all to get a first frame.
const GOOD_TIME: Duration = Duration::from_secs(10);
/// More are not looked for: the viewers themselves need the machine.
const MOST_VIEWERS: usize = 640;

pub fn run() -> Vec<Verdict> {
    let most = (2 * MOST_VIEWERS).to_string();
    let host = Host::start_with(
        &[library("passthrough")],
        &[("SDH_MEDIA__MAX_READERS", most.clone()), ("SDH_MEDIA__MAX_SESSIONS", most)],
    );
    let clip = Clip::ball(Codec::H264, 512, 512);
    let stream = host.create("passthrough", json!({"width": 512, "height": 512}));
    let _publisher = publish(&stream, &clip, FPS);
    stream.wait_until("frames flow", |status| status["frames_processed"].as_u64() > Some(10));

    let wanted = measure(&host, &stream, VIEWERS).expect("every viewer gets frames");
    wanted.print();
    let verdicts = vec![
        Verdict::new("codecs that are encoded", wanted.codecs as f64, 1.0, ""),
        Verdict::new("frames encoded", wanted.encoded_fps, 1.1 * f64::from(FPS), "fps"),
        Verdict::new(format!("server with {VIEWERS} viewers"), wanted.cores, 0.5, "cores"),
        Verdict::at_least("slowest of them", wanted.slowest_fps, LEAST_FPS, "fps"),
    ];
    knee(&host, &stream, wanted);
    verdicts
}

/// Doubles the viewers until some get too little.
fn knee(host: &Host, stream: &Stream<'_>, mut last: Served) {
    while last.slowest_fps >= LEAST_FPS && last.viewers < MOST_VIEWERS {
        let Some(next) = measure(host, stream, 2 * last.viewers) else {
            let (served, more) = (last.viewers, 2 * last.viewers);
            println!(
                "the knee lies between {served} and {more} viewers: some of these get nothing"
            );
            return;
        };
        next.print();
        if next.slowest_fps < LEAST_FPS {
            println!("the knee lies between {} and {} viewers", last.viewers, next.viewers);
        }
        last = next;
    }
    if last.slowest_fps >= LEAST_FPS {
        println!("no knee up to {} viewers", last.viewers);
    }
}

/// What so many viewers got in the window, and what it took.
struct Served {
    viewers: usize,
    slowest_fps: f64,
    mean_fps: f64,
    encoded_fps: f64,
    codecs: usize,
    cores: f64,
    load: String,
}

impl Served {
    fn print(&self) {
        let Self { viewers, slowest_fps, mean_fps, cores, load, .. } = self;
        println!(
            "{viewers} viewers: slowest {slowest_fps:.1} fps, mean {mean_fps:.1} fps, server {cores:.2} cores, load {load}"
        );
    }
}

/// None if some of the viewers get nothing in good time.
fn measure(host: &Host, stream: &Stream<'_>, viewers: usize) -> Option<Served> {
    let counts: Vec<_> = (0..viewers).map(|_| AtomicU64::new(0)).collect();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let over = Over(&is_over);
        for count in &counts {
            let (is_over, mut viewer) = (&is_over, answered_reader(host, stream, Codec::H264));
            let give_up = Instant::now() + GOOD_TIME;
            while !viewer.is_connected {
                if viewer.is_closed || Instant::now() > give_up {
                    return None;
                }
                viewer.step();
            }
            // Small stacks: there are many.
            let thread = thread::Builder::new().stack_size(512 << 10);
            let view = move || {
                while !is_over.load(Ordering::Relaxed) {
                    count.fetch_add(viewer.step().len() as u64, Ordering::Relaxed);
                }
            };
            thread.spawn_scoped(scope, view).expect("a thread for each viewer");
        }
        let give_up = Instant::now() + GOOD_TIME;
        while counts.iter().any(|count| count.load(Ordering::Relaxed) == 0) {
            if Instant::now() > give_up {
                return None;
            }
            thread::yield_now();
        }
        let served = window(host, stream, &counts);
        drop(over);
        Some(served)
    })
}

/// Ends the viewers when dropped.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn window(host: &Host, stream: &Stream<'_>, counts: &[AtomicU64]) -> Served {
    let egress = || stream.status()["data"]["host_status"]["egress"].clone();
    let encoded = |egress: &Value| egress["frames_encoded"].as_f64().expect("a count");
    let read = || counts.iter().map(|count| count.load(Ordering::Relaxed)).collect::<Vec<_>>();
    let (cpu, before, received) = (cpu_time(host.pid()), encoded(&egress()), read());
    let began = Instant::now();
    thread::sleep(WINDOW);
    let seconds = began.elapsed().as_secs_f64();
    let now = read();
    let fps = |(now, before): (&u64, &u64)| (now - before) as f64 / seconds;
    let each: Vec<_> = now.iter().zip(&received).map(fps).collect();
    let cores = (cpu_time(host.pid()) - cpu).as_secs_f64() / seconds;
    let egress = egress();
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    Served {
        viewers: counts.len(),
        slowest_fps: each.iter().copied().fold(f64::INFINITY, f64::min),
        mean_fps: each.iter().sum::<f64>() / each.len() as f64,
        encoded_fps: (encoded(&egress) - before) / seconds,
        codecs: egress["codecs"].as_array().map_or(0, Vec::len),
        cores,
        load: load.split(' ').next().unwrap_or_default().to_owned(),
    }
}
