//! Lines where the picture is darker than its surroundings.

use crate::gaussian::{mirrored, pad};
use crate::params::{Checked, Params, Range};
use crate::picture::{LONGEST_SIDE, Picture, PictureError};
use crate::resize::{Filter, resize};
use pulp::{Arch, Simd, WithSimd};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct StandardLineartParams {
    /// How far the surroundings reach: the blur is 2 * ceil(3 * sigma) + 1 pixels wide.
    pub gaussian_sigma: f64,
    /// What is darker by less says nothing of how dark lines are, in levels.
    pub intensity_threshold: f64,
    /// The shorter side of the picture in which lines are looked for, in pixels.
    pub detect_resolution: u32,
}

impl Default for StandardLineartParams {
    fn default() -> Self {
        Self { gaussian_sigma: 6.0, intensity_threshold: 8.0, detect_resolution: 512 }
    }
}

impl Params for StandardLineartParams {
    const RANGES: &'static [Range<Self>] = &[
        Range { name: "gaussian_sigma", from: 1.0, to: 20.0, get: |params| params.gaussian_sigma },
        Range {
            name: "intensity_threshold",
            from: 1.0,
            to: 50.0,
            get: |params| params.intensity_threshold,
        },
        Range {
            name: "detect_resolution",
            from: 16.0,
            to: 2048.0,
            get: |params| params.detect_resolution.into(),
        },
    ];
}

/// Sides are padded to a multiple of it, by the outermost pixels.
const MULTIPLE: usize = 64;
/// The least that lines are divided by.
const FAINTEST: f32 = 16.0;

/// The picture resized to `detect_resolution` (OpenCV's cubic up, its area down) and padded; blurred by weights
/// `exp(-x * x / (2 * sigma * sigma))` with x from -1 to 1, in both directions, with the border mirrored. What the blurred
/// picture is brighter by in the channel where that is least, times 127 and divided by the median of what is above
/// `intensity_threshold`, or by 16 if that is more; cut to whole levels. In the size of the picture again (PIL's Lanczos).
///
/// Where the picture is so narrow that its longer side would become too long, it is resized by less.
pub fn standard_lineart(
    picture: &Picture,
    params: &Checked<StandardLineartParams>,
) -> Result<Picture, PictureError> {
    let resized = in_detect_resolution(picture, params.detect_resolution as usize)?;
    let padded = padded(&resized)?;
    let mut ink = ink(&padded, params.gaussian_sigma);
    let lines = ink.iter().copied().filter(|ink| f64::from(*ink) > params.intensity_threshold);
    let darkest = median(lines.collect()).max(FAINTEST);
    for ink in &mut ink {
        *ink = *ink / darkest * 127.0;
    }
    let rows = ink.chunks(padded.width()).take(resized.height());
    let levels = rows.flat_map(|row| &row[..resized.width()]).map(|ink| *ink as u8);
    let drawn = resized.of_levels(&levels.collect::<Vec<_>>());
    resize(&drawn, picture.width(), picture.height(), Filter::Lanczos)
}

fn in_detect_resolution(picture: &Picture, shorter: usize) -> Result<Picture, PictureError> {
    let (width, height) = (picture.width(), picture.height());
    let longest = LONGEST_SIDE as f64 / width.max(height) as f64;
    let scale = (shorter as f64 / width.min(height) as f64).min(longest);
    let scaled = |side: usize| (side as f64 * scale).round_ties_even() as usize;
    let filter = if scale > 1.0 { Filter::Cubic } else { Filter::Area };
    resize(picture, scaled(width), scaled(height), filter)
}

/// To the right and below.
fn padded(picture: &Picture) -> Result<Picture, PictureError> {
    let [width, height] =
        [picture.width(), picture.height()].map(|side| side.next_multiple_of(MULTIPLE));
    let mut rgb = Vec::with_capacity(3 * width * height);
    for y in 0..height {
        let row = picture.row(y.min(picture.height() - 1));
        rgb.extend_from_slice(row);
        let last = &row[row.len() - 3..];
        rgb.extend(last.iter().cycle().take(3 * (width - picture.width())));
    }
    Picture::new(width, height, rgb)
}

/// By how much each pixel is darker than its surroundings.
fn ink(picture: &Picture, sigma: f64) -> Vec<f32> {
    let mut surroundings = Surroundings::new(picture, sigma);
    let mut blurred = vec![0.0; 3 * picture.width()];
    let mut ink = Vec::with_capacity(picture.width() * picture.height());
    for y in 0..picture.height() {
        surroundings.row(y, &mut blurred);
        let pixels = blurred.as_chunks::<3>().0.iter().zip(picture.row(y).as_chunks::<3>().0);
        ink.extend(pixels.map(|(blurred, pixel)| darker(blurred, pixel)));
    }
    ink
}

