//! A catalog in folders of its own, libraries to put there, and streams to drive.

use host_plugins::{Config, PluginCatalog, WorkerCommand};
use host_ports::{
    Claim, Frame, FramePool, FrameStamp, OpenRequest, Pipeline, PipelineCatalog, PipelineError,
    PluginReport, PluginState, Progress,
};
use plugin_api::Environment;
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Tells the test binary that it was started as a worker.
const WORKER: &str = "HOST_PLUGINS_TEST_WORKER";
/// How long a change in a watched folder may take to be seen.
const CHANGE_LIMIT: Duration = Duration::from_secs(30);

/// The body of each test binary's `worker_entry`: workers are the test binary itself, asked for that one test.
pub fn worker_entry() {
    if std::env::var_os(WORKER).is_some() {
        let is_good = host_plugins::run_worker() == ExitCode::SUCCESS;
        std::process::exit(if is_good { 0 } else { 70 });
    }
}

/// A host's plugin side.
pub struct Host {
    pub catalog: PluginCatalog,
    pub plugins: PathBuf,
    _folder: Option<TempDir>,
}

impl Host {
    /// With libraries that cargo built, by their crates' names with underscores.
    pub fn with(libraries: &[&str]) -> Self {
        Self::configured(libraries, |_| {})
    }

    pub fn configured(libraries: &[&str], configure: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let plugins = folder.path().join("plugins");
        std::fs::create_dir(&plugins).unwrap();
        for library in libraries {
            install(&built(library), &plugins.join(format!("lib{library}.so")));
        }
        Self { _folder: Some(folder), ..Self::over(&plugins, configure) }
    }

    /// Over a folder of the test's own; copies and verdicts lie beside it.
    pub fn over(plugins: &Path, configure: impl FnOnce(&mut Config)) -> Self {
        let cache = plugins.with_file_name("cache");
        let environment = Environment { threads: 1, ..Environment::default() };
        let mut config = Config::new(vec![plugins.to_owned()], cache, environment);
        config.worker = WorkerCommand {
            exe: std::env::current_exe().unwrap(),
            args: ["worker_entry", "--exact", "--nocapture"].map(Into::into).into(),
            env: vec![(WORKER.into(), "1".into())],
        };
        configure(&mut config);
        let catalog = PluginCatalog::new(config).unwrap();
        Self { catalog, plugins: plugins.to_owned(), _folder: None }
    }

    pub fn claim(&self, pipeline: &str) -> Claim {
        self.catalog.resolve(pipeline, None).unwrap()
    }

    /// Plans and opens, without loading.
    pub fn stream(&self, pipeline: &str, params: Value) -> Stream {
        let claim = self.claim(pipeline).id;
        let params = params.as_object().unwrap().clone();
        let formats = self.catalog.plan(&claim, None, &params).unwrap().formats;
        let opened = self.catalog.open(OpenRequest { claim, formats }).unwrap();
        Stream { pipeline: opened.pipeline, input: opened.input, params, frames: 0 }
    }

    /// A loaded stream.
    pub fn loaded(&self, pipeline: &str, params: Value) -> Stream {
        let mut stream = self.stream(pipeline, params);
        stream.load().unwrap();
        stream
    }

    /// The report on a file.
    pub fn report(&self, file: &str) -> Option<PluginReport> {
        self.catalog.plugins().into_iter().find(|report| report.file == file)
    }

    pub fn reason(&self, file: &str) -> String {
        match self.report(file).map(|report| report.state) {
            Some(PluginState::Refused { reason }) => reason,
            other => format!("{file} is {other:?}"),
        }
    }

    /// Waits until the catalog looks like this.
    pub fn wait_until(&self, what: &str, is_so: impl Fn(&PluginCatalog) -> bool) {
        let deadline = Instant::now() + CHANGE_LIMIT;
        loop {
            let seen = self.catalog.generation();
            if is_so(&self.catalog) {
                return;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero(),
                "{what} did not come; there are {:#?}",
                self.catalog.plugins()
            );
            self.catalog.wait_for_change(seen, left);
        }
    }
}

/// A stream's pipeline with what the runtime would keep beside it.
pub struct Stream {
    pub pipeline: Box<dyn Pipeline>,
    pub input: Arc<dyn FramePool>,
    pub params: Map<String, Value>,
    frames: u64,
}

impl Stream {
    pub fn load(&mut self) -> Result<Vec<Progress>, PipelineError> {
        let mut seen = Vec::new();
        self.pipeline.load(&self.params, &mut |progress| seen.push(progress))?;
        Ok(seen)
    }

    /// Sets a param and applies it hot.
    pub fn update(&mut self, name: &str, value: impl Into<Value>) -> Result<(), PipelineError> {
        self.params.insert(name.into(), value.into());
        self.pipeline.update(&self.params)
    }

    /// Sets a param for the next load.
    pub fn set(&mut self, name: &str, value: impl Into<Value>) {
        self.params.insert(name.into(), value.into());
    }

    /// Puts a picture of one colour through.
    pub fn process(&mut self, colour: u8) -> Result<Option<Frame>, PipelineError> {
        let mut slot = self.input.lease().expect("a free input slot");
        slot.pixels_mut().fill(colour);
        self.frames += 1;
        let stamp = FrameStamp { id: self.frames, captured_at: Instant::now() };
        self.pipeline.process(Frame::new(stamp, slot))
    }

    /// Puts a picture through that must come out in this colour.
    pub fn expect(&mut self, colour: u8, expected: u8) {
        let frame = self.process(colour).unwrap().expect("a picture");
        assert_eq!(frame.stamp.id, self.frames);
        let size = frame.size();
        let rows = frame.pixels().chunks(size.stride());
        let row = size.width as usize * 3;
        assert!(rows.flat_map(|line| &line[..row]).all(|byte| *byte == expected));
    }
}

/// Puts a file in place at once, as a package manager does.
pub fn install(from: &Path, to: &Path) {
    let unfinished = to.with_extension("part");
    std::fs::copy(from, &unfinished).unwrap();
    std::fs::rename(unfinished, to).unwrap();
}

/// The path of a cdylib that cargo built.
pub fn built(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let library = test.parent().unwrap().parent().unwrap().join(format!("lib{name}.so"));
    let package = name.replace('_', "-");
    assert!(
        library.is_file(),
        "{} is missing; run `cargo build -p {package}` first",
        library.display()
    );
    library
}

/// Compiles a library from `tests/plugins/c` with macros like `ID="name"`; gives the path of the file.
pub fn compiled(source: &str, macros: &[&str], to: &Path) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let unfinished = to.with_extension("part");
    let output = Command::new("gcc")
        .args(["-shared", "-fPIC", "-I"])
        .arg(root.join("plugin-api/include"))
        .args(macros.iter().map(|text| format!("-D{text}")))
        .arg(root.join("tests/plugins/c").join(source))
        .arg("-o")
        .arg(&unfinished)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::fs::rename(unfinished, to).unwrap();
}

/// Whether a process exists, also as a zombie.
pub fn exists(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}
