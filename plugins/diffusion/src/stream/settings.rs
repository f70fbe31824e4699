//! What a stream is told, and which of it makes sense.

use super::StreamError;
use super::adapters::Adapter;
use super::controls::Control;
use super::hooks::Hooks;
use crate::blend::Blend;
use crate::folder::Checkpoint;
use crate::guidance::{CfgType, Guidance};
use crate::nets::MOST_CACHED_FRAMES;

/// Most steps one schedule can have.
pub const MAX_INFERENCE_STEPS: usize = 100;
/// Most frames taken at once.
pub const MAX_FRAMES: usize = 4;

/// What a stream is told.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// What needs a new stream to change.
    pub shape: Shape,
    pub prompt: Blend<String>,
    /// What to avoid, where the guidance asks the UNet for it.
    pub negative_prompt: String,
    pub guidance: Guidance,
    pub seed: Blend<u64>,
    /// Steps of the schedule to run, by index.
    pub t_index_list: Vec<usize>,
    pub num_inference_steps: usize,
    pub hooks: Hooks,
    /// For models that were loaded to be steered.
    pub controls: Vec<Control>,
    /// For models that were loaded with one; others go without it.
    pub adapter: Option<Adapter>,
    /// How earlier frames are attended to, for models that were loaded to do so and for no others.
    pub cached_attention: Option<CachedAttention>,
}

/// Which frames the UNet goes on attending to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CachedAttention {
    /// Most frames kept.
    pub max_frames: usize,
    /// Calls of the UNet from one that is kept to the next.
    pub interval: u64,
}

/// What needs a new stream to change.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shape {
    pub width: usize,
    pub height: usize,
    pub start: Start,
    /// Whether the steps of a frame run as one batch with those of the frames before it, or one after another.
    pub is_batched: bool,
    /// Frames taken at once, `frame_buffer_size`.
    pub frames: usize,
    /// Whether frames are noised again between steps.
    pub do_add_noise: bool,
    /// Whether frames like the last one are passed over.
    pub filter: Option<Similarity>,
    /// Whether pictures leave as they came, but for image processors.
    pub skips_diffusion: bool,
}

/// What pictures start from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// The frames.
    Frames,
    /// Noise alone, new for every picture.
    Noise {
        /// Whether the model makes a picture of noise in one step, without the consistency function's boundary
        /// scalings, as SD-Turbo does.
        is_turbo: bool,
    },
}

/// When a frame is like the last one that was not passed over.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Similarity {
    /// Cosine similarity from which frames may be passed over, ever more probably towards 1.
    pub threshold: f32,
    /// One more than this are passed over in a row at most, as in StreamDiffusion.
    pub max_skip_frame: u64,
}

impl Shape {
    /// Pictures of this size, as StreamDiffusion makes them if not told otherwise.
    pub fn new(width: usize, height: usize) -> Self {
        Self {
            width,
            height,
            start: Start::Frames,
            is_batched: true,
            frames: 1,
            do_add_noise: true,
            filter: None,
            skips_diffusion: false,
        }
    }
}

impl Shape {
    /// Frames can be alike only where pictures come from them.
    pub(super) fn active_filter(&self) -> Option<Similarity> {
        self.filter.filter(|_| self.start == Start::Frames)
    }
}

impl Settings {
    /// How many frames later than its own a picture leaves.
    pub fn latency(&self) -> usize {
        let Shape { is_batched, frames, skips_diffusion, .. } = self.shape;
        let calls = if is_batched { self.t_index_list.len() } else { 1 };
        if skips_diffusion { 0 } else { (frames * calls).saturating_sub(1) }
    }

    /// Rows of a batch, without those for guidance.
    pub fn rows(&self) -> usize {
        let Shape { is_batched, frames, .. } = self.shape;
        if is_batched { frames * self.t_index_list.len() } else { frames }
    }

    /// How many of the newest frames ControlNets steer to.
    pub fn control_frames(&self) -> usize {
        let is_per_frame = self.controls.iter().any(|control| control.is_per_frame);
        if is_per_frame { self.rows() } else { 1 }
    }

    /// Rows with the negative prompt that a batch has before the others.
    pub fn negative_rows(&self) -> usize {
        self.effective_guidance().negative_rows(self.rows(), self.shape.frames)
    }

