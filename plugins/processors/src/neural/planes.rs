//! Numbers in place of pixels, one for each, and how they are brought to other sizes.

use crate::gaussian::mirrored;

/// Row by row from the top.
#[derive(Clone, Debug, PartialEq)]
pub struct Plane {
    pub width: usize,
    pub height: usize,
    pub values: Vec<f32>,
}

impl Plane {
    /// In another size: between four neighbours, centres on centres, without smoothing, as OpenCV's `INTER_LINEAR` and
    /// torch's `bilinear` do.
    pub fn resized(&self, width: usize, height: usize) -> Self {
        if (width, height) == (self.width, self.height) {
            return self.clone();
        }
        let across: Vec<Between> = (0..width).map(|x| Between::new(x, width, self.width)).collect();
        let mut values = Vec::with_capacity(width * height);
        for y in 0..height {
            let down = Between::new(y, height, self.height);
            let [upper, lower] = [down.lower, down.upper].map(|y| self.row(y));
            values.extend(across.iter().map(|across| {
                let [upper, lower] = [upper, lower].map(|row| across.of(row));
                upper + (lower - upper) * down.share
            }));
        }
        Self { width, height, values }
    }

    /// In another size: by OpenCV's `INTER_CUBIC`.
    pub fn cubic(&self, width: usize, height: usize) -> Self {
        let across: Vec<Four> = (0..width).map(|x| Four::new(x, width, self.width)).collect();
        let mut rows = Vec::with_capacity(width * self.height);
        for y in 0..self.height {
            let row = self.row(y);
            rows.extend(across.iter().map(|four| {
                four.places
                    .iter()
                    .zip(four.weights)
                    .map(|(&x, weight)| row[x] * weight)
                    .sum::<f32>()
            }));
        }
        let mut values = vec![0.0; width * height];
        for (y, target) in values.chunks_exact_mut(width).enumerate() {
            let down = Four::new(y, height, self.height);
            for (place, weight) in down.places.into_iter().zip(down.weights) {
                let row = &rows[place * width..][..width];
                target.iter_mut().zip(row).for_each(|(sum, value)| *sum += weight * value);
            }
        }
        Self { width, height, values }
    }

    /// Blurred by a Gaussian cut at four sigmas, beyond the border mirrored with the outermost doubled, as SciPy's
    /// `gaussian_filter` does.
    pub fn blurred(&self, sigma: f64) -> Self {
        self.convolved(&gaussian((4.0 * sigma + 0.5) as usize, sigma), doubled)
    }

    /// Blurred over this many pixels to each side, beyond the border mirrored about the outermost, as OpenCV's
    /// `GaussianBlur` does, with the sigma that it takes for it.
    pub fn smoothed(&self, radius: usize) -> Self {
        let weights = match radius {
            0 => vec![1.0],
            1..=4 => SMALL[radius - 1].iter().map(|weight| weight / 256.0).collect(),
            _ => gaussian(radius, 0.3 * (radius as f64 - 1.0) + 0.8),
        };
        self.convolved(&weights, mirrored)
    }

    /// In both directions.
    fn convolved(&self, weights: &[f32], border: fn(isize, usize) -> usize) -> Self {
        let radius = weights.len() / 2;
        let mut down = vec![0.0; self.values.len()];
        for (y, target) in down.chunks_exact_mut(self.width).enumerate() {
            for (tap, &weight) in weights.iter().enumerate() {
                let place = (y + tap) as isize - radius as isize;
                add(target, self.row(border(place, self.height)), weight);
            }
        }
        let mut values = vec![0.0; self.values.len()];
        let mut padded = vec![0.0; self.width + 2 * radius];
        let rows = down.chunks_exact(self.width);
        for (row, target) in rows.zip(values.chunks_exact_mut(self.width)) {
            for (place, padded) in padded.iter_mut().enumerate() {
                *padded = row[border(place as isize - radius as isize, self.width)];
            }
            for (tap, &weight) in weights.iter().enumerate() {
                add(target, &padded[tap..], weight);
            }
        }
        Self { width: self.width, height: self.height, values }
    }

    /// Between four neighbours, of which those outside are the outermost.
    pub fn at(&self, x: f32, y: f32) -> f32 {
        let (across, down) = (Between::at(x, self.width), Between::at(y, self.height));
        let [upper, lower] = [down.lower, down.upper].map(|y| across.of(self.row(y)));
        upper + (lower - upper) * down.share
    }

    fn row(&self, y: usize) -> &[f32] {
        &self.values[y * self.width..][..self.width]
    }
}

/// A place between two of a row, and how far it is to the second.
#[derive(Clone, Copy)]
pub struct Between {
    pub lower: usize,
    pub upper: usize,
    pub share: f32,
}

impl Between {
    fn new(index: usize, new: usize, old: usize) -> Self {
        Self::at(((index as f64 + 0.5) * old as f64 / new as f64 - 0.5) as f32, old)
    }

    /// Places outside, and what is no place, are the outermost.
    pub fn at(place: f32, length: usize) -> Self {
        let place = place.clamp(0.0, (length - 1) as f32);
        let lower = place as usize;
        Self { lower, upper: (lower + 1).min(length - 1), share: (place - lower as f32).max(0.0) }
    }

    fn of(self, row: &[f32]) -> f32 {
        row[self.lower] + (row[self.upper] - row[self.lower]) * self.share
    }
}

struct Four {
    places: [usize; 4],
    weights: [f32; 4],
}

impl Four {
    fn new(index: usize, new: usize, old: usize) -> Self {
        let place = (index as f64 + 0.5) * old as f64 / new as f64 - 0.5;
        let lower = place.floor();
        let x = (place - lower) as f32;
        let near = |x: f32| (1.25 * x - 2.25) * x * x + 1.0;
        let far = |x: f32| ((-0.75 * x + 3.75) * x - 6.0) * x + 3.0;
        let places =
            [-1.0, 0.0, 1.0, 2.0].map(|step| (lower + step).clamp(0.0, (old - 1) as f64) as usize);
        Self { places, weights: [far(x + 1.0), near(x), near(1.0 - x), far(2.0 - x)] }
    }
}

/// OpenCV's own weights for the smallest, of 256.
const SMALL: [&[f32]; 4] = [
    &[64.0, 128.0, 64.0],
    &[16.0, 64.0, 96.0, 64.0, 16.0],
    &[8.0, 28.0, 56.0, 72.0, 56.0, 28.0, 8.0],
    &[4.0, 13.0, 30.0, 51.0, 60.0, 51.0, 30.0, 13.0, 4.0],
];

/// One together.
fn gaussian(radius: usize, sigma: f64) -> Vec<f32> {
    let weight = |tap: usize| (-0.5 * ((tap as f64 - radius as f64) / sigma).powi(2)).exp();
    let taps = 0..2 * radius + 1;
    let total: f64 = taps.clone().map(weight).sum();
    taps.map(|tap| (weight(tap) / total) as f32).collect()
}

fn add(sums: &mut [f32], values: &[f32], weight: f32) {
    sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += weight * value);
}

/// The place in a row for one that may be outside: mirrored, with the outermost doubled.
fn doubled(place: isize, length: usize) -> usize {
    let length = length as isize;
    let place = place.rem_euclid(2 * length);
    place.min(2 * length - 1 - place) as usize
}
