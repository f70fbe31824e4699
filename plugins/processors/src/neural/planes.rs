//! Numbers in place of pixels, one for each, and how they are brought to other sizes.

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
        let across: Vec<Between> =
            (0..width).map(|x| Between::new(x, width, self.width)).collect();
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
                four.places.iter().zip(four.weights).map(|(&x, weight)| row[x] * weight).sum::<f32>()
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
        let radius = (4.0 * sigma + 0.5) as isize;
        let weight = |x: isize| (-0.5 * (x as f64 / sigma).powi(2)).exp();
        let total: f64 = (-radius..=radius).map(weight).sum();
        let weights: Vec<(isize, f32)> =
            (-radius..=radius).map(|x| (x, (weight(x) / total) as f32)).collect();
        let mut down = vec![0.0; self.values.len()];
        for (y, target) in down.chunks_exact_mut(self.width).enumerate() {
            for &(step, weight) in &weights {
                let row = self.row(reflected(y as isize + step, self.height));
                target.iter_mut().zip(row).for_each(|(sum, value)| *sum += weight * value);
            }
        }
        let mut values = vec![0.0; self.values.len()];
        let mut padded = vec![0.0; self.width + 2 * radius as usize];
        for (row, target) in down.chunks_exact(self.width).zip(values.chunks_exact_mut(self.width)) {
            for (place, padded) in padded.iter_mut().enumerate() {
                *padded = row[reflected(place as isize - radius, self.width)];
            }
            for &(step, weight) in &weights {
                let shifted = &padded[(step + radius) as usize..];
                target.iter_mut().zip(shifted).for_each(|(sum, value)| *sum += weight * value);
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
        let places = [-1.0, 0.0, 1.0, 2.0]
            .map(|step| (lower + step).clamp(0.0, (old - 1) as f64) as usize);
        Self { places, weights: [far(x + 1.0), near(x), near(1.0 - x), far(2.0 - x)] }
    }
}

fn reflected(place: isize, length: usize) -> usize {
    let length = length as isize;
    let place = place.rem_euclid(2 * length);
    place.min(2 * length - 1 - place) as usize
}
