//! The latent consistency schedule: which noise level an entry of `t_index_list` means, and the factors that go with it.

use crate::config::{Config, ConfigError};

/// Steps of the schedule a consistency model was distilled with; more inference steps use the finer one.
const ORIGINAL_STEPS: usize = 50;
const FINE_ORIGINAL_STEPS: usize = 100;

/// Cumulative products of a checkpoint's noise schedule.
#[derive(Clone, Debug)]
pub struct NoiseLevels {
    alphas: Vec<f32>,
}

impl NoiseLevels {
    /// Reads `scheduler/scheduler_config.json`.
    pub fn from_config(config: &Config) -> Result<Self, ConfigError> {
        config.require_absent("trained_betas")?;
        config.require("prediction_type", "epsilon")?;
        config.require("rescale_betas_zero_snr", false)?;
        let count = config.size_or("num_train_timesteps", 1000)?;
        // Both step counts must divide the training steps into at least one each.
        if count < FINE_ORIGINAL_STEPS {
            return Err(config.unsupported("num_train_timesteps", "a whole number from 100"));
        }
        let start = config.number_or("beta_start", 0.00085)?;
        let end = config.number_or("beta_end", 0.012)?;
        if !(0.0 < start && start <= end && end < 1.0) {
            return Err(config.unsupported("beta_end", "a number from beta_start to 1"));
        }
        let is_scaled =
            config.choice("beta_schedule", true, &[("scaled_linear", true), ("linear", false)])?;
        let betas = if is_scaled {
            linspace(start.sqrt() as f32, end.sqrt() as f32, count)
                .into_iter()
                .map(|root| root * root)
                .collect()
        } else {
            linspace(start as f32, end as f32, count)
        };
        let mut product = 1.0f32;
        let alphas = betas.into_iter().map(|beta| {
            product *= 1.0 - beta;
            product
        });
        Ok(Self { alphas: alphas.collect() })
    }

    pub fn alphas(&self) -> &[f32] {
        &self.alphas
    }

    /// The timesteps of a schedule with `steps` steps, noisiest first.
    ///
    /// # Panics
    /// When `steps` is not from 1 to 100.
    pub fn timesteps(&self, steps: usize) -> Vec<usize> {
        let original = if steps > ORIGINAL_STEPS { FINE_ORIGINAL_STEPS } else { ORIGINAL_STEPS };
        self.timesteps_of(original, steps)
    }

    /// The timesteps when the model was distilled with `original` steps.
    ///
    /// # Panics
    /// When `steps` is not from 1 to `original`.
    pub fn timesteps_of(&self, original: usize, steps: usize) -> Vec<usize> {
        assert!((1..=original).contains(&steps), "{steps} of {original} steps");
        let stride = self.alphas.len() / original;
        let timestep = |index: usize| (original - index * original / steps) * stride - 1;
        (0..steps).map(timestep).collect()
    }

    /// The steps that a list of indices picks; an index equal to the number of steps means the last one.
    pub fn steps(&self, indices: &[usize], count: usize) -> Vec<Step> {
        let timesteps = self.timesteps(count);
        indices.iter().map(|&index| self.step(timesteps[index.min(count - 1)])).collect()
    }

    /// The factors of one timestep.
    pub fn step(&self, timestep: usize) -> Step {
        let alpha = self.alphas[timestep];
        let (skip, out) = boundary_scalings(timestep);
        Step { timestep, alpha: alpha.sqrt(), beta: (1.0 - alpha).sqrt(), skip, out }
    }
}

/// One step of the schedule and its factors.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    pub timestep: usize,
    /// How much of the picture there is in the noisy latent.
    pub alpha: f32,
    /// How much noise there is in it.
    pub beta: f32,
    /// Share of the input in the consistency function's result.
    pub skip: f32,
    /// Share of the network's estimate in it.
    pub out: f32,
}

impl Step {
    /// The same step without the consistency function's boundary: what the network sees is taken as it is.
    pub fn without_boundary(self) -> Self {
        Self { skip: 0.0, out: 1.0, ..self }
    }

    /// The latent at this step's noise level.
    pub fn add_noise(&self, latent: f32, noise: f32) -> f32 {
        self.alpha * latent + self.beta * noise
    }

    /// The picture the network sees in a noisy latent.
    pub fn denoise(&self, noisy: f32, predicted_noise: f32) -> f32 {
        self.out * ((noisy - self.beta * predicted_noise) / self.alpha) + self.skip * noisy
    }
}

/// Weights that make the consistency function the identity at timestep 0.
fn boundary_scalings(timestep: usize) -> (f32, f32) {
    const SIGMA_DATA: f32 = 0.5;
    const TIMESTEP_SCALING: f32 = 10.0;
    let scaled = timestep as f32 * TIMESTEP_SCALING;
    let sum = scaled * scaled + SIGMA_DATA * SIGMA_DATA;
    (SIGMA_DATA * SIGMA_DATA / sum, scaled / sum.sqrt())
}

/// As torch computes it: from both ends towards the middle.
fn linspace(start: f32, end: f32, count: usize) -> Vec<f32> {
    let step = (end - start) / (count - 1) as f32;
    let value = |index: usize| match index < count / 2 {
        true => start + step * index as f32,
        false => end - step * (count - 1 - index) as f32,
    };
    (0..count).map(value).collect()
}
