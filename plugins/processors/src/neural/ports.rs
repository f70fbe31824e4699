//! Pictures as networks take them, and what they give: how numbers lie, and how many there are.

use super::error::NeuralError;
use super::loading::Network;
use super::planes::Plane;
use crate::picture::Picture;
use plugins_diffusion::onnx::{Declared, FileError};
use plugins_diffusion::tensor::Tensor;
use std::path::Path;

/// Of what a network is given where it takes any size: it bounds memory and time.
const LONGEST: usize = 2048;

/// An input that takes a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PictureInput {
    /// Whether all of a channel come before those of the next.
    is_planar: bool,
    /// Where the file does not leave it open.
    width: Option<usize>,
    height: Option<usize>,
}

impl PictureInput {
    pub fn of(declared: &Declared, index: usize) -> Result<Self, FileError> {
        let Some(input) = declared.inputs.get(index) else {
            return Err(declared.unfit(format!("it has no input {}", index + 1)));
        };
        match input.dims.as_deref() {
            Some(&[None | Some(1), height, width, Some(3)]) if height != Some(3) => {
                Ok(Self { is_planar: false, width, height })
            }
            // Many exports leave the number of channels open, too.
            Some(&[None | Some(1), None | Some(3), height, width]) => {
                Ok(Self { is_planar: true, width, height })
            }
            dims => Err(declared.unfit(format!(
                "input `{}` takes {:?} instead of a picture, [1, 3, height, width] or [1, height, width, 3]",
                input.name,
                dims.unwrap_or_default()
            ))),
        }
    }

    /// The network's size where it has one, else the wanted width and height.
    pub fn size(&self, (width, height): (usize, usize)) -> (usize, usize) {
        (self.width.unwrap_or(width), self.height.unwrap_or(height))
    }

    pub fn shape(&self, (width, height): (usize, usize)) -> Vec<usize> {
        if self.is_planar { vec![1, 3, height, width] } else { vec![1, height, width, 3] }
    }

    /// By what each level of a channel becomes.
    pub fn tensor(&self, picture: &Picture, number: impl Fn(usize, f32) -> f32) -> Tensor {
        let (width, height) = (picture.width(), picture.height());
        let pixels = picture.rgb().as_chunks::<3>().0;
        let number = |channel: usize, pixel: &[u8; 3]| number(channel, f32::from(pixel[channel]));
        let channels = 0..3_usize;
        let numbers: Vec<f32> = if self.is_planar {
            channels
                .flat_map(|c| pixels.iter().map(move |pixel| (c, pixel)))
                .map(|(channel, pixel)| number(channel, pixel))
                .collect()
        } else {
            pixels
                .iter()
                .flat_map(|pixel| [0, 1, 2].map(|channel| number(channel, pixel)))
                .collect()
        };
        Tensor::new(self.shape((width, height)), numbers)
    }
}

/// The width and height at which the shorter side is `shorter`, each a multiple of `multiple`.
pub fn fitting(width: usize, height: usize, shorter: usize, multiple: usize) -> (usize, usize) {
    let scale = shorter as f64 / width.min(height) as f64;
    let scale = scale.min(LONGEST as f64 / width.max(height) as f64);
    let side = |side: usize| {
        let multiples = (side as f64 * scale / multiple as f64).round() as usize;
        multiples.max(1) * multiple
    };
    (side(width), side(height))
}

/// An output of one number for each pixel: all its dimensions but two are 1.
pub fn plane(path: &Path, output: &Tensor) -> Result<Plane, NeuralError> {
    let shape = output.shape();
    let wanted = "one finite number for each pixel of a picture";
    let got = || NeuralError::output(path, format!("an output of {shape:?}"), wanted);
    let (height, width) = match *shape {
        [1, height, width] | [1, 1, height, width] | [1, height, width, 1] => (height, width),
        _ => return Err(got()),
    };
    if width == 0 || height == 0 {
        return Err(got());
    }
    if !output.is_finite() {
        return Err(NeuralError::output(path, "numbers that are not finite", wanted));
    }
    Ok(Plane { width, height, values: output.data().to_vec() })
}

/// Planes of an output that has that many, whichever way they lie.
pub fn planes(output: &Tensor, count: usize) -> Option<Vec<Plane>> {
    match *output.shape() {
        [1, channels, height, width] if channels == count && width * height > 0 => {
            let planes = output.data().chunks_exact(width * height);
            Some(planes.map(|values| Plane { width, height, values: values.to_vec() }).collect())
        }
        [1, height, width, channels] if channels == count && width * height > 0 => {
            let plane = |channel: usize| {
                let values = output.data()[channel..].iter().step_by(channels).copied().collect();
                Plane { width, height, values }
            };
            Some((0..channels).map(plane).collect())
        }
        _ => None,
    }
}

/// Three equal channels of the lower whole level of each number from 0 to 1.
pub fn gray(picture: &Picture, plane: &Plane) -> Picture {
    let resized = plane.resized(picture.width(), picture.height());
    let levels: Vec<u8> = resized.values.iter().map(|value| (value * 255.0) as u8).collect();
    picture.of_levels(&levels)
}

/// The first output, for a network of which no other is wanted.
pub fn only<'a>(network: &Network, outputs: &'a [Tensor]) -> Result<&'a Tensor, NeuralError> {
    let none = || NeuralError::output(network.path(), "no output", "one");
    outputs.first().ok_or_else(none)
}
