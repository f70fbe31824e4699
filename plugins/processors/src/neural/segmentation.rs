//! Where people are, as MediaPipe's selfie segmentation sees them.

use super::Neural;
use super::error::NeuralError;
use super::loading::{Loader, Network};
use super::planes::Plane;
use super::ports::{PictureInput, only, plane};
use super::sources::{SELFIE_SEGMENTATION, Source};
use crate::params::{Checked, Params, Range};
use crate::picture::Picture;
use crate::resize::{Filter, resize};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct SegmentationParams {
    /// From how sure the network is of a person, a pixel is one of theirs.
    pub threshold: f64,
    /// How far the mask is smoothed before that, in pixels.
    pub blur_radius: u32,
    pub invert_mask: bool,
    pub output_mode: OutputMode,
    /// Red, green, blue of what is no person's.
    pub background_color: [u8; 3],
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OutputMode {
    /// White where people are, black elsewhere.
    Binary,
    /// The picture, with one colour where no people are.
    Background,
}

impl OutputMode {
    pub const ALL: [Self; 2] = [Self::Binary, Self::Background];
}

impl Default for SegmentationParams {
    fn default() -> Self {
        Self {
            threshold: 0.5,
            blur_radius: 0,
            invert_mask: false,
            output_mode: OutputMode::Binary,
            background_color: [0; 3],
        }
    }
}

impl Params for SegmentationParams {
    const RANGES: &'static [Range<Self>] = &[
        Range { name: "threshold", from: 0.0, to: 1.0, get: |params| params.threshold },
        Range { name: "blur_radius", from: 0.0, to: 20.0, get: |params| params.blur_radius.into() },
    ];
}

/// Where the file leaves it open.
const SIDE: usize = 256;

pub struct Segmentation {
    network: Network,
    input: PictureInput,
    size: (usize, usize),
}

impl Neural for Segmentation {
    type Params = SegmentationParams;

    fn sources(_: &SegmentationParams) -> Vec<&'static Source> {
        vec![&SELFIE_SEGMENTATION]
    }

    fn load(loader: &Loader<'_>, _: &Checked<SegmentationParams>) -> Result<Self, NeuralError> {
        let (input, size, network) = loader.load_for_picture(&SELFIE_SEGMENTATION, (SIDE, SIDE))?;
        Ok(Self { network, input, size })
    }

    fn apply(
        &mut self,
        picture: &Picture,
        params: &Checked<SegmentationParams>,
    ) -> Result<Picture, NeuralError> {
        let (width, height) = self.size;
        let seen = resize(picture, width, height, Filter::Bilinear)?;
        let outputs = self.network.run(&[&self.input.tensor(&seen, |_, level| level / 255.0)])?;
        let certain = plane(self.network.path(), only(&self.network, &outputs)?)?;
        let mut certain = certain.resized(picture.width(), picture.height());
        if params.blur_radius > 0 {
            certain = certain.smoothed(params.blur_radius as usize);
        }
        Ok(shown(picture, &certain, params))
    }
}

fn shown(picture: &Picture, certain: &Plane, params: &SegmentationParams) -> Picture {
    let mut shown = picture.clone();
    let pixels = shown.rgb_mut().as_chunks_mut::<3>().0.iter_mut();
    for (pixel, &certain) in pixels.zip(&certain.values) {
        let is_person = f64::from(certain) > params.threshold;
        match (is_person != params.invert_mask, params.output_mode) {
            (true, OutputMode::Binary) => *pixel = [255; 3],
            (false, OutputMode::Binary) => *pixel = [0; 3],
            (true, OutputMode::Background) => {}
            (false, OutputMode::Background) => *pixel = params.background_color,
        }
    }
    shown
}
