//! Two plugins, `fake` and `steady`, each with a script that says how their pipelines fare.

use super::media::BY_PIPELINE;
use super::memory::HeapPool;
use super::patiently;
use host_ports::{
    Artefact, Claim, ClaimRef, FieldError, Formats, Frame, FramePool, FrameSize, Notice,
    OpenRequest, Opened, Pipeline, PipelineCatalog, PipelineError, Plan, PlanError, PluginReport,
    Progress, ResolveError, Unsupported,
};
use serde_json::{Map, Value, json};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use tokio::sync::watch;

#[derive(Default)]
pub struct FakeCatalog {
    fake: Arc<Script>,
    steady: Arc<Script>,
    /// Whether `fake` is not installed.
    is_missing: AtomicBool,
    listeners: Mutex<Vec<Box<dyn Fn() + Send + Sync>>>,
}

/// How one load goes; well, if nothing is said.
pub enum Load {
    Well,
    Fails(PipelineError),
    /// Until it is cancelled.
    Never,
    /// Once it is released; well, or with an error.
    Held(Option<PipelineError>),
}

/// How one frame fares; well, if nothing is said.
pub enum Turn {
    Well,
    Fails(PipelineError),
    Skips,
    Panics,
    /// Until it is released, deaf to cancelling.
    Hangs,
}

/// What a plugin's pipelines do, and what was asked of them.
pub struct Script {
    log: watch::Sender<Vec<String>>,
    pub loads: Mutex<VecDeque<Load>>,
    pub turns: Mutex<VecDeque<Turn>>,
    pub updates: Mutex<VecDeque<PipelineError>>,
    /// What the pipeline tells the user from its next call on.
    pub notices: Mutex<Vec<Notice>>,
    pub plans: Mutex<VecDeque<PlanError>>,
    pub unsupported: Mutex<Vec<Unsupported>>,
    pub memory_bytes: Mutex<u64>,
    /// What the model `large` needs and is not here; as long as that is so nobody knows its memory.
    pub missing: Mutex<Vec<Artefact>>,
    loads_held: Mutex<bool>,
    changed_loads: Condvar,
    /// Calls that may go on; none means all.
    permits: Mutex<Option<usize>>,
    changed: Condvar,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            log: watch::channel(Vec::new()).0,
            loads: Mutex::default(),
            turns: Mutex::default(),
            updates: Mutex::default(),
            notices: Mutex::default(),
            plans: Mutex::default(),
            unsupported: Mutex::default(),
            memory_bytes: Mutex::default(),
            missing: Mutex::default(),
            loads_held: Mutex::new(true),
            changed_loads: Condvar::new(),
            permits: Mutex::new(None),
            changed: Condvar::new(),
        }
    }
}

impl Script {
    pub fn load(&self, load: Load) {
        self.loads.lock().unwrap().push_back(load);
    }

    /// The model `large` needs this of the hub.
    pub fn lack(&self, model: &str, is_optional: bool) {
        self.missing.lock().unwrap().push(Artefact {
            model: model.to_owned(),
            revision: "main".to_owned(),
            files: Vec::new(),
            is_optional,
            without: format!("{model} is not here."),
        });
    }

    /// And finds it now.
    pub fn find(&self, model: &str) {
        self.missing.lock().unwrap().retain(|artefact| artefact.model != model);
    }

    pub fn turn(&self, turn: Turn) {
        self.turns.lock().unwrap().push_back(turn);
    }

    /// From now on a frame, a plan or a hanging call waits for `release`.
    pub fn hold(&self) {
        *self.permits.lock().unwrap() = Some(0);
    }

    pub fn release(&self, calls: usize) {
        *self.permits.lock().unwrap().get_or_insert(0) += calls;
        self.changed.notify_all();
    }

    /// All go on, now and later.
    pub fn release_all(&self) {
        *self.permits.lock().unwrap() = None;
        self.changed.notify_all();
    }

    /// Loads that are held go on, now and later.
    pub fn release_loads(&self) {
        *self.loads_held.lock().unwrap() = false;
        self.changed_loads.notify_all();
    }

    pub fn log(&self) -> Vec<String> {
        self.log.borrow().clone()
    }

    pub fn count(&self, entry: &str) -> usize {
        self.log.borrow().iter().filter(|each| each.starts_with(entry)).count()
    }

    /// Waits until `count` entries start with `entry`.
    pub async fn logged(&self, entry: &str, count: usize) {
        let mut log = self.log.subscribe();
        let is_met =
            |log: &Vec<String>| log.iter().filter(|each| each.starts_with(entry)).count() >= count;
        let met = patiently(entry, log.wait_for(is_met)).await;
        met.expect("the script keeps the channel open");
    }

