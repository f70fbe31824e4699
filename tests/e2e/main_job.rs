//! The main job: a camera through a diffusion pipeline to a viewer, and a prompt that changes meanwhile. What the model
//! makes of the camera's picture is computed here by the plugin's library itself, and looked for at the viewer.

use plugin_api::ffi::{Callbacks, HostContext, Library, LoadedStream};
use plugin_api::{Environment, Frame, FrameMut, LogLevel};
use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use tests::browser;
use tests::host::Host;
use tests::libraries::{library, root};

const PIPELINE: &str = "streamdiffusion-sd15";
/// Width and height of everything here, and of the small pictures that are compared.
const SIDE: usize = 128;
const SMALL: usize = 32;
/// Cells of one colour, large enough that no codec blurs them away.
const CELL: usize = 16;
const FIRST_PROMPT: &str = "a red cat on a wooden table";
const SECOND_PROMPT: &str = "oil painting of a stormy sea";

#[test]
fn a_camera_goes_through_the_model_that_the_stream_names_and_a_prompt_changes_it_at_once() {
    let host = Host::start(&[library("sd15")]);
    let params = json!({
        "model_id": "test/sd15-tiny", "vae_id": "test/taesd-tiny", "prompt": FIRST_PROMPT, "t_index_list": [20], "width": SIDE, "height": SIDE,
    });
    let stream = host.create(PIPELINE, params);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (picture, camera) = (camera_picture(), folder.path().join("camera.y4m"));
    write_camera(&camera, &picture);
    let settings = [
        ("WHIP_URL", stream.text("whip_url")),
        ("WHEP_URL", stream.text("output_stream_url")),
        ("PATCH_URL", host.url(&stream.path())),
        ("STATUS_URL", host.url(&format!("{}/status", stream.path()))),
        ("PATCH_BODY", json!({"params": {"prompt": SECOND_PROMPT}}).to_string()),
        ("CAMERA", camera.to_string_lossy().into_owned()),
    ];
    let seen = browser::run("main-job.mjs", &settings);
    assert!(seen.is_success, "{}", seen.output);
    let seen = seen.json();

    let mut model = open_model(&stream.object["params"]);
    let first = small(&render(&mut model, &picture));
    change_prompt(&mut model, &stream.object["params"]);
    let second = small(&render(&mut model, &picture));
    let before = rgb(&seen["before"]);
    let after: Vec<_> = seen["after"].as_array().expect("frames after").iter().map(rgb).collect();

    println!(
        "likeness to the model's picture {:.3}, to the camera's {:.3}; between the prompts' pictures {:.3}",
        likeness(&before, &first),
        likeness(&before, &small(&picture)),
        likeness(&first, &second),
    );
    assert!(likeness(&before, &first) > 0.9, "the viewer sees what the model makes");
    assert!(distance(&before, &first) < distance(&before, &small(&picture)), "and not the camera");
    let shows_second = |frame: &Vec<f64>| distance(frame, &second) < distance(frame, &first);
    assert!(!shows_second(&before), "the first prompt's picture is shown before the change");
    let late = after.iter().position(shows_second).expect("the second prompt's picture is shown");
    println!(
        "frames of the old prompt after the change was answered: {late}; {}",
        seen["status"]["fps"]
    );
    // One was being made when the change came, one more was on its way to the viewer.
    assert!(late <= 2, "{late} frames of the old prompt after the change");
    assert!(after[late..].iter().all(shows_second), "and from then on only the new one");
}

/// Coloured cells, RGB.
fn camera_picture() -> Vec<u8> {
    let cells = (SIDE / CELL) as u32;
    let cell = |x: usize, y: usize| {
        let index = (y / CELL) as u32 * cells + (x / CELL) as u32;
        let mixed = index.wrapping_mul(2_654_435_761);
        [(mixed >> 24) as u8, (mixed >> 16) as u8, (mixed >> 8) as u8]
    };
    (0..SIDE).flat_map(|y| (0..SIDE).flat_map(move |x| cell(x, y))).collect()
}