    /// Guidance as it is used: a turbo model makes pictures of noise without.
    pub fn effective_guidance(&self) -> Guidance {
        let cfg_type = if self.is_turbo_step() { CfgType::None } else { self.guidance.cfg_type };
        Guidance { cfg_type, ..self.guidance }
    }

    /// Whether pictures are made of noise in the one step that turbo models need.
    pub fn is_turbo_step(&self) -> bool {
        self.shape.start == (Start::Noise { is_turbo: true }) && self.t_index_list.len() == 1
    }

    pub(super) fn check(&self, checkpoint: &Checkpoint) -> Result<(), StreamError> {
        self.shape.check(checkpoint.vae.downsampling())?;
        let steps = self.num_inference_steps;
        if !(1..=MAX_INFERENCE_STEPS).contains(&steps) {
            let expected = format!("from 1 to {MAX_INFERENCE_STEPS}");
            return Err(wrong("num_inference_steps", expected, &steps));
        }
        let indices = &self.t_index_list;
        if indices.is_empty() || !indices.is_sorted() || indices.iter().any(|&index| index > steps)
        {
            let expected = format!("at least one index, rising, up to {steps}");
            return Err(wrong("t_index_list", expected, indices));
        }
        let Guidance { scale, delta, .. } = self.guidance;
        for (name, value) in [("guidance_scale", scale), ("delta", delta)] {
            if !(value.is_finite() && value >= 0.0) {
                return Err(wrong(name, "a number from 0", &value));
            }
        }
        for (name, count) in
            [("prompt", self.prompt.entries.len()), ("seed", self.seed.entries.len())]
        {
            if count == 0 {
                return Err(wrong(name, "at least one entry", &count));
            }
        }
        let unet = checkpoint.unet.network();
        if unet.has_residuals() == self.controls.is_empty() {
            let expected = match unet.has_residuals() {
                true => "at least one, as the model was loaded to be steered",
                false => "none, as the model was loaded without them",
            };
            return Err(wrong("controlnets", expected, &self.controls.len()));
        }
        if unet.image_tokens().is_some() && self.adapter.is_none() {
            let expected = "enabled, as the model was loaded with an adapter";
            return Err(wrong("ip_adapter", expected, &false));
        }
        self.check_cached_attention(unet.has_cached_attention())
    }

    fn check_cached_attention(&self, is_loaded: bool) -> Result<(), StreamError> {
        let Some(CachedAttention { max_frames, interval }) = self.cached_attention else {
            let expected = "enabled, as the model was loaded with it";
            return if is_loaded {
                Err(wrong("cached_attention", expected, &false))
            } else {
                Ok(())
            };
        };
        if !is_loaded {
            let expected = "disabled, as the model was loaded without it";
            return Err(wrong("cached_attention", expected, &true));
        }
        if !(1..=MOST_CACHED_FRAMES).contains(&max_frames) {
            let expected = format!("from 1 to {MOST_CACHED_FRAMES}");
            return Err(wrong("cached_attention.max_frames", expected, &max_frames));
        }
        match interval {
            0 => Err(wrong("cached_attention.interval", "at least 1", &interval)),
            _ => Ok(()),
        }
    }
}

impl Shape {
    fn check(&self, side: usize) -> Result<(), StreamError> {
        for (name, value) in [("width", self.width), ("height", self.height)] {
            if value == 0 || value % side != 0 {
                return Err(wrong(name, format!("a multiple of {side}"), &value));
            }
        }
        if !(1..=MAX_FRAMES).contains(&self.frames) {
            let expected = format!("from 1 to {MAX_FRAMES}");
            return Err(wrong("frame_buffer_size", expected, &self.frames));
        }
        match self.filter {
            Some(Similarity { threshold, .. }) if !(0.0..=1.0).contains(&threshold) => {
                Err(wrong("similar_image_filter_threshold", "from 0 to 1", &threshold))
            }
            _ => Ok(()),
        }
    }
}

fn wrong(
    name: &'static str,
    expected: impl Into<String>,
    got: &impl std::fmt::Debug,
) -> StreamError {
    StreamError::Setting { name, expected: expected.into(), got: format!("{got:?}") }
}
