//! The networks, each written once over `crate::ops::Ops`.
//!
//! Architecture comes from the component's `config.json`, parameter names are those of the diffusers state dict.

mod addition;
mod cached_attention;
mod clip_layer;
mod clip_text;
mod clip_vision;
mod controlnet;
mod descent;
mod hed;
mod image_projection;
mod image_prompt;
mod layers;
mod run;
mod unet;
mod vae_kl;
mod vae_tiny;
mod waves;

pub use cached_attention::MOST_CACHED_FRAMES;
pub use clip_text::{ClipText, Reading};
pub use clip_vision::ClipVision;
pub use controlnet::ControlNet;
pub use hed::Hed;
pub use image_projection::{ImageProjection, ProjectionError, Seen};
pub use image_prompt::ADAPTER;
pub use unet::Unet;
pub use vae_kl::{KlConfig, KlDecoder, KlEncoder};
pub use vae_tiny::{TinyConfig, TinyDecoder, TinyEncoder};

use std::borrow::Cow;

use crate::ops::{Ops, Values};

/// A dimension of an input: fixed by the architecture, or free under a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dim {
    Fixed(usize),
    Free(&'static str),
    AtLeast(&'static str, usize),
    MultipleOf(&'static str, usize),
    /// The dimension of that name, halved that often, each time rounded up.
    Halved(&'static str, usize),
    /// That many times the dimension of that name.
    Times(&'static str, usize),
    /// Nothing is said of it; it may be 0.
    Any,
}

impl Dim {
    /// Its size, where the architecture fixes it.
    pub fn fixed(self) -> Option<usize> {
        match self {
            Self::Fixed(size) => Some(size),
            _ => None,
        }
    }

    pub fn takes(self, size: usize) -> bool {
        match self {
            Self::Fixed(wanted) => size == wanted,
            Self::Free(_) | Self::Halved(..) => size > 0,
            Self::AtLeast(_, least) => size >= least,
            Self::MultipleOf(_, divisor) | Self::Times(_, divisor) => {
                size > 0 && size.is_multiple_of(divisor)
            }
            Self::Any => true,
        }
    }
}

/// An input or output and its dimensions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    pub name: Cow<'static, str>,
    pub dims: Vec<Dim>,
}

impl Port {
    fn new(name: impl Into<Cow<'static, str>>, dims: impl Into<Vec<Dim>>) -> Self {
        Self { name: name.into(), dims: dims.into() }
    }

    /// `[rows, channels, height, width]`.
    fn picture(name: &'static str, channels: usize) -> Self {
        Self::picture_of(name, channels, Dim::Free)
    }

    /// A picture with a condition on its sides.
    fn picture_of(name: &'static str, channels: usize, side: impl Fn(&'static str) -> Dim) -> Self {
        Self::new(name, [Dim::Free("rows"), Dim::Fixed(channels), side("height"), side("width")])
    }
}

/// A network that any back end can run.
pub trait Network {
    fn inputs(&self) -> Vec<Port>;
    fn outputs(&self) -> Vec<Port>;
    /// Computes the outputs from the inputs, each in the order of [`inputs`](Self::inputs) and
    /// [`outputs`](Self::outputs).
    fn forward<O: Ops>(&self, ops: &O, inputs: &[O::T]) -> Values<O>;
    /// Whether its sums are too large for half precision, whatever its weights are stored in.
    fn needs_full_precision(&self) -> bool {
        false
    }
}
