//! What the plugins of all families do alike: [`plan`], load a model of theirs, and run a stream's frames through it.

mod adapters;
mod controls;
mod missing;
mod plan;
mod processors;
mod seen;

pub use plan::plan;

use std::path::PathBuf;
use std::sync::Arc;

use plugin_api::{
    Error, Formats, Frame, FrameFormat, FrameMut, Graft, Host, LogLevel, Outcome, Params, Pipeline,
    Stream,
};
use serde_json::{Map, Value};

use crate::engine::{Backend, Engine, EngineOptions, Report};
use crate::family::Family;
use crate::files::ModelFiles;
use crate::folder::{Checkpoint, Parts};
use crate::lora::Lora;
use crate::onnx::{Provider, has_provider, wants_graphs};
use crate::params::{Acceleration, RUNTIME, StreamParams, to_error};
use crate::resolve::ModelRoots;
use crate::shared::Shared;
use crate::sizes::Pictures;
use crate::stream::adapters::{ImagePrompt, ImagePrompts};
use crate::stream::controls::{ControlNets, Steered};
use crate::stream::pictures::{ImageProcessors, Picture, Place};
use crate::stream::{self, Settings, Source, Times};
use crate::tensor::Tensor;
use adapters::About;

/// Those in memory: streams that differ in size, guidance or mode alone share one too.
static CHECKPOINTS: Shared<Origin, Checkpoint> = Shared::new();

/// All that a loaded checkpoint depends on.
#[derive(Clone, PartialEq)]
struct Origin {
    model: PathBuf,
    vae: PathBuf,
    loras: Vec<Lora>,
    has_cached_attention: bool,
    has_residuals: bool,
    adapter: Option<Graft>,
    acceleration: Acceleration,
    /// For what the networks are compiled, if they are.
    compiled: Option<Pictures>,
}

impl Origin {
    fn load(&self, host: &Host, pictures: Pictures) -> Result<Checkpoint, Error> {
        let engine = start_engine(host, self.acceleration)?;
        let mut progress = |share: f32, part: &str| {
            host.progress(share, &format!("loading {part}"));
            !host.is_cancelled()
        };
        let parts = Parts {
            model: &self.model,
            vae: &self.vae,
            loras: &self.loras,
            has_cached_attention: self.has_cached_attention,
            has_residuals: self.has_residuals,
            adapter: self.adapter.as_ref(),
            pictures,
        };
        Checkpoint::load(&engine, parts, &mut progress).map_err(|error| {
            match error.is_cancelled() {
                true => Error::cancelled(),
                false => error.into(),
            }
        })
    }
}

/// What runs networks, the best of what is there and wished for.
pub fn start_engine(host: &Host, acceleration: Acceleration) -> Result<Engine, Error> {
    let environment = host.environment();
    Ok(Engine::start(&EngineOptions {
        backend: Backend::Any,
        providers: providers(acceleration),
        runtime: environment.engines_dir.join(RUNTIME),
        engines: environment.engines_dir.clone(),
        has_cuda_graphs: wants_graphs()?,
        threads: environment.threads.max(1) as usize,
    })?)
}

/// A model's weights, loaded; shared by its streams.
pub struct Loaded {
    checkpoint: Arc<Checkpoint>,
}

impl Loaded {
    /// Loads the model that the params name, which must be of the plugin's family.
    pub fn open(host: &Host, values: &Map<String, Value>, family: Family) -> Result<Self, Error> {
        let params = read(values)?;
        let environment = host.environment();
        let roots = ModelRoots::from_environment(environment.models_dir.clone());
        let model = roots.resolve(&params.model_id)?;
        let files = ModelFiles::open(&model)?;
        family.expect(&files)?;
        let chosen = params.loras(&roots, &files)?;
        let small = params.use_tiny_vae.then_some(family.tiny_autoencoder());
        let vae = roots.autoencoder(&model, params.vae_id.as_deref(), small)?;
        for warning in vae.warning.iter().chain(&chosen.warning) {
            host.log(LogLevel::Warn, warning);
        }
        let acceleration = params.acceleration;
        let settings = params.settings();
        let pictures = Pictures::of(&settings);
        let runtime = environment.engines_dir.join(RUNTIME);
        let is_compiled =
            acceleration == Acceleration::Tensorrt && has_provider(&runtime, "tensorrt");
        let compiled = is_compiled.then_some(pictures);
        let (vae, loras) = (vae.path, chosen.loras);
        let has_cached_attention = params.cached_attention.enabled;
        let has_residuals = !settings.controls.is_empty();
        let about = About { host, family, worked: worked_size(&settings) };
        let adapter = settings.adapter.and_then(|adapter| about.graft(&adapter, &files));
        let origin = Origin {
            model,
            vae,
            loras,
            has_cached_attention,
            has_residuals,
            adapter,
            acceleration,
            compiled,
        };
        let mut waits = || {
            host.progress(0.0, "waiting for another stream that loads the same model");
            !host.is_cancelled()
        };
        let loaded = CHECKPOINTS
            .get(origin.clone(), &mut waits, || origin.load(host, pictures))
            .ok_or_else(Error::cancelled)?;
        let checkpoint = loaded?;
        log_report(host, &checkpoint.report);
        checkpoint.warnings.iter().for_each(|warning| host.log(LogLevel::Warn, warning));
        host.progress(1.0, "loaded");
        Ok(Self { checkpoint })
    }
}

