//! Ten minutes of one stream: host and worker may not grow.

use crate::Verdict;
use serde_json::{Value, json};
use std::thread;
use std::time::{Duration, Instant};
use tests::browser;
use tests::host::{Host, Stream};
use tests::libraries::library;
use tests::process::{Holdings, holdings};

const MINUTES: u64 = 10;
const GROWTH_PERCENT: f64 = 5.0;

pub fn run() -> Vec<Verdict> {
    let host = Host::start(&[library("passthrough")]);
    let stream = host.create("passthrough", json!({}));
    let settings = [
        ("WHIP_URL", stream.text("whip_url")),
        ("WHEP_URL", stream.text("output_stream_url")),
        ("SECONDS", (MINUTES * 60).to_string()),
    ];
    thread::scope(|scope| {
        let clock = scope.spawn(|| browser::run("pixel-clock/pixel-clock.mjs", &settings));
        let verdicts = watch(&host, &stream, || !clock.is_finished());
        let outcome = clock.join().expect("the clock does not panic");
        assert!(outcome.is_success, "{}", outcome.output);
        println!("glass to glass over {MINUTES} minutes: {}", outcome.json()["glass_to_glass_ms"]);
        verdicts
    })
}

/// Compares each minute with the first one, until the publisher is done.
fn watch(host: &Host, stream: &Stream<'_>, is_running: impl Fn() -> bool) -> Vec<Verdict> {
    let is_flowing = |status: &Value| status["frames_processed"].as_u64() > Some(100);
    let status = stream.wait_until("frames flow", is_flowing);
    let worker = status["data"]["host_status"]["worker_pid"].as_u64().expect("a worker runs");
    let pids = [("host", u64::from(host.pid())), ("worker", worker)];
    thread::sleep(Duration::from_secs(60));
    let first = pids.map(|(_, pid)| holdings(pid));
    let mut last = first;
    let end = Instant::now() + Duration::from_secs((MINUTES - 1) * 60 - 15);
    while is_running() && Instant::now() < end {
        thread::sleep(Duration::from_secs(30));
        last = pids.map(|(_, pid)| holdings(pid));
        println!("host {:?}, worker {:?}", last[0], last[1]);
    }
    let compare = |index: usize| compare(pids[index].0, first[index], last[index]);
    [compare(0), compare(1)].into_iter().flatten().collect()
}

fn compare(who: &str, first: Holdings, last: Holdings) -> [Verdict; 3] {
    let growth = |first: f64, last: f64| 100.0 * (last / first - 1.0);
    let memory = growth(first.memory_kib as f64, last.memory_kib as f64);
    let more = |first: usize, last: usize| last.abs_diff(first) as f64;
    [
        Verdict::new(format!("{who}: memory growth"), memory, GROWTH_PERCENT, "%"),
        Verdict::new(
            format!("{who}: change of descriptors"),
            more(first.descriptors, last.descriptors),
            0.0,
            "descriptors",
        ),
        Verdict::new(
            format!("{who}: change of threads"),
            more(first.threads, last.threads),
            0.0,
            "threads",
        ),
    ]
}
