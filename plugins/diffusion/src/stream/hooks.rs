//! What happens to pictures and latents beside the diffusion: processors before and after it, in the order of
//! StreamDiffusion's descendants. Those here mix in what left last, which steadies or smears the video.

use serde_json::{Map, Value};

use crate::tensor::Tensor;

/// More of the last latent than this makes frames pile up.
pub const MAX_LATENT_FEEDBACK: f32 = 0.4;
/// Latents of a model whose latents have unit size stay within this.
const LATENT_LIMIT: f32 = 10.0;

/// The processors in use, in the order of their use.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Hooks {
    /// On pictures before they are encoded, and on those that were decoded.
    pub image_preprocessing: Vec<ImageStep>,
    pub image_postprocessing: Vec<ImageStep>,
    /// The strengths of feedbacks, on noisy latents before denoising and on those that leave.
    pub latent_preprocessing: Vec<f32>,
    pub latent_postprocessing: Vec<f32>,
}

/// What one processor does to a picture.
#[derive(Clone, Debug, PartialEq)]
pub enum ImageStep {
    /// Mixes in the last picture, of this strength.
    Feedback(f32),
    /// Another plugin has it.
    Processor { name: String, params: Map<String, Value>, asked: Asked },
}

/// Where in the client's params a processor comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum Asked {
    /// By its name, at this place of the list.
    Listed(usize),
    /// By `use_safety_checker`: it judges the pictures that leave.
    ForSafety,
}

/// Mixes the last picture into every row of `pictures`, in [-1, 1].
pub fn feed_back_picture(strength: f32, pictures: &mut Tensor, last: Option<&Tensor>) {
    let Some(last) = last else { return };
    let width = last.row_len();
    for row in pictures.data_mut().chunks_exact_mut(width) {
        for (value, last) in row.iter_mut().zip(last.data()) {
            *value = (1.0 - strength) * *value + strength * last.clamp(-1.0, 1.0);
        }
    }
}

/// Mixes the last latents into `latents`, row by row; `size` is the usual size of the model's latents.
pub fn feed_back_latents(
    strengths: &[f32],
    latents: &mut Tensor,
    last: Option<&Tensor>,
    size: f32,
) {
    let Some(last) = last else { return };
    let limit = LATENT_LIMIT * size;
    for &strength in strengths {
        let strength = strength.clamp(0.0, MAX_LATENT_FEEDBACK);
        for (value, last) in latents.data_mut().iter_mut().zip(last.data()) {
            *value = ((1.0 - strength) * *value + strength * last).clamp(-limit, limit);
        }
    }
}
