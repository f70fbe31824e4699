//! StreamDiffusion: frames to pictures.
//!
//! With `n` steps in a batch the output of a call belongs to the frame given `n - 1` calls ago; see [`denoiser`]. Frames
//! are taken one by one or, with `frame_buffer_size`, several at once. Where there is nothing new to show, there is no
//! output: a frame that is like the last one, or one that waits for others.

pub mod adapters;
pub mod attention;
pub mod controls;
pub mod denoiser;
pub mod hooks;
pub mod others;
pub mod pictures;
pub mod settings;
pub mod similar;

pub use settings::{CachedAttention, MAX_INFERENCE_STEPS, Settings, Shape, Similarity, Start};

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::conditioning::{Conditioner, Conditioning};
use crate::engine::RunError;
use crate::folder::Checkpoint;
use crate::guidance::Guidance;
use crate::noise::Generator;
use crate::tensor::Tensor;
use crate::text_encoders::EmbedError;
use adapters::Rows;
use attention::AttentionCache;
use controls::Schedule;
use denoiser::{Denoiser, Pass};
use hooks::feed_back_latents;
use others::{NoOthers, Others};
use pictures::{ImageProcessors, Picture, Piece, Place};
use similar::SimilarImageFilter;

/// Why settings or a frame cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    #[error("`{name}` must be {expected}, got {got}")]
    Setting { name: &'static str, expected: String, got: String },
    #[error("a change of what a stream is made for needs a new stream: {old:?} to {new:?}")]
    Shape { old: Box<Shape>, new: Box<Shape> },
    #[error("a frame must be {expected} bytes of RGB, got {got}")]
    Frame { expected: usize, got: usize },
    #[error(
        "the stream's latents are not finite any more: `guidance_scale` {scale} and `delta` {delta} are too strong, smaller ones would do"
    )]
    Overflow { scale: f32, delta: f32 },
    #[error(transparent)]
    Text(#[from] EmbedError),
    #[error(transparent)]
    Run(#[from] RunError),
}

/// Which frame it is, and when it was captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    pub id: u64,
    pub captured_ns: u64,
}

/// A picture and the frame it was made from.
#[derive(Clone, Debug)]
pub struct Output {
    pub picture: Picture,
    /// The input frame this picture belongs to.
    pub frame: Source,
    /// Of the pictures that were made together the first one has these; those that diffusion skips have none.
    pub times: Option<Times>,
}

/// How long the parts of one call took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Times {
    pub encode: Duration,
    pub unet: Duration,
    pub decode: Duration,
}

/// What the newest frames went through, all in latent space.
#[derive(Clone, Debug)]
pub struct Advance {
    /// The newest frames at the noisiest step.
    pub noisy: Tensor,
    /// The calls of the UNet, in their order.
    pub passes: Vec<Pass>,
    /// The latents that leave.
    pub output: Tensor,
    pub times: Times,
}

/// One stream's state between frames.
pub struct Stream {
    checkpoint: Arc<Checkpoint>,
    settings: Settings,
    denoiser: Denoiser,
    attention: AttentionCache,
    filter: Option<SimilarImageFilter>,
    conditioner: Conditioner,
    conditioning: Conditioning,
    generator: Generator,
    /// Frames that wait for others to be taken with.
    waiting: Vec<(Tensor, Source)>,
    /// The frames under way, oldest first.
    under_way: VecDeque<Source>,
    /// Pictures that were made together and leave one by one.
    ready: VecDeque<Output>,
    /// Whether the batch holds no frames yet, so that outputs would mean nothing.
    is_cold: bool,
    /// What left last, for hooks that are there or may come.
    last_picture: Option<Piece>,
    last_latents: Option<Tensor>,
}

