//! How near things are: bright is near.

use super::error::NeuralError;
use super::loading::{Loader, Network};
use super::planes::Plane;
use super::ports::{PictureInput, fitting, gray, plane};
use super::sources::{DEPTH_ANYTHING, MIDAS, Source};
use super::{Neural, ports};
use crate::params::{Checked, Params, Range};
use crate::picture::Picture;
use crate::resize::{Filter, resize};
use plugins_diffusion::onnx::{Declared, FileError};
use serde::{Deserialize, Serialize};

/// Of MiDaS there are none: its network takes one size.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct MidasParams {}

impl Params for MidasParams {
    const RANGES: &'static [Range<Self>] = &[];
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct DepthAnythingParams {
    /// The shorter side of the picture that the network sees, in pixels, for one that takes any size.
    pub detect_resolution: u32,
}

impl Default for DepthAnythingParams {
    fn default() -> Self {
        Self { detect_resolution: 518 }
    }
}

impl Params for DepthAnythingParams {
    const RANGES: &'static [Range<Self>] = &[Range {
        name: "detect_resolution",
        from: 70.0,
        to: 1036.0,
        get: |params| params.detect_resolution.into(),
    }];
}

/// MiDaS's size, where its file leaves it open.
const MIDAS_SIDE: usize = 384;
/// Depth Anything's patches.
const PATCH: usize = 14;

/// What is subtracted from the share of a level, and what that is divided by.
struct Norm {
    mean: [f32; 3],
    deviation: [f32; 3],
}

const HALVES: Norm = Norm { mean: [0.5; 3], deviation: [0.5; 3] };
const IMAGENET: Norm = Norm { mean: [0.485, 0.456, 0.406], deviation: [0.229, 0.224, 0.225] };

/// A network from a picture to one number for each of its own pixels, the greater the nearer.
struct Depth {
    network: Network,
    input: PictureInput,
    size: (usize, usize),
    norm: &'static Norm,
}

impl Depth {
    fn load(
        loader: &Loader<'_>,
        source: &Source,
        wanted: (usize, usize),
        norm: &'static Norm,
    ) -> Result<Self, NeuralError> {
        let ports = |declared: &Declared| -> Result<_, FileError> {
            let input = PictureInput::of(declared, 0)?;
            let size = input.size(wanted);
            Ok(((input, size), vec![input.shape(size)]))
        };
        let ((input, size), network) = loader.load(source, ports)?;
        Ok(Self { network, input, size, norm })
    }

    /// From the farthest, which becomes black, to the nearest, which becomes white.
    fn apply(&self, picture: &Picture) -> Result<Picture, NeuralError> {
        let (width, height) = self.size;
        let seen = resize(picture, width, height, Filter::Cubic)?;
        let Norm { mean, deviation } = self.norm;
        let number = |channel, level: f32| (level / 255.0 - mean[channel]) / deviation[channel];
        let outputs = self.network.run(&[&self.input.tensor(&seen, number)])?;
        let depth = plane(self.network.path(), ports::only(&self.network, &outputs)?)?;
        Ok(gray(picture, &spread(depth)))
    }
}

/// From 0 to 1; a plane without depth is 0 all over.
fn spread(plane: Plane) -> Plane {
    let least = plane.values.iter().copied().fold(f32::INFINITY, f32::min);
    let most = plane.values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let range = most - least;
    // A range that overflows, or is so small that dividing by it does, tells nothing.
    let share = |value: f32| if range.is_normal() { (value - least) / range } else { 0.0 };
    let values = plane.values.iter().map(|&value| share(value)).collect();
    Plane { values, ..plane }
}

/// `depth`: MiDaS on the picture at its own size, whatever its shape.
pub struct Midas(Depth);

impl Neural for Midas {
    type Params = MidasParams;

    fn sources(_: &MidasParams) -> Vec<&'static Source> {
        vec![&MIDAS]
    }

    fn load(loader: &Loader<'_>, _: &Checked<MidasParams>) -> Result<Self, NeuralError> {
        Ok(Self(Depth::load(loader, &MIDAS, (MIDAS_SIDE, MIDAS_SIDE), &HALVES)?))
    }

    fn apply(
        &mut self,
        picture: &Picture,
        _: &Checked<MidasParams>,
    ) -> Result<Picture, NeuralError> {
        self.0.apply(picture)
    }
}

/// `depth_tensorrt`: Depth Anything v2.
pub struct DepthAnything(Depth);

impl Neural for DepthAnything {
    type Params = DepthAnythingParams;

    fn sources(_: &DepthAnythingParams) -> Vec<&'static Source> {
        vec![&DEPTH_ANYTHING]
    }

    fn reloads(old: &DepthAnythingParams, new: &DepthAnythingParams) -> Vec<&'static str> {
        if old.detect_resolution == new.detect_resolution {
            vec![]
        } else {
            vec!["detect_resolution"]
        }
    }

    fn load(
        loader: &Loader<'_>,
        params: &Checked<DepthAnythingParams>,
    ) -> Result<Self, NeuralError> {
        let (width, height) = loader.size();
        let wanted = fitting(width, height, params.detect_resolution as usize, PATCH);
        Ok(Self(Depth::load(loader, &DEPTH_ANYTHING, wanted, &IMAGENET)?))
    }

    fn apply(
        &mut self,
        picture: &Picture,
        _: &Checked<DepthAnythingParams>,
    ) -> Result<Picture, NeuralError> {
        self.0.apply(picture)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_is_spread_from_the_farthest_to_the_nearest() {
        let spread = |values: &[f32]| {
            spread(Plane { width: values.len(), height: 1, values: values.to_vec() }).values
        };
        assert_eq!(spread(&[-2.0, 0.0, 6.0]), [0.0, 0.25, 1.0]);
        assert_eq!(spread(&[3.0, 3.0]), [0.0, 0.0]);
        assert_eq!(spread(&[f32::MIN, f32::MAX]), [0.0, 0.0]);
    }
}
