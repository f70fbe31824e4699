//! What the process boundary costs: `passthrough` called directly, and through a worker.
//!
//! `cargo test -p host-plugins --bench boundary -- --limit-us 25` prints medians and 99th percentiles of one frame, and
//! fails when the difference of the medians is above the limit. It needs `cargo build -p plugin-passthrough`.

use host_plugins::{Config, PluginCatalog, WorkerCommand, run_worker};
use host_ports::{Frame, FramePool, FrameStamp, OpenRequest, Pipeline, PipelineCatalog};
use plugin_api::loader::{Callbacks, HostContext, Library, Wanted};
use plugin_api::{Environment, LogLevel};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The size that the limit is for.
const SIDE: usize = 512;
/// A size whose pixels cost next to nothing: what is left is the way there and back.
const SMALL_SIDE: usize = 64;
const WARM_UP: usize = 200;
/// Frames in one round; direct and worker rounds take turns, so that a busy machine slows both.
const ROUND: usize = 200;
const ROUNDS: usize = 20;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.get(1).is_some_and(|first| first == "worker") {
        return run_worker();
    }
    let limit = arguments.iter().skip_while(|argument| *argument != "--limit-us").nth(1);
    let limit: Option<f64> = limit.and_then(|limit| limit.parse().ok());
    compare(SMALL_SIDE);
    let difference = compare(SIDE);
    match limit {
        Some(limit) if difference > limit => {
            println!("above the limit of {limit}");
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}

/// Measures and prints; gives the difference of the medians in microseconds.
fn compare(side: usize) -> f64 {
    let (direct, worker) = measure(side);
    let (direct, worker) = (Figures::of(direct), Figures::of(worker));
    let difference = worker.median_us - direct.median_us;
    println!("{side}x{side} RGB, {} frames each, in microseconds", ROUND * ROUNDS);
    println!("direct  median {:8.1}  p99 {:8.1}", direct.median_us, direct.p99_us);
    println!("worker  median {:8.1}  p99 {:8.1}", worker.median_us, worker.p99_us);
    println!("difference of the medians {difference:.1}");
    difference
}

fn measure(side: usize) -> (Vec<Duration>, Vec<Duration>) {
    let (mut direct, mut worker) = (Vec::new(), Vec::new());
    let folder = tempfile::tempdir().expect("a temporary folder");
    let library = built_library();
    std::fs::copy(&library, folder.path().join("passthrough.so")).expect("a copy of the plugin");
    let mut in_process = Direct::open(&library, side);
    let mut in_worker = Worker::open(folder.path(), side);
    for _ in 0..WARM_UP {
        in_process.frame();
        in_worker.frame();
    }
    for _ in 0..ROUNDS {
        direct.extend((0..ROUND).map(|_| in_process.frame()));
        worker.extend((0..ROUND).map(|_| in_worker.frame()));
    }
    (direct, worker)
}

struct Direct {
    side: usize,
    stream: plugin_api::loader::LoadedStream,
    input: Vec<u8>,
    output: Vec<u8>,
}

impl Direct {
    fn open(library: &Path, side: usize) -> Self {
        let params = json!({ "width": side, "height": side }).to_string();
        let context = || HostContext::new(Arc::new(Silent), &Environment::default());
        let library = Library::open(library).expect("the plugin opens");
        let pipeline =
            library.load(context(), Wanted::pipeline("passthrough", &params)).expect("a pipeline");
        let stream = pipeline
            .open_stream(context(), Wanted::pipeline("passthrough", &params))
            .expect("a stream");
        Self { side, stream, input: vec![1; side * side * 3], output: vec![0; side * side * 3] }
    }

    fn frame(&mut self) -> Duration {
        let (width, height, stride) = (self.side as u32, self.side as u32, self.side * 3);
        let pixels = self.input.as_slice();
        let input = plugin_api::Frame { id: 1, captured_ns: 1, width, height, stride, pixels };
        let pixels = self.output.as_mut_slice();
        let mut output =
            plugin_api::FrameMut { id: 1, captured_ns: 1, width, height, stride, pixels };
        let begun = Instant::now();
        self.stream.process(&input, &mut output).expect("a picture");
        begun.elapsed()
    }
}

struct Worker {
    pipeline: Box<dyn Pipeline>,
    input: Arc<dyn FramePool>,
    frames: u64,
    _catalog: PluginCatalog,
}

impl Worker {
    fn open(plugins: &Path, side: usize) -> Self {
        let cache = plugins.join("cache");
        let mut config = Config::new(vec![plugins.to_owned()], cache, Environment::default());
        config.worker = WorkerCommand {
            exe: std::env::current_exe().expect("a path"),
            args: vec!["worker".into()],
            env: Vec::new(),
        };
        let catalog = PluginCatalog::new(config).expect("a catalog");
        let claim = catalog.resolve("passthrough", None).expect("the plugin is accepted").id;
        let params =
            json!({ "width": side, "height": side }).as_object().cloned().unwrap_or_default();
        let formats = catalog.plan(&claim, None, &params).expect("a plan").formats;
        let opened = catalog.open(OpenRequest { claim, formats }).expect("frame memory");
        let mut pipeline = opened.pipeline;
        pipeline.load(&params, &mut |_| {}).expect("a loaded stream");
        Self { pipeline, input: opened.input, frames: 0, _catalog: catalog }
    }

    fn frame(&mut self) -> Duration {
        let slot = self.input.lease().expect("a free slot");
        self.frames += 1;
        let stamp = FrameStamp { id: self.frames, captured_at: Instant::now() };
        let frame = Frame::new(stamp, slot);
        let begun = Instant::now();
        self.pipeline.process(frame).expect("a picture");
        begun.elapsed()
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

struct Figures {
    median_us: f64,
    p99_us: f64,
}

impl Figures {
    fn of(mut times: Vec<Duration>) -> Self {
        times.sort();
        let at = |part: f64| times[(times.len() as f64 * part) as usize].as_secs_f64() * 1e6;
        Self { median_us: at(0.5), p99_us: at(0.99) }
    }
}

fn built_library() -> PathBuf {
    let bench = std::env::current_exe().expect("a path");
    let library =
        bench.parent().and_then(Path::parent).map(|folder| folder.join("libplugin_passthrough.so"));
    library
        .filter(|library| library.is_file())
        .expect("run `cargo build -p plugin-passthrough` first")
}