/// The blurred picture, row by row from the top.
struct Surroundings<'a> {
    picture: &'a Picture,
    weights: Vec<f32>,
    stride: usize,
    /// A row of the picture with the border around it.
    padded: Vec<f32>,
    /// Rows summed along themselves, as many as one row of the result needs.
    ring: Vec<f32>,
    filled: usize,
    arch: Arch,
}

impl<'a> Surroundings<'a> {
    fn new(picture: &'a Picture, sigma: f64) -> Self {
        let weights = weights(sigma);
        let (side, stride) = (weights.len(), 3 * picture.width());
        let padded = vec![0.0; stride + 3 * (side - 1)];
        let ring = vec![0.0; stride * side];
        Self { picture, weights, stride, padded, ring, filled: 0, arch: Arch::new() }
    }

    fn row(&mut self, y: usize, sums: &mut [f32]) {
        let (radius, height) = (self.weights.len() / 2, self.picture.height());
        let needed = height.min(y + radius + 1);
        for y in self.filled..needed {
            self.fill(y);
        }
        self.filled = needed;
        let taps = self.weights.iter().enumerate().map(|(tap, &weight)| {
            let y = mirrored((y + tap) as isize - radius as isize, height);
            (&self.ring[self.slot(y)..], weight)
        });
        self.arch.dispatch(Sum { taps: &taps.collect::<Vec<_>>(), sums });
    }

    fn fill(&mut self, y: usize) {
        let row: Vec<f32> = self.picture.row(y).iter().map(|&level| level.into()).collect();
        pad(&row, self.weights.len() / 2, &mut self.padded);
        let taps = self.weights.iter().enumerate();
        let taps: Vec<_> = taps.map(|(tap, &weight)| (&self.padded[3 * tap..], weight)).collect();
        let slot = self.slot(y);
        let sums = &mut self.ring[slot..][..self.stride];
        self.arch.dispatch(Sum { taps: &taps, sums });
    }

    fn slot(&self, y: usize) -> usize {
        y % self.weights.len() * self.stride
    }
}

/// In the channel where it is least.
fn darker(blurred: &[f32; 3], pixel: &[u8; 3]) -> f32 {
    let differences = blurred.iter().zip(pixel).map(|(blurred, &level)| blurred - f32::from(level));
    differences.fold(255.0, f32::min).max(0.0)
}

/// One together.
fn weights(sigma: f64) -> Vec<f32> {
    let radius = (3.0 * sigma).ceil();
    let weight = |tap| (-0.5 * ((f64::from(tap) - radius) / radius / sigma).powi(2)).exp();
    let weights: Vec<f64> = (0..=2 * radius as u32).map(weight).collect();
    let total: f64 = weights.iter().sum();
    weights.iter().map(|weight| (weight / total) as f32).collect()
}

/// Values whose sums stay in registers; rows are whole blocks, as `MULTIPLE` is.
const BLOCK: usize = 32;

/// Of rows, each with its weight.
struct Sum<'a> {
    taps: &'a [(&'a [f32], f32)],
    sums: &'a mut [f32],
}

impl WithSimd for Sum<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for (index, sums) in self.sums.as_chunks_mut::<BLOCK>().0.iter_mut().enumerate() {
            let mut total = [0.0; BLOCK];
            for &(row, weight) in self.taps {
                let values = row[index * BLOCK..].first_chunk::<BLOCK>();
                let values = values.expect("rows are whole blocks");
                for lane in 0..BLOCK {
                    total[lane] += weight * values[lane];
                }
            }
            *sums = total;
        }
    }
}

/// Zero where there are none.
fn median(mut values: Vec<f32>) -> f32 {
    let middle = values.len() / 2;
    if values.is_empty() {
        return 0.0;
    }
    let is_odd = values.len() % 2 == 1;
    let (lower, &mut upper, _) = values.select_nth_unstable_by(middle, f32::total_cmp);
    let below = lower.iter().copied().fold(0.0, f32::max);
    if is_odd { upper } else { (below + upper) / 2.0 }
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn the_median_of_an_even_number_is_between_two() {
        assert_eq!(median(vec![]), 0.0);
        assert_eq!(median(vec![5.0]), 5.0);
        assert_eq!(median(vec![9.0, 1.0, 4.0]), 4.0);
        assert_eq!(median(vec![9.0, 1.0, 4.0, 6.0]), 5.0);
    }
}
