//! The demo model on this machine: from browser to browser, and beside the same folder in PyTorch.

use crate::Verdict;
use crate::beside_pytorch::{Beside, PIPELINE, Subject};
use serde_json::{Value, json};
use tests::browser;
use tests::host::Host;
use tests::libraries::{library, root};

const PROMPT: &str = "blueprint";
/// Width and height, and the frames a second that are expected.
const SIZES: [(u32, f64); 2] = [(384, 20.0), (512, 12.0)];
const FIRST_STYLED_MS: f64 = 3000.0;
/// By so much of 255 the style changes the camera's picture: else nobody could tell when it was first seen.
const CHANGE: f64 = 10.0;
const SECONDS: &str = "10";

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

fn compare() -> [Verdict; 2] {
    let model = root().join("models/demo");
    let subject = Subject { model: &model, vae: None, prompt: PROMPT, side: 512, seconds: SECONDS };
    let Beside { own, pytorch } = subject.measure();
    let memory = 100.0 * own.peak_memory_mb / pytorch.memory_mb;
    [
        Verdict::at_least(
            "the model alone, frames a second beside PyTorch's",
            own.fps / pytorch.fps,
            2.2,
            "times",
        ),
        Verdict::new("the model alone, memory beside PyTorch's", memory, 25.0, "%"),
    ]
}
