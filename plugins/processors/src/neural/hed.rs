//! Soft edges as HED finds them, with the network and the weights of `controlnet_aux`.

use super::Neural;
use super::error::NeuralError;
use super::loading::Loader;
use super::planes::Plane;
use super::ports::{fitting, gray, plane};
use super::sources::{HED, Source};
use crate::params::{Checked, Params, Range};
use crate::picture::Picture;
use crate::resize::{Filter, resize};
use plugins_diffusion::engine::Model;
use plugins_diffusion::nets::Hed;
use plugins_diffusion::tensor::Tensor;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::Arc;

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct HedParams {
    /// The shorter side of the picture in which edges are looked for, in pixels.
    pub detect_resolution: u32,
    /// Whether edges have three levels alone. StreamDiffusion's descendants say true and do false.
    pub safe: bool,
}

impl Default for HedParams {
    fn default() -> Self {
        Self { detect_resolution: 512, safe: false }
    }
}

impl Params for HedParams {
    const RANGES: &'static [Range<Self>] = &[Range {
        name: "detect_resolution",
        from: 64.0,
        to: 1024.0,
        get: |params| params.detect_resolution.into(),
    }];
}

/// Sides are multiples of it.
const MULTIPLE: usize = 64;

pub struct HedEdges(Arc<Model<Hed>>);

impl Neural for HedEdges {
    type Params = HedParams;

    fn sources(_: &HedParams) -> Vec<&'static Source> {
        vec![&HED]
    }

    fn load(loader: &Loader<'_>, _: &Checked<HedParams>) -> Result<Self, NeuralError> {
        Ok(Self(loader.load_hed(&HED)?))
    }

    /// The sigmoid of the mean of the five, each brought to the size that was looked at.
    fn apply(
        &mut self,
        picture: &Picture,
        params: &Checked<HedParams>,
    ) -> Result<Picture, NeuralError> {
        let wanted = params.detect_resolution as usize;
        let (width, height) = fitting(picture.width(), picture.height(), wanted, MULTIPLE);
        let is_smaller = width < picture.width();
        let filter = if is_smaller { Filter::Area } else { Filter::Lanczos };
        let seen = resize(picture, width, height, filter)?;
        let levels = |channel: usize| seen.rgb().iter().skip(channel).step_by(3);
        let levels = (0..3).flat_map(levels).map(|&level| f32::from(level)).collect();
        let outputs = self.0.run_all(&[&Tensor::new([1, 3, height, width], levels)])?;
        Ok(gray(picture, &joined(&outputs, (width, height), params.safe)?))
    }
}

fn joined(
    outputs: &[Tensor],
    (width, height): (usize, usize),
    is_safe: bool,
) -> Result<Plane, NeuralError> {
    let mut sums = vec![0.0; width * height];
    for output in outputs {
        let edges = plane(Path::new(HED.file), output)?.resized(width, height);
        sums.iter_mut().zip(edges.values).for_each(|(sum, edge)| *sum += edge);
    }
    let share = 1.0 / outputs.len() as f32;
    let level = |sum: f32| {
        let edge = 1.0 / (1.0 + (-sum * share).exp());
        if is_safe { ((edge * 3.0) as i32 as f32 / 2.0).min(1.0) } else { edge }
    };
    Ok(Plane { width, height, values: sums.into_iter().map(level).collect() })
}
