//! `openpose`: CMU's network for bodies.

use super::body::{DIRECTIONS, PARTS, people};
use super::skeleton::{Point, Skeleton, draw};
use crate::neural::Neural;
use crate::neural::error::NeuralError;
use crate::neural::loading::{Loader, Network};
use crate::neural::planes::Plane;
use crate::neural::ports::{PictureInput, planes};
use crate::neural::sources::{OPENPOSE_BODY, Source};
use crate::params::{Checked, Params, Range};
use crate::picture::Picture;
use crate::resize::{Filter, resize};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct OpenposeParams {
    /// Parts that are less likely are not looked at.
    pub confidence_threshold: f64,
}

impl Default for OpenposeParams {
    fn default() -> Self {
        Self { confidence_threshold: 0.1 }
    }
}

impl Params for OpenposeParams {
    const RANGES: &'static [Range<Self>] = &[Range {
        name: "confidence_threshold",
        from: 0.0,
        to: 1.0,
        get: |params| params.confidence_threshold,
    }];
}

/// Of the picture that the network sees: half of OpenPose's 368, as `controlnet_aux` has it.
const HEIGHT: f64 = 184.0;
const LONGEST: f64 = 2048.0;
/// Pixels on each side of one number that it gives.
const STRIDE: usize = 8;
/// What is beside the picture.
const GRAY: u8 = 128;
/// `controlnet_aux` smooths by 3 pixels of 512.
const SIGMA: f64 = 3.0 * HEIGHT / 512.0;
/// Beside the parts: that there is none.
const LIKELY: usize = PARTS + 1;

pub struct Openpose {
    network: Network,
    input: PictureInput,
    /// What the network takes.
    size: (usize, usize),
    /// What the picture is in it; the rest is gray.
    content: (usize, usize),
}

impl Neural for Openpose {
    type Params = OpenposeParams;

    fn sources(_: &OpenposeParams) -> Vec<&'static Source> {
        vec![&OPENPOSE_BODY]
    }

    fn load(loader: &Loader<'_>, _: &Checked<OpenposeParams>) -> Result<Self, NeuralError> {
        let (width, height) = loader.size();
        let scaled = |scale: f64| {
            [width, height].map(|side| ((side as f64 * scale).round() as usize).max(1))
        };
        let usual = scaled((HEIGHT / height as f64).min(LONGEST / width as f64));
        let wanted = usual.map(|side| side.next_multiple_of(STRIDE));
        let ((input, size, content), network) = loader.load(&OPENPOSE_BODY, |declared| {
            let input = PictureInput::of(declared, 0)?;
            let size = input.size((wanted[0], wanted[1]));
            let scale = (size.0 as f64 / width as f64).min(size.1 as f64 / height as f64);
            let [across, down] = if size == (wanted[0], wanted[1]) { usual } else { scaled(scale) };
            let content = (across.min(size.0), down.min(size.1));
            Ok(((input, size, content), vec![input.shape(size)]))
        })?;
        Ok(Self { network, input, size, content })
    }

    fn apply(
        &mut self,
        picture: &Picture,
        params: &Checked<OpenposeParams>,
    ) -> Result<Picture, NeuralError> {
        let seen = self.seen(picture)?;
        let number = |_, level: f32| level / 256.0 - 0.5;
        let outputs = self.network.run(&[&self.input.tensor(&seen, number)])?;
        let found = |count: usize| outputs.iter().find_map(|output| planes(output, count));
        let (Some(likely), Some(directions)) = (found(LIKELY), found(DIRECTIONS)) else {
            let shapes: Vec<_> = outputs.iter().map(|output| output.shape()).collect();
            return Err(self.wrong(format!("outputs of {shapes:?}")));
        };
        if outputs.iter().any(|output| !output.is_finite()) {
            return Err(self.wrong("numbers that are not finite".into()));
        }
        let found = self.people(&likely, &directions, params.confidence_threshold as f32);
        let scale = [picture.width(), picture.height()];
        let scale =
            [scale[0] as f32 / self.content.0 as f32, scale[1] as f32 / self.content.1 as f32];
        let people: Vec<Skeleton> = found.into_iter().map(|person| scaled(person, scale)).collect();
        Ok(draw(picture, &people))
    }
}

impl Openpose {
    /// Blue first, with gray at the right and below.
    fn seen(&self, picture: &Picture) -> Result<Picture, NeuralError> {
        let (width, height) = self.content;
        let filter = if height < picture.height() { Filter::Area } else { Filter::Lanczos };
        let content = resize(picture, width, height, filter)?;
        let mut rgb = vec![GRAY; 3 * self.size.0 * self.size.1];
        for (y, row) in rgb.chunks_exact_mut(3 * self.size.0).take(height).enumerate() {
            row[..3 * width].copy_from_slice(content.row(y));
        }
        rgb.as_chunks_mut::<3>().0.iter_mut().for_each(|pixel| pixel.reverse());
        Ok(Picture::new(self.size.0, self.size.1, rgb)?)
    }

    /// In pixels of what the network sees.
    fn people(&self, likely: &[Plane], directions: &[Plane], threshold: f32) -> Vec<Skeleton> {
        let (width, height) = self.size;
        let is_seen = |plane: &&Plane| plane.values.iter().any(|&value| value > threshold);
        let cut = |plane: &Plane| match Some(plane).filter(is_seen) {
            Some(plane) => cut(&plane.cubic(width, height), self.content),
            None => Plane { width: 1, height: 1, values: vec![0.0] },
        };
        let likely: Vec<Plane> = likely.iter().take(PARTS).map(cut).collect();
        let scale = directions[0].width as f32 / width as f32;
        people(&likely, directions, scale, SIGMA, threshold)
    }

    fn wrong(&self, got: String) -> NeuralError {
        let wanted = format!("{LIKELY} likelihoods and {DIRECTIONS} directions at each place");
        NeuralError::output(self.network.path(), got, wanted)
    }
}

/// Without the gray.
fn cut(plane: &Plane, (width, height): (usize, usize)) -> Plane {
    let rows = plane.values.chunks_exact(plane.width).take(height);
    Plane { width, height, values: rows.flat_map(|row| &row[..width]).copied().collect() }
}

fn scaled(person: Skeleton, [across, down]: [f32; 2]) -> Skeleton {
    let scaled = |Point { x, y }| Point { x: (x + 0.5) * across, y: (y + 0.5) * down };
    person.map(|point| point.map(scaled))
}
