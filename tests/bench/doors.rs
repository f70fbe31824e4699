//! What the other doors cost a viewer by WebRTC: its glass to glass with HLS, RTSP, RTMP and a recording open beside it,
//! over that of the same viewer alone, in turns.

use crate::Verdict;
use serde_json::json;
use std::net::{Ipv4Addr, TcpListener};
use std::thread;
use tests::browser;
use tests::ffmpeg::{Running, program};
use tests::host::{Host, Stream};
use tests::libraries::library;

/// A session differs from the next by a millisecond or two, by where in the browser's beat its frames lie.
const ROUNDS: usize = 8;
const SECONDS: u32 = 12;
/// What the doors may add.
const MOST_PERCENT: f64 = 110.0;

pub fn run() -> Vec<Verdict> {
    let host = Host::start(&[library("passthrough")]);
    let rounds: Vec<_> = (0..ROUNDS).map(|_| (p50(&host, false), p50(&host, true))).collect();
    let middle = |mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        (values[(ROUNDS - 1) / 2] + values[ROUNDS / 2]) / 2.0
    };
    let alone = middle(rounds.iter().map(|(alone, _)| *alone).collect());
    let beside = middle(rounds.iter().map(|(_, beside)| *beside).collect());
    println!("glass to glass p50: {alone:.1} ms alone, {beside:.1} ms with all doors open");
    vec![Verdict::new("WHEP with all doors open", 100.0 * beside / alone, MOST_PERCENT, "%")]
}

fn p50(host: &Host, with_doors: bool) -> f64 {
    let stream = host.create("passthrough", json!({"width": 512, "height": 512}));
    let settings = [
        ("WHIP_URL", stream.text("whip_url")),
        ("WHEP_URL", stream.text("output_stream_url")),
        ("VIEWERS", "1".to_owned()),
        ("SECONDS", SECONDS.to_string()),
        ("SERVER_PID", host.pid().to_string()),
    ];
    let result = thread::scope(|scope| {
        let clock = scope.spawn(|| browser::run("pixel-clock/pixel-clock.mjs", &settings));
        stream.wait_until("frames flow", |status| status["frames_processed"].as_u64() > Some(5));
        let open = with_doors.then(|| open_all(host, &stream));
        let outcome = clock.join().expect("the clock runs");
        drop(open);
        assert!(outcome.is_success, "{}", outcome.output);
        outcome.json()
    });
    stream.delete();
    println!(
        "{}: {}, load {}",
        if with_doors { "all doors" } else { "alone" },
        result["glass_to_glass_ms"],
        result["load_average"][0]
    );
    result["glass_to_glass_ms"]["p50"].as_f64().unwrap_or(f64::INFINITY)
}

/// Readers that copy what they are sent and show nothing.
fn open_all(host: &Host, stream: &Stream<'_>) -> Vec<Running> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let target = format!(
        "rtmp://127.0.0.1:{}/live/bench",
        listener.local_addr().expect("it is bound").port()
    );
    drop(listener);
    let id = stream.text("id");
    let reader = |input: String| {
        let line = format!("-v quiet {input} -c copy -f null -");
        Running(program("ffmpeg", &line).spawn().expect("ffmpeg is installed"))
    };
    let readers = vec![
        reader(format!("-listen 1 -i {target}")),
        reader(format!("-i {}", stream.text("output_hls_url"))),
        reader(format!("-rtsp_transport tcp -i {}", host.rtsp(&format!("{id}_out")))),
    ];
    let restreamed = host.send("PATCH", &stream.path(), &json!({ "output_rtmp_url": target }));
    assert_eq!(restreamed.status, 200, "{}", restreamed.text);
    let recorded = host.send("POST", &format!("{}/record", stream.path()), &json!({}));
    assert_eq!(recorded.status, 201, "{}", recorded.text);
    stream.wait_until("all doors are open", |status| {
        let host_status = &status["data"]["host_status"];
        // A viewer, the players of HLS as one, RTSP, RTMP, the recording.
        let readers = host_status["egress"]["readers"].as_u64();
        readers >= Some(5) && host_status["restream"]["state"] == "live"
    });
    readers
}
