//! Line drawings as "Informative Drawings" makes them, white on black.

use super::Neural;
use super::error::NeuralError;
use super::loading::{Loader, Network};
use super::planes::Plane;
use super::ports::{PictureInput, fitting, gray, only, plane};
use super::sources::{INFORMATIVE_DRAWINGS, Source};
use crate::params::{Checked, Params, Range};
use crate::picture::Picture;
use crate::resize::{Filter, resize};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct LineartParams {
    /// The shorter side of the picture that is drawn after, in pixels, for a network that takes any size.
    pub detect_resolution: u32,
}

impl Default for LineartParams {
    fn default() -> Self {
        Self { detect_resolution: 512 }
    }
}

impl Params for LineartParams {
    const RANGES: &'static [Range<Self>] = &[Range {
        name: "detect_resolution",
        from: 64.0,
        to: 1024.0,
        get: |params| params.detect_resolution.into(),
    }];
}

/// The network halves pictures twice; `controlnet_aux` has multiples of this.
const MULTIPLE: usize = 64;

pub struct Lineart {
    network: Network,
    input: PictureInput,
    size: (usize, usize),
}

impl Neural for Lineart {
    type Params = LineartParams;

    fn sources(_: &LineartParams) -> Vec<&'static Source> {
        vec![&INFORMATIVE_DRAWINGS]
    }

    fn reloads(old: &LineartParams, new: &LineartParams) -> Vec<&'static str> {
        if old.detect_resolution == new.detect_resolution {
            vec![]
        } else {
            vec!["detect_resolution"]
        }
    }

    fn load(loader: &Loader<'_>, params: &Checked<LineartParams>) -> Result<Self, NeuralError> {
        let (width, height) = loader.size();
        let wanted = fitting(width, height, params.detect_resolution as usize, MULTIPLE);
        let (input, size, network) = loader.load_for_picture(&INFORMATIVE_DRAWINGS, wanted)?;
        Ok(Self { network, input, size })
    }

    /// What the network gives is 1 on paper and 0 on lines.
    fn apply(
        &mut self,
        picture: &Picture,
        _: &Checked<LineartParams>,
    ) -> Result<Picture, NeuralError> {
        let (width, height) = self.size;
        let is_smaller = width < picture.width();
        let filter = if is_smaller { Filter::Area } else { Filter::Lanczos };
        let seen = resize(picture, width, height, filter)?;
        let outputs = self.network.run(&[&self.input.tensor(&seen, |_, level| level / 255.0)])?;
        let paper = plane(self.network.path(), only(&self.network, &outputs)?)?;
        let lines = paper.values.iter().map(|paper| 1.0 - paper.clamp(0.0, 1.0)).collect();
        Ok(gray(picture, &Plane { values: lines, ..paper }))
    }
}
