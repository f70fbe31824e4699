//! StreamDiffusion's img2img: several denoising steps run as one batch, one frame further with every call.
//!
//! With `n` steps the batch holds the newest frame at the noisiest step and the frames of the `n - 1` calls before it
//! at the following ones; the last row is the picture that leaves. So the output of a call belongs to the frame given
//! `n - 1` calls ago.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::blend::Blend;
use crate::conditioning::{Conditioner, Conditioning};
use crate::engine::RunError;
use crate::folder::Checkpoint;
use crate::guidance::{Guidance, StockNoise};
use crate::image;
use crate::noise::Generator;
use crate::schedule::Step;
use crate::tensor::Tensor;
use crate::text_encoders::EmbedError;

/// Most steps one schedule can have.
pub const MAX_INFERENCE_STEPS: usize = 100;

/// What a stream is told; all but the size may change between frames.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub width: usize,
    pub height: usize,
    pub prompt: Blend<String>,
    /// What to avoid, where the guidance asks the UNet for it.
    pub negative_prompt: String,
    pub guidance: Guidance,
    pub seed: Blend<u64>,
    /// Steps of the schedule to run, by index.
    pub t_index_list: Vec<usize>,
    pub num_inference_steps: usize,
    /// Whether frames are noised again between steps.
    pub do_add_noise: bool,
}

