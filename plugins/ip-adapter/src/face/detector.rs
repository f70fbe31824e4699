//! Where a face is: SCRFD, as InsightFace's model packs have it.
//!
//! Of all that the network takes for faces the surest one is wanted. InsightFace's suppression of boxes that overlap keeps
//! that one in any case, so nothing is to be suppressed here, and boxes are not looked at.

use super::{FaceError, planes};
use image::RgbImage;
use plugins_diffusion::engine::Engine;
use plugins_diffusion::onnx::{Declared, FileSession};
use plugins_diffusion::stream::pictures::Picture;
use plugins_diffusion::tensor::Tensor;
use std::path::Path;

/// Eyes, nose, corners of the mouth: x and y in pixels.
pub type Landmarks = [[f64; 2]; 5];

/// Sides of the square that the network sees, until there is a face in it. In a smaller one large faces are found.
const SIDES: [usize; 7] = [640, 576, 512, 448, 384, 320, 256];
/// Pixels from one place that is looked at to the next, and what is told of each place.
const STRIDES: [usize; 3] = [8, 16, 32];
const ANCHORS: usize = 2;
const THRESHOLD: f32 = 0.5;

pub struct Detector {
    engine: Engine,
    declared: Declared,
    /// For the first of the sides.
    first: FileSession,
    sides: Vec<usize>,
}

impl Detector {
    pub fn load(
        engine: Engine,
        path: &Path,
        goes_on: &mut dyn FnMut() -> bool,
    ) -> Result<Self, FaceError> {
        let declared = Declared::read(path)?;
        let fits = |side: &usize| {
            let dims = declared.inputs[0].dims.as_deref().unwrap_or_default();
            dims.iter().skip(2).all(|dim| dim.is_none_or(|dim| dim == *side))
        };
        let sides: Vec<usize> = SIDES.into_iter().filter(fits).collect();
        let Some(&side) = sides.first() else {
            return Err(declared.unfit(format!("it takes none of the sizes {SIDES:?}")).into());
        };
        let first = engine.load_file(declared.clone(), input(side), goes_on)?;
        Ok(Self { engine, declared, first, sides })
    }

    /// The landmarks of the surest face.
    pub fn find(&self, picture: &RgbImage) -> Result<Option<Landmarks>, FaceError> {
        for &side in &self.sides {
            let smaller;
            let session = match side == self.sides[0] {
                true => &self.first,
                false => {
                    let load =
                        self.engine.load_file(self.declared.clone(), input(side), &mut || true);
                    smaller = load?;
                    &smaller
                }
            };
            let (seen, scale) = fit(picture, side);
            let outputs = session.run(&[&seen])?;
            if let Some(landmarks) = self.surest(&outputs, side)? {
                return Ok(Some(landmarks.map(|point| point.map(|place| place / scale))));
            }
        }
        Ok(None)
    }

    /// Of the likelihoods, boxes and points of all strides, one after another.
    fn surest(&self, outputs: &[Tensor], side: usize) -> Result<Option<Landmarks>, FaceError> {
        if outputs.len() != 3 * STRIDES.len() {
            return Err(self.unfit(format!("{} outputs", outputs.len())));
        }
        let mut best: Option<(f32, Landmarks)> = None;
        for (at, stride) in STRIDES.into_iter().enumerate() {
            let places = side.div_ceil(stride);
            let count = ANCHORS * places * places;
            let scores = self.rows(&outputs[at], count, 1)?;
            let points = self.rows(&outputs[at + 2 * STRIDES.len()], count, 10)?;
            let sure = scores.iter().enumerate().filter(|(_, score)| **score >= THRESHOLD);
            let Some((row, &score)) = sure.max_by(|(_, a), (_, b)| a.total_cmp(b)) else {
                continue;
            };
            if best.is_none_or(|(other, _)| score > other) {
                let place = row / ANCHORS;
                let center = [place % places, place / places].map(|at| (at * stride) as f64);
                best = Some((score, landmarks(&points[10 * row..], center, stride as f64)));
            }
        }
        Ok(best.map(|(_, landmarks)| landmarks))
    }

    fn rows<'t>(
        &self,
        output: &'t Tensor,
        count: usize,
        width: usize,
    ) -> Result<&'t [f32], FaceError> {
        match *output.shape() {
            [rows, each] | [1, rows, each] if (rows, each) == (count, width) => {}
            _ => return Err(self.unfit(format!("an output of {:?}", output.shape()))),
        }
        match output.is_finite() {
            true => Ok(output.data()),
            false => Err(self.unfit("numbers that are not finite".into())),
        }
    }

    fn unfit(&self, got: String) -> FaceError {
        let wanted = "what SCRFD with landmarks gives: for strides 8, 16 and 32 likelihoods, boxes and five points of \
                      two anchors at each place";
        FaceError::Output { path: self.declared.path.clone(), got, wanted: wanted.into() }
    }
}

fn input(side: usize) -> Vec<Vec<usize>> {
    vec![vec![1, 3, side, side]]
}

/// Five distances from a place, in strides.
fn landmarks(distances: &[f32], center: [f64; 2], stride: f64) -> Landmarks {
    let mut landmarks = [[0.0; 2]; 5];
    let pairs = landmarks.iter_mut().zip(distances.as_chunks::<2>().0);
    for (landmark, distance) in pairs {
        for axis in [0, 1] {
            landmark[axis] = center[axis] + f64::from(distance[axis]) * stride;
        }
    }
    landmarks
}

/// The picture in the upper left of a black square, and how much larger it is there.
fn fit(picture: &RgbImage, side: usize) -> (Tensor, f64) {
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    let share = |short: usize, long: usize| ((short * side) as f64 / long as f64) as usize;
    let (new_width, new_height) = match height > width {
        true => (share(width, height).max(1), side),
        false => (side, share(height, width).max(1)),
    };
    let whole = Picture { width, height, rgb: picture.as_raw().clone() };
    let scaled = whole.scaled_to(new_width, new_height);
    let scaled = RgbImage::from_raw(new_width as u32, new_height as u32, scaled.rgb);
    let mut square = RgbImage::new(side as u32, side as u32);
    if let Some(scaled) = scaled {
        image::imageops::replace(&mut square, &scaled, 0, 0);
    }
    let seen = planes(&square, |level| (f32::from(level) - 127.5) / 128.0);
    (seen, new_height as f64 / height as f64)
}
