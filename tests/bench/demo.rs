//! The demo model on this machine: from browser to browser, and beside the same folder in PyTorch.

use crate::Verdict;
use serde_json::{Value, json};
use std::process::{Command, Stdio};
use tests::browser;
use tests::host::Host;
use tests::libraries::{library, root};

const PIPELINE: &str = "streamdiffusion-sd15";
const PROMPT: &str = "blueprint";
/// Width and height, and the frames a second that are expected.
const SIZES: [(u32, f64); 2] = [(384, 20.0), (512, 12.0)];
const FIRST_STYLED_MS: f64 = 3000.0;
/// By so much of 255 the style changes the camera's picture: else nobody could tell when it was first seen.
const CHANGE: f64 = 10.0;
const SECONDS: &str = "10";
/// How often each is measured beside the other; its best counts, as the one that was disturbed least.
const ROUNDS: usize = 2;
/// What both may keep busy.
const THREADS: &str = "2";

pub fn run() -> Vec<Verdict> {
    assert!(root().join("models/demo/model_index.json").exists(), "models/demo is not there");
    let host = Host::start(&[library("sd15")]);
    let streams = SIZES.iter().flat_map(|&(side, fps)| measure(&host, side, fps));
    let mut verdicts: Vec<_> = streams.collect();
    drop(host);
    verdicts.extend(compare());
    verdicts
}

fn params(side: u32) -> Value {
    json!({
        "model_id": "demo", "prompt": PROMPT, "t_index_list": [32], "width": side, "height": side,
        "cfg_type": "none", "use_lcm_lora": false, "acceleration": "none",
    })
}

fn measure(host: &Host, side: u32, fps: f64) -> [Verdict; 3] {
    let settings = [
        ("STREAMS_URL", host.url("/v1/streams")),
        ("BODY", json!({"pipeline": PIPELINE, "params": params(side)}).to_string()),
        ("SIDE", side.to_string()),
        ("SECONDS", SECONDS.to_owned()),
    ];
    let outcome = browser::run("demo.mjs", &settings);
    assert!(outcome.is_success, "{}", outcome.output);
    let result = outcome.json();
    println!("{side}x{side}: {result}");
    let figure = |key: &str| result[key].as_f64().expect("the script gives numbers");
    let name = |what: &str| format!("demo at {side}x{side}: {what}");
    [
        Verdict::at_least(
            name("frames a second, made and seen"),
            figure("made_fps").min(figure("seen_fps")),
            fps,
            "fps",
        ),
        Verdict::new(
            name("from creation to the first styled frame at the viewer"),
            figure("first_styled_ms"),
            FIRST_STYLED_MS,
            "ms",
        ),
        Verdict::at_least(
            name("difference between the camera's picture and the styled one"),
            figure("styled_to_camera"),
            CHANGE,
            "of 255",
        ),
    ]
}

/// The model alone, in turns, so that what else the machine does meets both.
fn compare() -> [Verdict; 2] {
    let host = Host::start_with(&[library("sd15")], &[("SDH_PLUGINS__THREADS", THREADS.into())]);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!(
        "load average {}; PyTorch suffers more from other programs than this host",
        load.trim()
    );
    let rounds: Vec<_> = (0..ROUNDS).map(|_| (own(&host), peer())).collect();
    let best = |fps: &dyn Fn(&(Value, Value)) -> Option<f64>| {
        rounds.iter().filter_map(fps).fold(0.0, f64::max)
    };
    let least = |memory: &dyn Fn(&(Value, Value)) -> Option<f64>| {
        rounds.iter().filter_map(memory).fold(f64::INFINITY, f64::min)
    };
    let faster = best(&|(own, _)| own["fps"].as_f64()) / best(&|(_, peer)| peer["fps"].as_f64());
    let memory = least(&|(own, _)| own["peak_memory_mb"].as_f64())
        / least(&|(_, peer)| peer["memory_mb"].as_f64());
    [
        Verdict::at_least(
            "the model alone, frames a second beside PyTorch's",
            faster,
            2.2,
            "times",
        ),
        Verdict::new("the model alone, memory beside PyTorch's", 100.0 * memory, 25.0, "%"),
    ]
}

fn own(host: &Host) -> Value {
    let params = params(512).to_string();
    let arguments = ["bench", "--pipeline", PIPELINE, "--params", &params, "--seconds", SECONDS];
    let text = host.run(&[&arguments[..], &["--json"]].concat());
    println!("this host: {}", text.trim_end());
    serde_json::from_str(&text).expect("a line of JSON")
}

fn peer() -> Value {
    let folder = root().join("tests/bench");
    let python = folder.join(".venv/bin/python");
    assert!(python.exists(), "PyTorch is not there; `./dev bench demo` installs it");
    let output = Command::new(python)
        .arg(folder.join("demo_peer.py"))
        .arg(root().join("models/demo"))
        .args(["--prompt", PROMPT, "--side", "512", "--threads", THREADS, "--seconds", SECONDS])
        .stderr(Stdio::inherit())
        .output()
        .expect("Python starts");
    assert!(output.status.success(), "the peer failed");
    let text = String::from_utf8_lossy(&output.stdout);
    println!("PyTorch: {}", text.trim_end());
    serde_json::from_str(&text).expect("a line of JSON")
}