/// Why settings or a frame cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    #[error("`{name}` must be {expected}, got {got}")]
    Setting { name: &'static str, expected: String, got: String },
    #[error("a frame must be {expected} bytes of RGB, got {got}")]
    Frame { expected: usize, got: usize },
    #[error(transparent)]
    Text(#[from] EmbedError),
    #[error(transparent)]
    Run(#[from] RunError),
}

/// A picture and the frame it was made from.
#[derive(Clone, Debug)]
pub struct Output {
    pub rgb: Vec<u8>,
    /// Id of the input frame this picture belongs to.
    pub frame: u64,
    pub times: Times,
}

/// How long the parts of one call took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Times {
    pub encode: Duration,
    pub unet: Duration,
    pub decode: Duration,
}

/// What one run of the batch saw and made, all in latent space.
#[derive(Clone, Debug)]
pub struct Pass {
    /// The newest frame at the noisiest step.
    pub noisy: Tensor,
    /// All rows as given to the UNet, those with the negative prompt first.
    pub batch: Tensor,
    /// The noise the UNet predicted for them.
    pub predicted: Tensor,
    /// The prediction after guidance, without the negative rows.
    pub guided: Tensor,
    /// Every row without its noise; the last one leaves.
    pub denoised: Tensor,
}

impl Pass {
    /// The latent that leaves.
    pub fn output(&self) -> Tensor {
        self.denoised.last()
    }
}

/// One stream's state between frames.
pub struct Stream {
    checkpoint: Arc<Checkpoint>,
    settings: Settings,
    steps: Vec<Step>,
    timesteps: Tensor,
    conditioner: Conditioner,
    conditioning: Conditioning,
    generator: Generator,
    noise: Tensor,
    stock: StockNoise,
    /// Rows of the frames under way, noised for their next step.
    buffer: Vec<f32>,
    /// Ids of the frames under way, oldest first.
    frames: VecDeque<u64>,
    /// Whether the buffer holds no frames yet, so that outputs would mean nothing.
    is_cold: bool,
}

impl Stream {
    pub fn new(checkpoint: Arc<Checkpoint>, settings: Settings) -> Result<Self, StreamError> {
        check(&settings, &checkpoint)?;
        let mut conditioner = Conditioner::default();
        let mut stream = Self {
            steps: Vec::new(),
            timesteps: Tensor::zeros([0]),
            conditioning: conditioner.condition(&checkpoint.texts, &settings)?,
            conditioner,
            generator: Generator::new(0),
            noise: Tensor::zeros([0]),
            stock: StockNoise::zeros(&[0]),
            buffer: Vec::new(),
            frames: VecDeque::new(),
            is_cold: true,
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

    /// Takes new settings between two frames. The size and `do_add_noise` need a new stream. On an error the old
    /// settings stay in use.
    pub fn update(&mut self, settings: Settings) -> Result<(), StreamError> {
        check(&settings, &self.checkpoint)?;
        if (settings.width, settings.height) != (self.settings.width, self.settings.height) {
            let (width, height) = (self.settings.width, self.settings.height);
            return Err(setting(
                "width",
                format!("{width}x{height} as before"),
                &(settings.width, settings.height),
            ));
        }
        self.conditioning = self.conditioner.condition(&self.checkpoint.texts, &settings)?;
        let old = std::mem::replace(&mut self.settings, settings);
        let is_resized = old.t_index_list.len() != self.settings.t_index_list.len();
        self.apply_steps();
        if is_resized || old.seed != self.settings.seed {
            self.apply_seed();
        }
        Ok(())
    }

    /// Gives a frame, gets the picture of an earlier one; see the module's description. A stream that has no frames
    /// under way runs the given one often enough to fill all steps with it.
    pub fn process(&mut self, rgb: &[u8], frame: u64) -> Result<Output, StreamError> {
        let Settings { width, height, .. } = self.settings;
        let expected = 3 * width * height;
        if rgb.len() != expected {
            return Err(StreamError::Frame { expected, got: rgb.len() });
        }
        let image = image::to_tensor(rgb, width, height);
        if self.is_cold {
            for _ in 1..self.steps.len() {
                self.advance(&image)?;
                self.frames.push_back(frame);
            }
            self.is_cold = false;
        }
        let (pass, mut times) = self.advance(&image)?;
        self.frames.push_back(frame);
        let frame = self.frames.pop_front().unwrap_or(frame);
        let start = Instant::now();
        let rgb = image::to_rgb(&self.checkpoint.vae.decode(&pass.output())?);
        times.decode = start.elapsed();
        self.checkpoint.texts.rest(Instant::now());
        Ok(Output { rgb, frame, times })
    }

    /// Encodes a picture and runs the batch once, without decoding what leaves.
    pub fn advance(&mut self, image: &Tensor) -> Result<(Pass, Times), StreamError> {
        let start = Instant::now();
        let latent = self.checkpoint.vae.encode(image, &mut self.generator)?;
        let encode = start.elapsed();
        let noisy = self.add_noise(latent);
        let rows = self.with_buffer(&noisy);
        self.stock.shift(&self.noise);
        let guidance = self.settings.guidance;
        let batch = guidance.widen(&rows);
        let start = Instant::now();
        let mut inputs = vec![&batch, &self.timesteps];
        inputs.extend(self.conditioning.tensors());
        let predicted = self.checkpoint.unet.run(&inputs)?;
        let unet = start.elapsed();
        let guided = guidance.guide(&predicted, self.steps.len(), &mut self.stock);
        let denoised = self.denoise(&rows, &guided);
        self.stock.follow(&guidance, &guided, &self.steps, &self.noise);
        self.refill_buffer(&denoised);
        let pass = Pass { noisy, batch, predicted, guided, denoised };
        Ok((pass, Times { encode, unet, decode: Duration::ZERO }))
    }

    pub fn decode(&self, latent: &Tensor) -> Result<Tensor, StreamError> {
        Ok(self.checkpoint.vae.decode(latent)?)
    }

    /// The noise of every row, `[steps, channels, height, width]`.
    pub fn noise(&self) -> &Tensor {
        &self.noise
    }

    /// The negative predictions that the residual kinds of guidance estimate.
    pub fn stock_noise(&self) -> &Tensor {
        self.stock.rows()
    }

    /// What the texts come to for every row given to the UNet.
    pub fn conditioning(&self) -> &Conditioning {
        &self.conditioning
    }

    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// The frames under way, one row each, newest first.
    pub fn buffer(&self) -> &[f32] {
        &self.buffer
    }

    fn add_noise(&self, mut latent: Tensor) -> Tensor {
        let step = self.steps[0];
        for (value, &noise) in latent.data_mut().iter_mut().zip(self.noise.row(0)) {
            *value = step.add_noise(*value, noise);
        }
        latent
    }

    fn with_buffer(&self, noisy: &Tensor) -> Tensor {
        let mut shape = noisy.shape().to_vec();
        shape[0] = self.steps.len();
        Tensor::new(shape, [noisy.data(), &self.buffer].concat())
    }

    fn denoise(&self, batch: &Tensor, predicted: &Tensor) -> Tensor {
        let mut data = Vec::with_capacity(batch.data().len());
        for (row, step) in self.steps.iter().enumerate() {
            let pairs = batch.row(row).iter().zip(predicted.row(row));
            data.extend(pairs.map(|(&noisy, &predicted)| step.denoise(noisy, predicted)));
        }
        Tensor::new(batch.shape(), data)
    }

    /// Moves every row but the last to its next step.
    fn refill_buffer(&mut self, denoised: &Tensor) {
        self.buffer.clear();
        for (row, step) in self.steps.iter().enumerate().skip(1) {
            let pairs = denoised.row(row - 1).iter().zip(self.noise.row(row));
            let strength = if self.settings.do_add_noise { 1.0 } else { 0.0 };
            self.buffer
                .extend(pairs.map(|(&latent, &noise)| step.add_noise(latent, strength * noise)));
        }
    }

    fn apply_steps(&mut self) {
        let Settings { t_index_list, num_inference_steps, .. } = &self.settings;
        self.steps = self.checkpoint.levels.steps(t_index_list, *num_inference_steps);
        let timesteps = self.steps.iter().map(|step| step.timestep as f32).collect();
        self.timesteps = self.settings.guidance.widen(&Tensor::new([self.steps.len()], timesteps));
        let latent_len = self.latent_shape(1).iter().product::<usize>();
        let buffered = (self.steps.len() - 1) * latent_len;
        if self.buffer.len() != buffered {
            self.buffer = vec![0.0; buffered];
            self.frames.clear();
            self.is_cold = true;
        }
    }

    fn apply_seed(&mut self) {
        let shape = self.latent_shape(self.steps.len());
        let mut generators: Vec<Generator> =
            self.settings.seed.entries.iter().map(|(seed, _)| Generator::new(*seed)).collect();
        let noises: Vec<Tensor> =
            generators.iter_mut().map(|generator| generator.normal(shape)).collect();
        self.noise = self.settings.seed.mix_noise(&noises.iter().collect::<Vec<_>>());
        self.stock = StockNoise::zeros(&shape);
        // The first one goes on to draw the samples of a KL autoencoder.
        self.generator = generators.swap_remove(0);
    }

    fn latent_shape(&self, rows: usize) -> [usize; 4] {
        let vae = &self.checkpoint.vae;
        let side = vae.downsampling();
        [rows, vae.latent_channels(), self.settings.height / side, self.settings.width / side]
    }
}

fn setting(
    name: &'static str,
    expected: impl Into<String>,
    got: &impl std::fmt::Debug,
) -> StreamError {
    StreamError::Setting { name, expected: expected.into(), got: format!("{got:?}") }
}

fn check(settings: &Settings, checkpoint: &Checkpoint) -> Result<(), StreamError> {
    let side = checkpoint.vae.downsampling();
    for (name, value) in [("width", settings.width), ("height", settings.height)] {
        if value == 0 || value % side != 0 {
            return Err(setting(name, format!("a multiple of {side}"), &value));
        }
    }
    let steps = settings.num_inference_steps;
    if !(1..=MAX_INFERENCE_STEPS).contains(&steps) {
        return Err(setting(
            "num_inference_steps",
            format!("from 1 to {MAX_INFERENCE_STEPS}"),
            &steps,
        ));
    }
    let indices = &settings.t_index_list;
    if indices.is_empty() || !indices.is_sorted() || indices.iter().any(|&index| index > steps) {
        return Err(setting(
            "t_index_list",
            format!("at least one index, rising, up to {steps}"),
            indices,
        ));
    }
    let Guidance { scale, delta, .. } = settings.guidance;
    for (name, value) in [("guidance_scale", scale), ("delta", delta)] {
        if !(value.is_finite() && value >= 0.0) {
            return Err(setting(name, "a number from 0", &value));
        }
    }
    if settings.prompt.entries.is_empty() {
        return Err(setting("prompt", "at least one text", &settings.prompt.entries.len()));
    }
    if settings.seed.entries.is_empty() {
        return Err(setting("seed", "at least one seed", &settings.seed.entries.len()));
    }
    Ok(())
}