    fn note(&self, entry: String) {
        self.log.send_modify(|log| log.push(entry));
    }

    fn wait(&self) {
        let permits = self.permits.lock().unwrap();
        let mut permits = self.changed.wait_while(permits, |permits| *permits == Some(0)).unwrap();
        if let Some(left) = permits.as_mut() {
            *left -= 1;
        }
    }
}

impl FakeCatalog {
    pub fn script(&self, pipeline: &str) -> Arc<Script> {
        match pipeline {
            "steady" => self.steady.clone(),
            _ => self.fake.clone(),
        }
    }

    /// The plugin `fake` is gone, or there again.
    pub fn install(&self, is_there: bool) {
        self.is_missing.store(!is_there, Ordering::SeqCst);
        self.listeners.lock().unwrap().iter().for_each(|told| told());
    }
}

impl PipelineCatalog for FakeCatalog {
    fn plugins(&self) -> Vec<PluginReport> {
        Vec::new()
    }

    fn claims(&self) -> Vec<Claim> {
        ["fake", "steady"].map(claim).to_vec()
    }

    fn resolve(&self, pipeline: &str, model_id: Option<&str>) -> Result<Claim, ResolveError> {
        let on_offer = || vec!["fake".to_owned(), "steady".to_owned()];
        let pipeline = pipeline.to_owned();
        if pipeline == "fake" && self.is_missing.load(Ordering::SeqCst) {
            let on_offer = vec!["steady".to_owned()];
            return Err(ResolveError::UnknownPipeline { pipeline, on_offer });
        }
        match (pipeline.as_str(), model_id) {
            ("fake" | "steady", None | Some("small" | "large")) => Ok(claim(&pipeline)),
            ("fake" | "steady", Some(model_id)) => Err(ResolveError::UnknownModel {
                pipeline: pipeline.clone(),
                model_id: model_id.to_owned(),
                on_offer: vec!["small".to_owned(), "large".to_owned()],
            }),
            _ => Err(ResolveError::UnknownPipeline { pipeline, on_offer: on_offer() }),
        }
    }

    fn plan(
        &self,
        claim: &ClaimRef,
        _previous: Option<&Map<String, Value>>,
        params: &Map<String, Value>,
    ) -> Result<Plan, PlanError> {
        let script = self.script(&claim.pipeline);
        script.note("plan".to_owned());
        let is_path = params["picture"].as_str().is_some_and(|picture| picture.starts_with('/'));
        assert!(!is_path, "a plan is made of what the client wrote");
        if params["prompt"] == "slow plan" {
            script.wait();
        }
        if let Some(error) = script.plans.lock().unwrap().pop_front() {
            return Err(error);
        }
        let forbidden = params["prompt"] == "forbidden";
        let errors = forbidden.then(|| FieldError {
            pointer: "/prompt".to_owned(),
            message: "must be another one".to_owned(),
        });
        let is_large = params["model_id"] == "large";
        let mut missing = script.missing.lock().unwrap().clone();
        missing.retain(|_| is_large);
        let memory_bytes = *script.memory_bytes.lock().unwrap();
        Ok(Plan {
            formats: formats(params),
            errors: errors.into_iter().collect(),
            unsupported: script.unsupported.lock().unwrap().clone(),
            reload: Vec::new(),
            warnings: missing.iter().map(|artefact| artefact.without.clone()).collect(),
            parts_bytes: Default::default(),
            memory_bytes: if missing.is_empty() { memory_bytes } else { 0 },
            latency_frames: 1,
            artefacts: missing,
        })
    }

    fn open(&self, request: OpenRequest) -> Result<Opened, PipelineError> {
        let script = self.script(&request.claim.pipeline);
        script.note(format!("open {}", request.formats.input));
        let input = HeapPool::new(request.formats.input);
        let pipeline = FakePipeline {
            script,
            input: input.clone(),
            output: HeapPool::new(request.formats.output),
            prompt: String::new(),
            notices: Vec::new(),
            is_cancelled: Arc::default(),
        };
        Ok(Opened { pipeline: Box::new(pipeline), input: Arc::new(input) })
    }

    fn tell_changes(&self, told: Box<dyn Fn() + Send + Sync>) {
        self.listeners.lock().unwrap().push(told);
    }
}