impl Stream {
    pub fn new(checkpoint: Arc<Checkpoint>, settings: Settings) -> Result<Self, StreamError> {
        settings.check(&checkpoint)?;
        let vae = &checkpoint.vae;
        let [height, width] =
            [settings.shape.height, settings.shape.width].map(|side| side / vae.downsampling());
        let mut conditioner = Conditioner::default();
        let mut stream = Self {
            denoiser: Denoiser::new([1, vae.latent_channels(), height, width]),
            attention: AttentionCache::default(),
            filter: settings.shape.active_filter().map(SimilarImageFilter::new),
            conditioning: conditioner.condition(&checkpoint.texts, &settings)?,
            conditioner,
            generator: Generator::new(0),
            waiting: Vec::new(),
            under_way: VecDeque::new(),
            ready: VecDeque::new(),
            is_cold: true,
            last_picture: None,
            last_latents: None,
            checkpoint,
            settings,
        };
        stream.apply_steps();
        stream.apply_seed();
        Ok(stream)
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Takes new settings between two frames; those of the shape need a new stream. On an error the old settings stay in
    /// use.
    pub fn update(&mut self, settings: Settings) -> Result<(), StreamError> {
        settings.check(&self.checkpoint)?;
        let (old, new) = (Box::new(self.settings.shape), Box::new(settings.shape));
        if old != new {
            return Err(StreamError::Shape { old, new });
        }
        self.conditioning = self.conditioner.condition(&self.checkpoint.texts, &settings)?;
        let old = std::mem::replace(&mut self.settings, settings);
        let is_resized = self.apply_steps();
        if is_resized || old.seed != self.settings.seed {
            self.apply_seed();
        }
        if is_resized || old.negative_rows() != self.settings.negative_rows() {
            self.attention.forget();
        }
        Ok(())
    }

    /// Random numbers, beyond the fixed noise of every row, come from this generator from now on.
    pub fn set_generator(&mut self, generator: Generator) {
        self.generator = generator;
    }

    /// Gives a frame, gets the picture of an earlier one, or none where there is nothing new; see the module's
    /// description. A stream that has no frames under way runs the first ones often enough to fill all steps with them.
    /// On an error the frames under way are lost, and the next one starts anew.
    pub fn process(&mut self, rgb: &[u8], frame: Source) -> Result<Option<Output>, StreamError> {
        self.process_with(rgb.to_vec(), frame, &mut NoOthers)
    }

    /// The same with what other plugins do.
    pub fn process_with(
        &mut self,
        rgb: Vec<u8>,
        frame: Source,
        others: &mut dyn Others,
    ) -> Result<Option<Output>, StreamError> {
        let Shape { width, height, frames, skips_diffusion, .. } = self.settings.shape;
        let expected = 3 * width * height;
        if rgb.len() != expected {
            return Err(StreamError::Frame { expected, got: rgb.len() });
        }
        self.checkpoint.texts.rest(Instant::now());
        let steps = &self.settings.hooks.image_preprocessing;
        let given = Picture { width, height, rgb };
        // What nobody is steered by need not be looked at.
        let is_steered = self.settings.controls.iter().any(|control| control.scale != 0.0);
        let steering = is_steered.then(|| given.clone());
        let given = Piece::Pixels(given);
        let last = (frame, self.last_picture.as_ref());
        let prepared = pictures::apply(steps, Place::Before, given, last, others);
        let prepared = prepared.scaled_to(width, height);
        if skips_diffusion {
            return Ok(Some(self.finish(prepared, frame, None, others)));
        }
        let image = prepared.into_planes();
        let is_skipped = self.filter.as_mut().is_some_and(|filter| filter.skips(&image));
        if !is_skipped {
            self.waiting.push((image, frame));
            if let Some(steering) = steering {
                others.look(steering, frame, self.settings.control_frames());
            }
        }
        if self.waiting.len() == frames
            && let Err(error) = self.render(others)
        {
            self.forget();
            return Err(error);
        }
        Ok(self.ready.pop_front())
    }

    /// Starts anew: numbers that are not finite would otherwise stay in what goes from frame to frame.
    fn forget(&mut self) {
        self.denoiser.forget();
        self.attention.forget();
        self.under_way.clear();
        self.is_cold = true;
        self.filter = self.settings.shape.active_filter().map(SimilarImageFilter::new);
        (self.last_picture, self.last_latents) = (None, None);
    }

    /// Makes pictures of the frames that wait.
    fn render(&mut self, others: &mut dyn Others) -> Result<(), StreamError> {
        let (images, newest): (Vec<Tensor>, Vec<Source>) = self.waiting.drain(..).unzip();
        let images = Tensor::stack(&images.iter().collect::<Vec<_>>());
        if self.is_cold {
            for _ in 1..self.denoiser.calls() {
                self.advance_beside(&images, &newest, others)?;
                self.under_way.extend(&newest);
            }
            self.is_cold = false;
        }
        let Advance { output, mut times, .. } = self.advance_beside(&images, &newest, others)?;
        self.under_way.extend(&newest);
        let start = Instant::now();
        let pictures = self.checkpoint.vae.decode(&output)?;
        times.decode = start.elapsed();
        let mut times = Some(times);
        for picture in pictures.into_rows() {
            let Some(frame) = self.under_way.pop_front() else { break };
            let picture = Piece::Planes(picture);
            let output = self.finish(picture, frame, times.take(), others);
            self.ready.push_back(output);
        }
        Ok(())
    }

    fn finish(
        &mut self,
        made: Piece,
        frame: Source,
        times: Option<Times>,
        processors: &mut dyn ImageProcessors,
    ) -> Output {
        let steps = &self.settings.hooks.image_postprocessing;
        let last = (frame, self.last_picture.as_ref());
        let made = pictures::apply(steps, Place::After, made, last, processors);
        let picture = made.to_picture();
        self.last_picture = Some(made);
        Output { picture, frame, times }
    }

    /// Takes pictures, `[frames, 3, height, width]`, one call further, without decoding what leaves.
    pub fn advance(&mut self, images: &Tensor) -> Result<Advance, StreamError> {
        self.advance_beside(images, &[], &mut NoOthers)
    }

    /// `newest` are the frames of the pictures, where they are of any.
    fn advance_beside(
        &mut self,
        images: &Tensor,
        newest: &[Source],
        others: &mut dyn Others,
    ) -> Result<Advance, StreamError> {
        let Settings { t_index_list, num_inference_steps, cached_attention: cached, .. } =
            &self.settings;
        let rows = (self.denoiser.rows(), self.settings.negative_rows());
        let under_way = self.under_way.iter().copied().collect::<Vec<_>>();
        let schedule = Schedule::new(self.denoiser.steps(), t_index_list, *num_inference_steps)
            .with_frames(controls::frames_of_rows(newest, &under_way, rows));
        let rows = Rows::new(self.denoiser.steps(), &self.settings);
        let (checkpoint, cached) = (self.checkpoint.clone(), *cached);
        // Both belong to the stream, which lends itself to the call.
        let controls = std::mem::take(&mut self.settings.controls);
        let mut attention = std::mem::take(&mut self.attention);
        let advance = self.advance_with(images, |inputs| {
            let shapes = checkpoint.unet.network().residual_shapes(inputs[0].shape());
            let residuals = controls::residuals(&controls, &schedule, inputs, &shapes, others);
            let picture = adapters::inputs(
                checkpoint.unet.network(),
                &rows,
                inputs[1],
                others.image_prompt(),
            );
            let more = residuals.iter().chain(&picture);
            let inputs: Vec<&Tensor> = inputs.iter().copied().chain(more).collect();
            match cached {
                Some(cached) => attention.run(&checkpoint.unet, &inputs, cached),
                None => checkpoint.unet.run(&inputs),
            }
        });
        (self.settings.controls, self.attention) = (controls, attention);
        advance
    }

    /// The same by a UNet of the caller's, who is given its usual inputs and may add others.
    pub fn advance_with(
        &mut self,
        images: &Tensor,
        mut unet: impl FnMut(&[&Tensor]) -> Result<Tensor, RunError>,
    ) -> Result<Advance, StreamError> {
        let start = Instant::now();
        let mut noisy = match self.settings.shape.start {
            Start::Frames => {
                let latents = self.checkpoint.vae.encode(images, &mut self.generator)?;
                self.denoiser.add_noise(latents)
            }
            Start::Noise { .. } => {
                self.generator.normal(self.denoiser.shape_of(self.settings.shape.frames))
            }
        };
        let encode = start.elapsed();
        let start = Instant::now();
        let Self { checkpoint, conditioning, denoiser, generator, .. } = self;
        let (hooks, last) = (&self.settings.hooks, self.last_latents.as_ref());
        let size = checkpoint.vae.scaling_factor().max(1.0);
        feed_back_latents(&hooks.latent_preprocessing, &mut noisy, last, size);
        let passes = denoiser.run(noisy.clone(), generator, |batch, timesteps| {
            let mut inputs = vec![batch, timesteps];
            inputs.extend(conditioning.tensors());
            unet(&inputs)
        })?;
        let unet = start.elapsed();
        if !passes.iter().all(|pass| pass.denoised.is_finite()) {
            let Guidance { scale, delta, .. } = self.settings.guidance;
            return Err(StreamError::Overflow { scale, delta });
        }
        let last = passes.last().map_or(&noisy, |pass| &pass.denoised);
        let mut output = last.tail(self.settings.shape.frames);
        let (hooks, last) = (&self.settings.hooks, self.last_latents.as_ref());
        feed_back_latents(&hooks.latent_postprocessing, &mut output, last, size);
        self.last_latents = Some(output.clone());
        Ok(Advance { noisy, passes, output, times: Times { encode, unet, decode: Duration::ZERO } })
    }

    pub fn decode(&self, latent: &Tensor) -> Result<Tensor, StreamError> {
        Ok(self.checkpoint.vae.decode(latent)?)
    }

    pub fn denoiser(&self) -> &Denoiser {
        &self.denoiser
    }

    /// What the texts come to for every row given to the UNet.
    pub fn conditioning(&self) -> &Conditioning {
        &self.conditioning
    }

    /// Tells whether the rows of the batch are others than before.
    fn apply_steps(&mut self) -> bool {
        let is_new = self.denoiser.configure(&self.settings, &self.checkpoint.levels);
        if is_new {
            self.under_way.clear();
            self.is_cold = true;
        }
        is_new
    }

    fn apply_seed(&mut self) {
        let shape = self.denoiser.shape_of(self.denoiser.rows());
        let mut generators: Vec<Generator> =
            self.settings.seed.entries.iter().map(|(seed, _)| Generator::new(*seed)).collect();
        let noises: Vec<Tensor> =
            generators.iter_mut().map(|generator| generator.normal(shape)).collect();
        self.denoiser.reseed(self.settings.seed.mix_noise(&noises.iter().collect::<Vec<_>>()));
        // The first one goes on with what is drawn anew for every frame.
        self.generator = generators.swap_remove(0);
    }
}
