//! `streamdiffusion-host bench`: a built-in clip through a pipeline, frame after frame and without media, to learn what a
//! machine makes of a model.

mod clip;

use crate::Config;
use clap::Args;
use clip::Clip;
use host_plugins::PluginCatalog;
use host_ports::{
    Frame, FramePool, FrameStamp, Metric, OpenRequest, Opened, Pipeline, PipelineCatalog,
    PipelineError,
};
use host_runtime::{ChangeError, Draft, NewStream, draft};
use serde_json::{Map, Value, json};
use std::fmt::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Frames before measuring, and for so long at least: what is loaded or compiled late, and a stream batch that fills.
const FIRST_FRAMES: u64 = 8;
const FIRST_TIME: Duration = Duration::from_secs(1);

/// What to measure.
#[derive(Args)]
pub struct Bench {
    /// Name of the pipeline, as in a stream's `pipeline`
    #[arg(long)]
    pipeline: String,
    /// The `model_id`, where the pipeline takes one
    #[arg(long, value_name = "ID")]
    model: Option<String>,
    /// More params, as in a stream's `params`
    #[arg(long, value_name = "JSON", default_value = "{}", value_parser = object)]
    params: Map<String, Value>,
    /// How long to measure
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    #[error("cannot look for plugins; `plugins.folders` says where they are")]
    Plugins(#[source] std::io::Error),
    #[error("cannot start the threads of tokio")]
    Tokio(#[source] std::io::Error),
    #[error(transparent)]
    Draft(#[from] ChangeError),
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
    #[error("the pipeline keeps all frame memory, so that no frame can be given to it")]
    NoMemory,
    #[error("of {frames} frames none came out")]
    NoFrames { frames: u64 },
}

/// What came of it.
#[derive(Debug)]
struct Figures {
    loading: Duration,
    /// From the load's end.
    first_frame: Duration,
    measured: Duration,
    outputs: usize,
    calls: Times,
    /// By name, in the plugin's order.
    stages: Vec<(String, Times)>,
    memory: Option<Memory>,
}

/// How long something took each time, in milliseconds.
#[derive(Debug, Default)]
struct Times(Vec<f64>);

/// Of the worker, in KiB.
#[derive(Clone, Copy, Debug)]
struct Memory {
    resident: u64,
    peak: u64,
}

impl Bench {
    /// Runs to the end and gives what is to be printed. Blocks.
    pub fn run(self, config: Config) -> Result<String, BenchError> {
        let catalog = PluginCatalog::new(config.plugins).map_err(BenchError::Plugins)?;
        let catalog: Arc<dyn PipelineCatalog> = Arc::new(catalog);
        let mut params = self.params.clone();
        params.extend(self.model.clone().map(|model| ("model_id".to_owned(), model.into())));
        let wish = NewStream { pipeline: self.pipeline.clone(), params, ..NewStream::default() };
        let planning = tokio::runtime::Builder::new_current_thread().build();
        let planning = planning.map_err(BenchError::Tokio)?;
        let drafted = draft(catalog.clone(), config.runtime.default_fallback, &wish);
        let draft = planning.block_on(drafted)?;
        let figures = self.measure(&*catalog, &draft)?;
        Ok(if self.json { figures.json(&draft) } else { figures.text(&draft) })
    }

    fn measure(&self, catalog: &dyn PipelineCatalog, draft: &Draft) -> Result<Figures, BenchError> {
        let mut player = Player::open(catalog, draft)?;
        let begin = Instant::now();
        player.pipeline.load(&draft.for_plugin(), &mut |_| {})?;
        let loading = begin.elapsed();
        let first_frame = player.warm_up()?;
        let (begin, limit) = (Instant::now(), Duration::from_secs(self.seconds));
        let (mut calls, mut stages, mut outputs) = (Times::default(), Vec::new(), 0);
        while begin.elapsed() < limit {
            let (time, is_output) = player.call()?;
            calls.0.push(in_ms(time));
            if is_output {
                outputs += 1;
                add(&mut stages, player.pipeline.metrics());
            }
        }
        let measured = begin.elapsed();
        let memory = player.pipeline.worker_pid().and_then(memory);
        Ok(Figures { loading, first_frame, measured, outputs, calls, stages, memory })
    }
}

/// Gives a pipeline one frame of the clip after the other.
struct Player {
    pipeline: Box<dyn Pipeline>,
    input: Arc<dyn FramePool>,
    clip: Clip,
    frame_id: u64,
}

impl Player {
    fn open(catalog: &dyn PipelineCatalog, draft: &Draft) -> Result<Self, BenchError> {
        let formats = draft.plan.formats;
        let Opened { pipeline, input } =
            catalog.open(OpenRequest { claim: draft.claim.id.clone(), formats })?;
        Ok(Self { pipeline, input, clip: Clip::draw(formats.input), frame_id: 0 })
    }

    /// How long the next frame took, and whether one came out.
    fn call(&mut self) -> Result<(Duration, bool), BenchError> {
        let mut slot = self.input.lease().ok_or(BenchError::NoMemory)?;
        slot.pixels_mut().copy_from_slice(self.clip.frame(self.frame_id));
        self.frame_id += 1;
        let started = Instant::now();
        let stamp = FrameStamp { id: self.frame_id, captured_at: started };
        let output = self.pipeline.process(Frame::new(stamp, slot))?;
        Ok((started.elapsed(), output.is_some()))
    }

    /// Gives the time until the first output.
    fn warm_up(&mut self) -> Result<Duration, BenchError> {
        let begin = Instant::now();
        let mut first_output = None;
        while self.frame_id < FIRST_FRAMES || begin.elapsed() < FIRST_TIME {
            let (_, is_output) = self.call()?;
            first_output = first_output.or_else(|| is_output.then(|| begin.elapsed()));
        }
        first_output.ok_or(BenchError::NoFrames { frames: self.frame_id })
    }
}

impl Figures {
    fn fps(&self) -> f64 {
        self.outputs as f64 / self.measured.as_secs_f64()
    }

    fn text(&self, draft: &Draft) -> String {
        let [p50, p95, p99] = self.calls.percentiles([50, 95, 99]);
        let (claim, formats) = (&draft.claim.id, draft.plan.formats);
        let mut text = format!(
            "{} of plugin {}, {} to {}\n",
            claim.pipeline, claim.plugin, formats.input, formats.output
        );
        // Writing to a text does not fail.
        let _ = writeln!(text, "frames    {:.1} a second", self.fps());
        let _ = writeln!(text, "a frame   p50 {p50:.1} ms, p95 {p95:.1} ms, p99 {p99:.1} ms");
        for (name, times) in &self.stages {
            let [p50, p95] = times.percentiles([50, 95]);
            let _ = writeln!(text, "  {name:<8}p50 {p50:.1} ms, p95 {p95:.1} ms");
        }
        let (loading, first) = (self.loading.as_secs_f64(), in_ms(self.first_frame));
        let _ = writeln!(text, "loading   {loading:.2} s, then {first:.0} ms to the first frame");
        if let Some(Memory { resident, peak }) = self.memory {
            let (resident, peak) = (resident >> 10, peak >> 10);
            let _ = writeln!(text, "memory    {resident} MiB, at most {peak} MiB");
        }
        for warning in draft.warnings() {
            let _ = writeln!(text, "warning: {warning}");
        }
        text
    }

    fn json(&self, draft: &Draft) -> String {
        let [p50, p95, p99] = self.calls.percentiles([50, 95, 99]);
        let stage = |(name, times): &(String, Times)| {
            let [p50, p95] = times.percentiles([50, 95]);
            (name.clone(), json!({ "p50": p50, "p95": p95 }))
        };
        let stages: Map<_, _> = self.stages.iter().map(stage).collect();
        let figures = json!({
            "pipeline": draft.claim.id.pipeline,
            "plugin": draft.claim.id.plugin,
            "width": draft.plan.formats.output.width,
            "height": draft.plan.formats.output.height,
            "fps": self.fps(),
            "process_ms": { "p50": p50, "p95": p95, "p99": p99 },
            "stages_ms": stages,
            "frames": self.outputs,
            "load_seconds": self.loading.as_secs_f64(),
            "first_frame_ms": in_ms(self.first_frame),
            "memory_mb": self.memory.map(|memory| memory.resident as f64 / 1024.0),
            "peak_memory_mb": self.memory.map(|memory| memory.peak as f64 / 1024.0),
            "warnings": draft.warnings(),
        });
        format!("{figures}\n")
    }
}

impl Times {
    fn percentiles<const N: usize>(&self, percents: [usize; N]) -> [f64; N] {
        let mut sorted = self.0.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        let last = sorted.len().saturating_sub(1);
        percents.map(|percent| sorted.get(last * percent / 100).copied().unwrap_or_default())
    }
}

/// Adds what a plugin measured in milliseconds; the stage is the name without the unit.
fn add(stages: &mut Vec<(String, Times)>, metrics: &[Metric]) {
    for Metric { name, value } in metrics {
        let Some(stage) = name.strip_suffix("_ms") else { continue };
        match stages.iter_mut().find(|(name, _)| name == stage) {
            Some((_, times)) => times.0.push(*value),
            None => stages.push((stage.to_owned(), Times(vec![*value]))),
        }
    }
}

fn in_ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn memory(pid: u32) -> Option<Memory> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let figure = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key))?;
        line.trim().strip_suffix(" kB")?.parse().ok()
    };
    Some(Memory { resident: figure("VmRSS:")?, peak: figure("VmHWM:")? })
}

fn object(text: &str) -> Result<Map<String, Value>, String> {
    serde_json::from_str(text).map_err(|error| format!("must be a JSON object: {error}"))
}