struct FakePipeline {
    script: Arc<Script>,
    input: HeapPool,
    output: HeapPool,
    prompt: String,
    notices: Vec<Notice>,
    is_cancelled: Arc<AtomicBool>,
}

impl Pipeline for FakePipeline {
    fn load(
        &mut self,
        params: &Map<String, Value>,
        on_progress: &mut dyn FnMut(Progress),
    ) -> Result<(), PipelineError> {
        self.take(params);
        self.script.note(format!("load {}", self.prompt));
        on_progress(Progress { fraction: 0.5, what: "weights".to_owned() });
        let load = self.script.loads.lock().unwrap().pop_front();
        match load.unwrap_or(Load::Well) {
            Load::Well => Ok(()),
            Load::Held(error) => {
                let permits = self.script.loads_held.lock().unwrap();
                drop(self.script.changed_loads.wait_while(permits, |held| *held).unwrap());
                error.map_or(Ok(()), Err)
            }
            Load::Fails(error) => Err(error),
            Load::Never => {
                let permits = self.script.permits.lock().unwrap();
                let is_waiting = |_: &mut Option<usize>| !self.is_cancelled.load(Ordering::SeqCst);
                drop(self.script.changed.wait_while(permits, is_waiting).unwrap());
                self.script.note("cancelled".to_owned());
                Err(PipelineError::Cancelled)
            }
        }
    }

    fn update(&mut self, params: &Map<String, Value>) -> Result<(), PipelineError> {
        self.take(params);
        self.script.note(format!("update {}", self.prompt));
        match self.script.updates.lock().unwrap().pop_front() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    fn process(&mut self, frame: Frame) -> Result<Option<Frame>, PipelineError> {
        assert!(self.input.owns(frame.slot()), "a frame in another pipeline's memory");
        self.script.note(format!("process {} {}", frame.stamp.id, self.prompt));
        self.notices = self.script.notices.lock().unwrap().clone();
        let turn = self.script.turns.lock().unwrap().pop_front().unwrap_or(Turn::Well);
        match turn {
            Turn::Hangs | Turn::Well => self.script.wait(),
            Turn::Fails(error) => return Err(error),
            Turn::Skips => return Ok(None),
            Turn::Panics => panic!("a fault of the host"),
        }
        let mut slot = self.output.lease().expect("the pipeline's own memory suffices");
        slot.pixels_mut()[0] = BY_PIPELINE;
        Ok(Some(Frame::new(frame.stamp, slot)))
    }

    fn notices(&self) -> &[Notice] {
        &self.notices
    }

    fn canceller(&self) -> Arc<dyn Fn() + Send + Sync> {
        let (script, is_cancelled) = (self.script.clone(), self.is_cancelled.clone());
        Arc::new(move || {
            is_cancelled.store(true, Ordering::SeqCst);
            drop(script.permits.lock().unwrap());
            script.changed.notify_all();
        })
    }

    fn worker_pid(&self) -> Option<u32> {
        Some(4711)
    }
}

impl FakePipeline {
    fn take(&mut self, params: &Map<String, Value>) {
        assert!(!params.contains_key("fallback"), "the host's params stay with the host");
        let picture = params["picture"].as_str().map(|path| format!(" with {path}"));
        let prompt = params["prompt"].as_str().unwrap_or_default();
        self.prompt = format!("{prompt}{}", picture.unwrap_or_default());
    }
}

impl Drop for FakePipeline {
    fn drop(&mut self) {
        self.script.note("drop".to_owned());
    }
}

fn formats(params: &Map<String, Value>) -> Formats {
    let side = params["width"].as_u64().and_then(|side| u32::try_from(side).ok()).unwrap_or(8);
    let input = FrameSize::new(side, side);
    Formats { input, output: FrameSize::new(side * 2, side * 2) }
}

fn claim(pipeline: &str) -> Claim {
    Claim {
        pipeline: pipeline.to_owned(),
        name_given: None,
        id: ClaimRef { plugin: pipeline.to_owned(), pipeline: pipeline.to_owned(), index: 0 },
        models: Some(vec!["small".to_owned(), "large".to_owned()]),
        description: String::new(),
        params_schema: json!({
            "type": "object",
            "properties": {
                "model_id": { "enum": ["small", "large"], "default": "small" },
                "prompt": { "type": "string", "default": "flowers", "x-apply": "hot" },
                "width": { "type": "integer", "default": 8, "maximum": 64 },
                "picture": {
                    "type": ["string", "null"], "default": null, "x-apply": "hot", "x-null": "clear", "x-fetch": "image",
                },
            },
        }),
    }
}
