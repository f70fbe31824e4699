//! The main job: a camera through a diffusion pipeline to a viewer, and a prompt that changes meanwhile. What the model
//! makes of the camera's picture is computed here by the plugin's library itself, and looked for at the viewer.

use plugin_api::ffi::{Callbacks, HostContext, Library, LoadedStream, Wanted};
use plugin_api::{Environment, Frame, FrameMut, LogLevel};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use tests::browser;
use tests::host::Host;
use tests::libraries::{library, root};
use tests::style::Classifier;

const PIPELINE: &str = "streamdiffusion-sd15";
/// Width and height of everything here, and of the small pictures that are compared.
const SIDE: usize = 256;
const SMALL: usize = 32;
/// Prompts, and what the classifier calls what they ask for.
const PROMPTS: [(&str, &str); 3] =
    [("a blueprint", "blueprint"), ("thermal camera", "thermal"), ("a pencil sketch", "pencil")];

#[test]
fn a_camera_goes_through_the_model_that_the_stream_names_and_a_prompt_changes_it_at_once() {
    let host = Host::start(&[library("sd15")]);
    let params = json!({
        "model_id": "demo", "prompt": PROMPTS[0].0, "t_index_list": [32], "width": SIDE, "height": SIDE,
    });
    let stream = host.create(PIPELINE, params);
    let camera = root().join("tests/e2e/data/astronaut.y4m");
    let changes: Vec<Value> =
        PROMPTS[1..].iter().map(|(prompt, _)| json!({"params": {"prompt": prompt}})).collect();
    let settings = [
        ("WHIP_URL", stream.text("whip_url")),
        ("WHEP_URL", stream.text("output_stream_url")),
        ("PATCH_URL", host.url(&stream.path())),
        ("STATUS_URL", host.url(&format!("{}/status", stream.path()))),
        ("PATCH_BODIES", Value::from(changes).to_string()),
        ("CAMERA", camera.to_string_lossy().into_owned()),
    ];
    let seen = browser::run("main-job.mjs", &settings);
    assert!(seen.is_success, "{}", seen.output);
    let seen = seen.json();
    let picture = first_picture(&camera);
    let wanted = pictures_of_the_model(&stream.object["params"], &picture);
    let seen: Vec<Seen> =
        seen["prompts"].as_array().expect("prompts").iter().map(Seen::of).collect();
    assert_eq!(seen.len(), PROMPTS.len());
    assert!(
        distance(&seen[0].frames[0], &wanted[0]) < distance(&seen[0].frames[0], &small(&picture)),
        "the viewer sees the model's picture, not the camera's"
    );
    for (index, seen) in seen.iter().enumerate().skip(1) {
        expect_change(seen, &wanted[index - 1], &wanted[index]);
    }
    let classifier = Classifier::load();
    for (index, ((prompt, style), seen)) in PROMPTS.iter().zip(&seen).enumerate() {
        let last = seen.frames.last().expect("a frame");
        let likeness = likeness(last, &wanted[index]);
        let (named, likelihood) = classifier.name(&seen.picture);
        println!("{prompt}: likeness {likeness:.3}, seen as {named} ({likelihood:.2})");
        assert!(likeness > 0.9, "{prompt}: the viewer sees what the model makes: {likeness:.3}");
        assert_eq!(named, *style, "{prompt}");
    }
}

/// What the viewer saw of one prompt: small pictures of every frame, and a larger one of the last.
struct Seen {
    frames: Vec<Vec<f64>>,
    picture: Vec<f64>,
}

impl Seen {
    fn of(seen: &Value) -> Self {
        let frames = seen["frames"].as_array().expect("frames").iter();
        Self {
            frames: frames.map(|frame| rgb(&frame["rgb"])).collect(),
            picture: rgb(&seen["picture"]),
        }
    }
}

/// The new prompt's picture must come at once, and stay.
fn expect_change(seen: &Seen, before: &[f64], after: &[f64]) {
    let shows_new = |frame: &Vec<f64>| distance(frame, after) < distance(frame, before);
    let late = seen.frames.iter().position(shows_new).expect("the new prompt's picture is shown");
    println!("frames of the old prompt after the change was answered: {late}");
    // One was being made when the change came, one more was on its way to the viewer.
    assert!(late <= 2, "{late} frames of the old prompt after the change");
    assert!(seen.frames[late..].iter().all(shows_new), "and from then on only the new one");
}

/// What the model makes of a picture, for each prompt.
fn pictures_of_the_model(params: &Value, picture: &[u8]) -> Vec<Vec<f64>> {
    let mut model = open_model(params);
    let draw = |(prompt, _): &(&str, &str)| {
        change_prompt(&mut model, params, prompt);
        small(&render(&mut model, picture))
    };
    PROMPTS.iter().map(draw).collect()
}

/// The first frame of a film in the form that Chromium takes as a camera, as RGB: Y'CbCr 4:2:0, BT.601, studio range.
fn first_picture(path: &Path) -> Vec<u8> {
    let file = std::fs::read(path).expect("the camera's file is there");
    let (area, half) = (SIDE * SIDE, SIDE / 2);
    let marker = b"FRAME\n";
    let start = file.windows(marker.len()).position(|bytes| bytes == marker).expect("a frame");
    let planes = &file[start + marker.len()..];
    let pixel = |index: usize| {
        let (y, x) = (index / SIDE, index % SIDE);
        let chroma = area + y / 2 * half + x / 2;
        let [luma, blue, red] = [(index, 16.0), (chroma, 128.0), (chroma + half * half, 128.0)]
            .map(|(at, offset)| f64::from(planes[at]) - offset);
        let (luma, green) = (1.164 * luma, -0.392 * blue - 0.813 * red);
        [luma + 1.596 * red, luma + green, luma + 2.017 * blue].map(|value| value.round() as u8)
    };
    (0..area).flat_map(pixel).collect()
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
    let pipeline =
        plugin.load(host(), Wanted::pipeline(PIPELINE, &values)).expect("the model loads");
    pipeline.open_stream(host(), Wanted::pipeline(PIPELINE, &values)).expect("a stream opens")
}

fn change_prompt(model: &mut LoadedStream, params: &Value, prompt: &str) {
    let mut values = plugin_params(params);
    values["prompt"] = json!(prompt);
    model.update(Wanted::pipeline(PIPELINE, &values.to_string())).expect("a prompt is hot");
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

fn rgb(pixels: &Value) -> Vec<f64> {
    let values = pixels.as_array().expect("a picture has pixels").iter();
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