fn read(values: &Map<String, Value>) -> Result<StreamParams, Error> {
    let params = StreamParams::read(values).map_err(|error| Error::invalid(error.message))?;
    to_error(params.check())?;
    Ok(params)
}

fn providers(wish: Acceleration) -> Vec<Provider> {
    match wish {
        Acceleration::Tensorrt => vec![Provider::TensorRt, Provider::Cuda, Provider::Cpu],
        Acceleration::None | Acceleration::Xformers => vec![Provider::Cuda, Provider::Cpu],
    }
}

fn log_report(host: &Host, report: &Report) {
    host.log(LogLevel::Info, &format!("networks run on {}, {}", report.backend, report.provider));
    for refusal in &report.refused {
        host.log(LogLevel::Info, &format!("not on {}: {}", refusal.provider, refusal.reason));
    }
}

impl Pipeline for Loaded {
    type Stream = Running;

    fn open_stream(&self, host: &Host, params: &Params<'_>) -> Result<Running, Error> {
        let settings = read(params.values)?.settings();
        let worked = worked_size(&settings);
        let mut processors = processors::Opened::default();
        processors.follow(host, &settings.hooks, worked);
        let controls = controls::Opened::new(host, &settings.controls, worked);
        let about = About { host, family: self.checkpoint.family, worked };
        let unet = self.checkpoint.unet.network();
        let adapter = adapters::Opened::new(about, unet, settings.adapter.as_ref());
        let output = params.output.unwrap_or_else(|| processors.output(worked));
        let formats = Formats { input: worked, output };
        let stream = stream::Stream::new(self.checkpoint.clone(), settings)?;
        let others = Others { processors, controls, adapter };
        Ok(Running { stream, others, formats, host: host.clone() })
    }
}

fn worked_size(settings: &Settings) -> FrameFormat {
    let shape = settings.shape;
    FrameFormat::new(shape.width as u32, shape.height as u32)
}

/// What other plugins do for a stream.
struct Others {
    processors: processors::Opened,
    controls: controls::Opened,
    adapter: adapters::Opened,
}

impl ImageProcessors for Others {
    fn process(
        &mut self,
        place: Place,
        index: usize,
        picture: &Picture,
        frame: Source,
    ) -> Option<Picture> {
        self.processors.process(place, index, picture, frame)
    }
}

impl ControlNets for Others {
    fn look(&mut self, picture: Picture, frame: Source, kept: usize) {
        self.controls.look(picture, frame, kept);
    }

    fn add(&mut self, at: usize, rows: &Steered<'_>, sum: &mut [Tensor]) {
        self.controls.add(at, rows, sum);
    }
}

impl ImagePrompts for Others {
    fn image_prompt(&self) -> Option<&ImagePrompt> {
        self.adapter.image_prompt()
    }
}

/// One stream.
pub struct Running {
    stream: stream::Stream,
    others: Others,
    formats: Formats,
    host: Host,
}

impl Stream for Running {
    fn formats(&self) -> Formats {
        self.formats
    }

    fn update(&mut self, params: &Params<'_>) -> Result<(), Error> {
        self.stream.update(read(params.values)?.settings())?;
        let Settings { hooks, adapter, .. } = self.stream.settings();
        self.others.processors.follow(&self.host, hooks, self.formats.input);
        if let Some(adapter) = adapter {
            self.others.adapter.follow(adapter);
        }
        Ok(())
    }

    fn process(&mut self, input: &Frame<'_>, output: &mut FrameMut<'_>) -> Result<Outcome, Error> {
        let given = Formats { input: input.format(), output: output.format() };
        if given != self.formats {
            let Formats { input, output } = self.formats;
            return Err(Error::invalid(format!(
                "frames must be {input} in and {output} out, got {} and {}",
                given.input, given.output
            )));
        }
        let rgb = input.rows().collect::<Vec<_>>().concat();
        let source = Source { id: input.id, captured_ns: input.captured_ns };
        let Some(made) = self.stream.process_with(rgb, source, &mut self.others)? else {
            return Ok(Outcome::Skipped);
        };
        // A processor that changes the size may have been switched off.
        let FrameFormat { width, height } = self.formats.output;
        let picture = made.picture.scaled_to(width as usize, height as usize);
        let row = width as usize * plugin_api::PIXEL_BYTES;
        for (target, source) in output.rows_mut().zip(picture.rgb.chunks_exact(row)) {
            target.copy_from_slice(source);
        }
        output.set_source(made.frame.id, made.frame.captured_ns);
        if let Some(times) = made.times {
            self.report(times);
        }
        Ok(Outcome::Produced)
    }
}

impl Running {
    fn report(&self, times: Times) {
        for (name, time) in
            [("encode_ms", times.encode), ("unet_ms", times.unet), ("decode_ms", times.decode)]
        {
            self.host.metric(name, time.as_secs_f64() * 1000.0);
        }
    }
}
