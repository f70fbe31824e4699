//! The arithmetic of a stream in latent space, whatever predicts the noise: StreamDiffusion's batch, in which the steps of
//! successive frames run together, and the plain way, one step after another.

use super::{Settings, Shape};
use crate::guidance::{CfgType, Guidance, StockNoise};
use crate::noise::Generator;
use crate::schedule::{NoiseLevels, Step};
use crate::tensor::Tensor;

/// What one call of the UNet was given and what came of it.
#[derive(Clone, Debug)]
pub struct Pass {
    /// All rows as given to the UNet, those with the negative prompt first.
    pub batch: Tensor,
    /// Their timesteps.
    pub timesteps: Tensor,
    /// The noise the UNet predicted for them.
    pub predicted: Tensor,
    /// The prediction after guidance, without the negative rows.
    pub guided: Tensor,
    /// Every row without its noise.
    pub denoised: Tensor,
}

/// The state of a stream's frames between calls.
///
/// With `n` steps and `F` frames taken at once, the batch has `n * F` rows: first the newest frames at the noisiest step,
/// last those of `n - 1` calls before, which leave.
pub struct Denoiser {
    steps: Vec<Step>,
    guidance: Guidance,
    is_batched: bool,
    does_add_noise: bool,
    frames: usize,
    rows: usize,
    noise: Tensor,
    stock: StockNoise,
    /// Rows of the frames under way, noised for their next step.
    buffer: Vec<f32>,
    /// `[1, channels, height, width]`
    latent: [usize; 4],
}

impl Denoiser {
    /// `latent` is the shape of one frame's; noise comes with [`reseed`](Self::reseed).
    pub fn new(latent: [usize; 4]) -> Self {
        Self {
            steps: Vec::new(),
            guidance: Guidance { cfg_type: CfgType::None, scale: 1.0, delta: 1.0 },
            is_batched: true,
            does_add_noise: true,
            frames: 1,
            rows: 0,
            noise: Tensor::zeros([0]),
            stock: StockNoise::zeros(&[0]),
            buffer: Vec::new(),
            latent,
        }
    }

    /// Takes steps and guidance; tells whether the frames under way had to be forgotten.
    pub fn configure(&mut self, settings: &Settings, levels: &NoiseLevels) -> bool {
        let Shape { is_batched, frames, do_add_noise, .. } = settings.shape;
        self.steps = levels.steps(&settings.t_index_list, settings.num_inference_steps);
        if settings.is_turbo_step() {
            self.steps.iter_mut().for_each(|step| *step = step.without_boundary());
        }
        self.guidance = settings.effective_guidance();
        (self.is_batched, self.does_add_noise) = (is_batched, do_add_noise);
        (self.frames, self.rows) = (frames, settings.rows());
        let buffered = (self.rows - frames) * self.noise_len();
        let is_new = self.buffer.len() != buffered || self.noise.shape()[0] != self.rows;
        if self.buffer.len() != buffered {
            self.buffer = vec![0.0; buffered];
        }
        is_new
    }

    /// Takes the noise of every row, and forgets what guidance has gathered.
    pub fn reseed(&mut self, noise: Tensor) {
        self.stock = StockNoise::zeros(noise.shape());
        self.noise = noise;
    }

    /// Forgets the frames under way and what guidance has gathered.
    pub fn forget(&mut self) {
        self.buffer.fill(0.0);
        self.stock = StockNoise::zeros(self.noise.shape());
    }

    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Rows of a batch, without those for guidance.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Calls until a frame that is given leaves.
    pub fn calls(&self) -> usize {
        if self.is_batched { self.steps.len() } else { 1 }
    }

    /// The shape of the latents of `rows` rows.
    pub fn shape_of(&self, rows: usize) -> [usize; 4] {
        let [_, channels, height, width] = self.latent;
        [rows, channels, height, width]
    }

    /// The noise of every row, `[rows, channels, height, width]`.
    pub fn noise(&self) -> &Tensor {
        &self.noise
    }

    /// The negative predictions that the residual kinds of guidance estimate.
    pub fn stock_noise(&self) -> &Tensor {
        self.stock.rows()
    }

    /// The frames under way, one row each, newest first.
    pub fn buffer(&self) -> &[f32] {
        &self.buffer
    }

    /// The newest frames at the noisiest step.
    pub fn add_noise(&self, mut latents: Tensor) -> Tensor {
        let (step, width) = (self.steps[0], self.noise_len());
        for row in latents.data_mut().chunks_exact_mut(width) {
            for (value, &noise) in row.iter_mut().zip(self.noise.row(0)) {
                *value = step.add_noise(*value, noise);
            }
        }
        latents
    }

