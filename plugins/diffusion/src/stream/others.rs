//! All that other plugins do for a stream.

use super::Source;
use super::adapters::{ImagePrompt, ImagePrompts};
use super::controls::{ControlNets, Steered};
use super::pictures::{ImageProcessors, Picture, Place};
use crate::tensor::Tensor;

pub trait Others: ImageProcessors + ControlNets + ImagePrompts {}

impl<T: ImageProcessors + ControlNets + ImagePrompts> Others for T {}

/// A stream that no other plugin does anything for.
pub struct NoOthers;

impl ImageProcessors for NoOthers {
    fn process(&mut self, _: Place, _: usize, _: &Picture, _: Source) -> Option<Picture> {
        None
    }
}

impl ControlNets for NoOthers {
    fn look(&mut self, _: Picture, _: Source, _: usize) {}

    fn add(&mut self, _: usize, _: &Steered<'_>, _: &mut [Tensor]) {}
}

impl ImagePrompts for NoOthers {
    fn image_prompt(&self) -> Option<&ImagePrompt> {
        None
    }
}
