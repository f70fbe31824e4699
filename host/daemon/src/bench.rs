//! `streamdiffusion-host bench`: a built-in clip through a pipeline, frame after frame and without media, to learn what a
//! machine makes of a model.

mod clip;

use crate::Config;
use crate::one_pipeline::{Choice, ChoiceError};
use clap::Args;
use clip::Clip;
use host_ports::{
    Frame, FramePool, FrameStamp, Metric, OpenRequest, Opened, Pipeline, PipelineCatalog,
    PipelineError,
};
use host_runtime::Draft;
use serde_json::{Map, json};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::iter::Sum;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Frames before measuring: what is loaded or compiled late, and a stream batch that fills. For so long at least, and, once
/// there is a picture, at most.
const FIRST_FRAMES: u64 = 8;
const FIRST_TIME: Duration = Duration::from_secs(1);
const FIRST_LIMIT: Duration = Duration::from_secs(20);

/// What to measure.
#[derive(Args)]
pub struct Bench {
    #[command(flatten)]
    choice: Choice,
    /// Streams that run side by side
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=64))]
    streams: u64,
    /// How long to measure
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    #[error(transparent)]
    Choice(#[from] ChoiceError),
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
    /// From the load's end, of the slowest stream.
    first_frame: Duration,
    measured: Duration,
    /// Of all streams.
    record: Record,
    memory: Option<Memory>,
}

/// What frames took.
#[derive(Debug, Default)]
struct Record {
    outputs: usize,
    calls: Times,
    /// By name, in the plugin's order.
    stages: Vec<(String, Times)>,
}

/// How long something took each time, in milliseconds.
#[derive(Debug, Default)]
struct Times(Vec<f64>);

/// Of all workers, in KiB.
#[derive(Clone, Copy, Debug, Default)]
struct Memory {
    resident: u64,
    peak: u64,
}

impl Bench {
    /// Runs to the end and gives what is to be printed. Blocks.
    pub fn run(self, config: Config) -> Result<String, BenchError> {
        let (catalog, draft) = self.choice.draft(config)?;
        let figures = self.measure(&*catalog, &draft)?;
        Ok(if self.json { figures.json(&draft) } else { figures.text(&draft) })
    }

    fn measure(&self, catalog: &dyn PipelineCatalog, draft: &Draft) -> Result<Figures, BenchError> {
        let players = (0..self.streams).map(|_| Player::open(catalog, draft));
        let mut players = players.collect::<Result<Vec<_>, _>>()?;
        let begin = Instant::now();
        for player in &mut players {
            player.pipeline.load(&draft.for_pipeline(), &mut |_| {})?;
        }
        let loading = begin.elapsed();
        let first_frames = side_by_side(&mut players, Player::warm_up)?;
        let (begin, limit) = (Instant::now(), Duration::from_secs(self.seconds));
        let records = side_by_side(&mut players, |player| player.play(limit))?;
        Ok(Figures {
            loading,
            first_frame: first_frames.into_iter().max().unwrap_or_default(),
            measured: begin.elapsed(),
            record: records.into_iter().fold(Record::default(), Record::with),
            memory: memory(&players),
        })
    }
}

/// Each stream on a thread of its own, as in the server.
fn side_by_side<T: Send>(
    players: &mut [Player],
    work: impl Fn(&mut Player) -> Result<T, BenchError> + Sync,
) -> Result<Vec<T>, BenchError> {
    std::thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> =
            players.iter_mut().map(|player| scope.spawn(move || work(player))).collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, _>| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        threads.into_iter().map(join).collect()
    })
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
            if first_output.is_some() && begin.elapsed() > FIRST_LIMIT {
                break;
            }
        }
        first_output.ok_or(BenchError::NoFrames { frames: self.frame_id })
    }

    fn play(&mut self, limit: Duration) -> Result<Record, BenchError> {
        let (begin, mut record) = (Instant::now(), Record::default());
        while begin.elapsed() < limit {
            let (time, is_output) = self.call()?;
            record.calls.0.push(in_ms(time));
            if is_output {
                record.outputs += 1;
                add(&mut record.stages, self.pipeline.metrics());
            }
        }
        Ok(record)
    }
}

impl Record {
    fn with(mut self, other: Self) -> Self {
        self.outputs += other.outputs;
        self.calls.0.extend(other.calls.0);
        for (name, times) in other.stages {
            stage(&mut self.stages, &name).0.extend(times.0);
        }
        self
    }
}

impl Figures {
    fn fps(&self) -> f64 {
        self.record.outputs as f64 / self.measured.as_secs_f64()
    }

    fn text(&self, draft: &Draft) -> String {
        let [p50, p95, p99] = self.record.calls.percentiles([50, 95, 99]);
        let (claim, formats) = (&draft.claim.id, draft.plan.formats);
        let mut text = format!(
            "{} of plugin {}, {} to {}\n",
            draft.claim.pipeline, claim.plugin, formats.input, formats.output
        );
        // Writing to a text does not fail.
        let _ = writeln!(text, "frames    {:.1} a second", self.fps());
        let _ = writeln!(text, "a frame   p50 {p50:.1} ms, p95 {p95:.1} ms, p99 {p99:.1} ms");
        for (name, times) in &self.record.stages {
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
        let [p50, p95, p99] = self.record.calls.percentiles([50, 95, 99]);
        let stage = |(name, times): &(String, Times)| {
            let [p50, p95] = times.percentiles([50, 95]);
            (name.clone(), json!({ "p50": p50, "p95": p95 }))
        };
        let stages: Map<_, _> = self.record.stages.iter().map(stage).collect();
        let figures = json!({
            "pipeline": draft.claim.pipeline,
            "plugin": draft.claim.id.plugin,
            "width": draft.plan.formats.output.width,
            "height": draft.plan.formats.output.height,
            "fps": self.fps(),
            "process_ms": { "p50": p50, "p95": p95, "p99": p99 },
            "stages_ms": stages,
            "frames": self.record.outputs,
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
        if let Some(name) = name.strip_suffix("_ms") {
            stage(stages, name).0.push(*value);
        }
    }
}

fn stage<'a>(stages: &'a mut Vec<(String, Times)>, name: &str) -> &'a mut Times {
    let index = stages.iter().position(|(known, _)| known == name).unwrap_or_else(|| {
        stages.push((name.to_owned(), Times::default()));
        stages.len() - 1
    });
    &mut stages[index].1
}

fn in_ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// What the streams' workers have, each counted once.
fn memory(players: &[Player]) -> Option<Memory> {
    let pids: BTreeSet<u32> =
        players.iter().filter_map(|player| player.pipeline.worker_pid()).collect();
    pids.into_iter().map(memory_of).sum::<Option<Memory>>().filter(|memory| memory.peak > 0)
}

fn memory_of(pid: u32) -> Option<Memory> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let figure = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key))?;
        line.trim().strip_suffix(" kB")?.parse().ok()
    };
    Some(Memory { resident: figure("VmRSS:")?, peak: figure("VmHWM:")? })
}

impl Sum for Memory {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, one| Self {
            resident: sum.resident + one.resident,
            peak: sum.peak + one.peak,
        })
    }
}