    /// Takes frames at the noisiest step; the last `F` rows of the last pass leave. `predict` is given rows and their
    /// timesteps, and answers with the noise in them.
    pub fn run<E>(
        &mut self,
        noisy: Tensor,
        generator: &mut Generator,
        predict: impl FnMut(&Tensor, &Tensor) -> Result<Tensor, E>,
    ) -> Result<Vec<Pass>, E> {
        match self.is_batched {
            true => self.run_batch(&noisy, predict).map(|pass| vec![pass]),
            false => self.run_steps(noisy, generator, predict),
        }
    }

    fn run_batch<E>(
        &mut self,
        noisy: &Tensor,
        mut predict: impl FnMut(&Tensor, &Tensor) -> Result<Tensor, E>,
    ) -> Result<Pass, E> {
        let rows = Tensor::new(self.shape_of(self.rows), [noisy.data(), &self.buffer].concat());
        self.stock.shift(&self.noise, self.frames);
        let steps: Vec<Step> =
            self.steps.iter().flat_map(|&step| vec![step; self.frames]).collect();
        let pass = self.pass(&rows, &steps, &mut predict)?;
        let Self { guidance, frames, .. } = *self;
        self.stock.follow(&guidance, &pass.guided, (&steps, frames), &self.noise);
        self.refill_buffer(&pass.denoised, &steps);
        Ok(pass)
    }

    fn run_steps<E>(
        &mut self,
        mut rows: Tensor,
        generator: &mut Generator,
        mut predict: impl FnMut(&Tensor, &Tensor) -> Result<Tensor, E>,
    ) -> Result<Vec<Pass>, E> {
        let mut passes = Vec::with_capacity(self.steps.len());
        for index in 0..self.steps.len() {
            let steps = vec![self.steps[index]; self.frames];
            let pass = self.pass(&rows, &steps, &mut predict)?;
            if let Some(next) = self.steps.get(index + 1) {
                rows = self.renoise(&pass.denoised, next, generator);
            }
            passes.push(pass);
        }
        Ok(passes)
    }

    fn pass<E>(
        &mut self,
        rows: &Tensor,
        steps: &[Step],
        predict: &mut impl FnMut(&Tensor, &Tensor) -> Result<Tensor, E>,
    ) -> Result<Pass, E> {
        let Self { guidance, frames, .. } = *self;
        let timesteps = steps.iter().map(|step| step.timestep as f32).collect();
        let timesteps = guidance.widen(&Tensor::new([steps.len()], timesteps), frames);
        let batch = guidance.widen(rows, frames);
        let predicted = predict(&batch, &timesteps)?;
        let guided = guidance.guide(&predicted, (steps.len(), frames), &mut self.stock);
        let denoised = denoise(rows, &guided, steps);
        Ok(Pass { batch, timesteps, predicted, guided, denoised })
    }

    /// With noise that is new for every frame, as the plain way has it.
    fn renoise(&self, denoised: &Tensor, next: &Step, generator: &mut Generator) -> Tensor {
        let mut rows = denoised.clone();
        if !self.does_add_noise {
            rows.data_mut().iter_mut().for_each(|value| *value *= next.alpha);
            return rows;
        }
        let noise = generator.normal(denoised.shape());
        for (value, &noise) in rows.data_mut().iter_mut().zip(noise.data()) {
            *value = next.add_noise(*value, noise);
        }
        rows
    }

    /// Moves all rows but those that leave to their next step.
    fn refill_buffer(&mut self, denoised: &Tensor, steps: &[Step]) {
        self.buffer.clear();
        for (row, step) in steps.iter().enumerate().skip(self.frames) {
            let pairs = denoised.row(row - self.frames).iter().zip(self.noise.row(row));
            let strength = if self.does_add_noise { 1.0 } else { 0.0 };
            self.buffer
                .extend(pairs.map(|(&latent, &noise)| step.add_noise(latent, strength * noise)));
        }
    }

    fn noise_len(&self) -> usize {
        self.latent.iter().product()
    }
}

fn denoise(rows: &Tensor, predicted: &Tensor, steps: &[Step]) -> Tensor {
    let mut data = Vec::with_capacity(rows.data().len());
    for (row, step) in steps.iter().enumerate() {
        let pairs = rows.row(row).iter().zip(predicted.row(row));
        data.extend(pairs.map(|(&noisy, &predicted)| step.denoise(noisy, predicted)));
    }
    Tensor::new(rows.shape(), data)
}