/// A film of one picture, in the form that Chromium takes as a camera: Y'CbCr 4:2:0, BT.601, studio range.
fn write_camera(path: &Path, picture: &[u8]) {
    let pixel = |x: usize, y: usize, c: usize| f64::from(picture[(y * SIDE + x) * 3 + c]);
    let plane = |step: usize, offset: f64, weights: [f64; 3]| -> Vec<u8> {
        let position = move |i: usize| i * step;
        let value =
            |x, y| offset + (0..3).map(|c| weights[c] * pixel(x, y, c)).sum::<f64>() / 256.0;
        let rows = (0..SIDE / step).map(position);
        rows.flat_map(|y| (0..SIDE / step).map(move |x| value(position(x), y).round() as u8))
            .collect()
    };
    let luma = plane(1, 16.0, [65.738, 129.057, 25.064]);
    let blue = plane(2, 128.0, [-37.945, -74.494, 112.439]);
    let red = plane(2, 128.0, [112.439, -94.154, -18.285]);
    let mut file = std::fs::File::create(path).expect("the folder takes a file");
    let mut write = |bytes: &[u8]| file.write_all(bytes).expect("the disk has room");
    write(format!("YUV4MPEG2 W{SIDE} H{SIDE} F30:1 Ip C420mpeg2\n").as_bytes());
    for _ in 0..2 {
        write(b"FRAME\n");
        [&luma, &blue, &red].into_iter().for_each(|plane| write(plane));
    }
}

struct Silent;

impl Callbacks for Silent {
    fn log(&self, _level: LogLevel, _text: &str) {}
    fn progress(&self, _fraction: f32, _what: &str) {}
    fn is_cancelled(&self) -> bool {
        false
    }
    fn metric(&self, _name: &str, _value: f64) {}
}

fn open_model(params: &Value) -> LoadedStream {
    let environment = Environment {
        models_dir: root().join("models"),
        engines_dir: root().join("engines"),
        cache_dir: std::env::temp_dir(),
        threads: 2,
    };
    let host = || HostContext::new(Arc::new(Silent), &environment);
    let plugin = Library::open(&library("sd15")).expect("the plugin opens");
    let values = plugin_params(params).to_string();
    let pipeline = plugin.open_pipeline(host(), PIPELINE, &values).expect("the model loads");
    pipeline.open_stream(host(), PIPELINE, &values).expect("a stream opens")
}

fn change_prompt(model: &mut LoadedStream, params: &Value) {
    let mut values = plugin_params(params);
    values["prompt"] = json!(SECOND_PROMPT);
    model.update(PIPELINE, &values.to_string()).expect("a prompt is hot");
}

/// What the plugin sees of a stream's params.
fn plugin_params(params: &Value) -> Value {
    let mut params = params.clone();
    let fields = params.as_object_mut().expect("params are an object");
    fields.retain(|name, _| !["fallback", "fit"].contains(&name.as_str()));
    params
}

fn render(model: &mut LoadedStream, picture: &[u8]) -> Vec<u8> {
    let mut pixels = vec![0; picture.len()];
    let (width, height, stride) = (SIDE as u32, SIDE as u32, SIDE * 3);
    let input = Frame { id: 1, captured_ns: 0, width, height, stride, pixels: picture };
    let mut output = FrameMut { id: 1, captured_ns: 0, width, height, stride, pixels: &mut pixels };
    model.process(&input, &mut output).expect("the model works");
    pixels
}

/// Means over blocks: what is left of a picture at `SMALL` by `SMALL`.
fn small(picture: &[u8]) -> Vec<f64> {
    let block = SIDE / SMALL;
    let mean = |x: usize, y: usize, c: usize| {
        let at = |i: usize| ((y * block + i / block) * SIDE + x * block + i % block) * 3 + c;
        (0..block * block).map(|i| f64::from(picture[at(i)])).sum::<f64>() / (block * block) as f64
    };
    let places = (0..SMALL * SMALL * 3).map(|i| (i / 3 % SMALL, i / 3 / SMALL, i % 3));
    places.map(|(x, y, c)| mean(x, y, c)).collect()
}

fn rgb(frame: &Value) -> Vec<f64> {
    let values = frame["rgb"].as_array().expect("a frame has pixels").iter();
    values.map(|value| value.as_f64().expect("a pixel is a number")).collect()
}

fn distance(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).sum::<f64>() / a.len() as f64
}

/// Correlation: 1 for equal pictures, whatever a codec does to brightness and contrast.
fn likeness(a: &[f64], b: &[f64]) -> f64 {
    let mean = |v: &[f64]| v.iter().sum::<f64>() / v.len() as f64;
    let (mean_a, mean_b) = (mean(a), mean(b));
    let sum = |f: &dyn Fn(f64, f64) -> f64| -> f64 {
        a.iter().zip(b).map(|(a, b)| f(a - mean_a, b - mean_b)).sum()
    };
    sum(&|a, b| a * b) / (sum(&|a, _| a * a) * sum(&|_, b| b * b)).sqrt()
}
