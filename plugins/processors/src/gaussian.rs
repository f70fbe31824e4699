//! Gaussian blur as OpenCV's `GaussianBlur` computes it for 8-bit pictures, equal to the byte: weights of 8 bits, sums of
//! whole rows in 16, of these in 32, and what is beyond the border mirrored about the outermost pixel.

use crate::picture::Picture;
use pulp::{Arch, Simd, WithSimd};

/// Values that are summed at once, in vectors. Rows are padded to whole blocks.
const BLOCK: usize = 32;

/// The weights of a blur, which are the same in both directions.
pub struct Gaussian {
    /// From the centre outwards. With those of the other side they are 256 together.
    half: Vec<u16>,
}

impl Gaussian {
    /// Over `side` pixels, which is odd; `sigma` is above zero.
    pub fn new(side: usize, sigma: f64) -> Self {
        let radius = side / 2;
        let weight = |distance: usize| (-0.5 * (distance as f64 / sigma).powi(2)).exp();
        let total = weight(0) + 2.0 * (1..=radius).map(weight).sum::<f64>();
        // What rounding takes from one weight goes to the next; the centre has the rest.
        let mut error = 0.0;
        let mut half = vec![0; radius + 1];
        for distance in (1..=radius).rev() {
            let exact = weight(distance) / total * 256.0 + error;
            let rounded = exact.round_ties_even();
            error = exact - rounded;
            half[distance] = rounded as u16;
        }
        half[0] = 256 - 2 * half[1..].iter().sum::<u16>();
        let outermost = half.iter().rposition(|weight| *weight > 0).unwrap_or(0);
        half.truncate(outermost + 1);
        Self { half }
    }

    fn radius(&self) -> usize {
        self.half.len() - 1
    }

    pub fn blur(&self, picture: &Picture) -> Picture {
        let mut blurred = picture.black();
        let mut rows = Blurring::new(self, picture);
        for y in 0..picture.height() {
            rows.blur(y, blurred.row_mut(y));
        }
        blurred
    }
}

/// The place in a row of `length` for one that may be outside: mirrored, without doubling the outermost one.
pub fn mirrored(place: isize, length: usize) -> usize {
    let period = 2 * (length - 1).max(1);
    let place = place.rem_euclid(period as isize) as usize;
    if length == 1 { 0 } else { place.min(period - place) }
}

/// A picture that is blurred row by row, from the top.
pub struct Blurring<'a> {
    gaussian: &'a Gaussian,
    picture: &'a Picture,
    /// A row of the picture with the border around it.
    padded: Vec<u8>,
    stride: usize,
    /// Rows summed along themselves, as many as one row of the result needs.
    ring: Vec<u16>,
    filled: usize,
    arch: Arch,
}

impl<'a> Blurring<'a> {
    pub fn new(gaussian: &'a Gaussian, picture: &'a Picture) -> Self {
        let radius = gaussian.radius();
        let stride = (3 * picture.width()).next_multiple_of(BLOCK);
        let padded = vec![0; stride + 6 * radius];
        let ring = vec![0; stride * (2 * radius + 1)];
        Self { gaussian, picture, padded, stride, ring, filled: 0, arch: Arch::new() }
    }

    /// The row `y`, which is none above the one before.
    pub fn blur(&mut self, y: usize, sums: &mut [u8]) {
        let (radius, height) = (self.gaussian.radius(), self.picture.height());
        self.fill(height.min(y + radius + 1));
        let half = &self.gaussian.half;
        let sides = (1..=radius).map(|distance| {
            let above = mirrored(y as isize - distance as isize, height);
            let below = mirrored((y + distance) as isize, height);
            (self.get(above), self.get(below), u32::from(half[distance]))
        });
        let (center, sides) = (self.get(y), sides.collect::<Vec<_>>());
        self.arch.dispatch(Column { center, weight: half[0].into(), sides: &sides, sums });
    }

    fn get(&self, y: usize) -> &[u16] {
        &self.ring[self.slot(y)..][..self.stride]
    }

    fn slot(&self, y: usize) -> usize {
        y % (2 * self.gaussian.radius() + 1) * self.stride
    }

    /// All rows up to this one.
    fn fill(&mut self, end: usize) {
        for y in self.filled..end {
            pad(self.picture.row(y), self.gaussian.radius(), &mut self.padded);
            let slot = self.slot(y);
            let sums = &mut self.ring[slot..][..self.stride];
            self.arch.dispatch(Line { padded: &self.padded, half: &self.gaussian.half, sums });
        }
        self.filled = self.filled.max(end);
    }
}

/// Copies a row of pixels to where it has `radius` mirrored ones on both sides.
pub fn pad<T: Copy>(row: &[T], radius: usize, padded: &mut [T]) {
    let width = row.len() / 3;
    padded[3 * radius..][..row.len()].copy_from_slice(row);
    for distance in 1..=radius {
        let left = mirrored(-(distance as isize), width);
        let right = mirrored((width - 1 + distance) as isize, width);
        padded[3 * (radius - distance)..][..3].copy_from_slice(&row[3 * left..][..3]);
        padded[3 * (radius + width - 1 + distance)..][..3].copy_from_slice(&row[3 * right..][..3]);
    }
}

/// Sums along a row.
struct Line<'a> {
    padded: &'a [u8],
    half: &'a [u16],
    sums: &'a mut [u16],
}

impl WithSimd for Line<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let radius = self.half.len() - 1;
        for (index, sums) in self.sums.as_chunks_mut::<BLOCK>().0.iter_mut().enumerate() {
            let at = |place| block(&self.padded[index * BLOCK + 3 * place..]);
            let center = at(radius);
            let mut total = [0u16; BLOCK];
            for lane in 0..BLOCK {
                total[lane] = self.half[0] * u16::from(center[lane]);
            }
            for (distance, weight) in self.half.iter().enumerate().skip(1) {
                let (left, right) = (at(radius - distance), at(radius + distance));
                for lane in 0..BLOCK {
                    // At most 255 times all weights, which are 256 together.
                    total[lane] += weight * (u16::from(left[lane]) + u16::from(right[lane]));
                }
            }
            *sums = total;
        }
    }
}

/// Sums across rows, down to 8 bits.
struct Column<'a> {
    center: &'a [u16],
    weight: u32,
    sides: &'a [Sides<'a>],
    sums: &'a mut [u8],
}

/// Two rows as far above and below, and their weight.
type Sides<'a> = (&'a [u16], &'a [u16], u32);

impl WithSimd for Column<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let (blocks, rest) = self.sums.as_chunks_mut::<BLOCK>();
        let whole = blocks.len() * BLOCK;
        for (index, sums) in blocks.iter_mut().enumerate() {
            *sums = block_of(self.center, self.weight, self.sides, index * BLOCK);
        }
        let sums =
            block_of(self.center, self.weight, self.sides, whole.min(self.center.len() - BLOCK));
        rest.copy_from_slice(&sums[..rest.len()]);
    }
}

#[inline(always)]
fn block_of(center: &[u16], weight: u32, sides: &[Sides], start: usize) -> [u8; BLOCK] {
    let center = block(&center[start..]);
    let mut total = [0u32; BLOCK];
    for lane in 0..BLOCK {
        total[lane] = 0x8000 + weight * u32::from(center[lane]);
    }
    for (above, below, weight) in sides {
        let (above, below) = (block(&above[start..]), block(&below[start..]));
        for lane in 0..BLOCK {
            total[lane] += weight * (u32::from(above[lane]) + u32::from(below[lane]));
        }
    }
    let mut rounded = [0; BLOCK];
    for lane in 0..BLOCK {
        rounded[lane] = (total[lane] >> 16) as u8;
    }
    rounded
}

#[inline(always)]
fn block<T>(values: &[T]) -> &[T; BLOCK] {
    values.first_chunk().expect("rows are padded to whole blocks")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outermost_pixel_is_the_mirror() {
        let places: Vec<_> = (-4..7).map(|place| mirrored(place, 3)).collect();
        assert_eq!(places, [0, 1, 2, 1, 0, 1, 2, 1, 0, 1, 2]);
        assert_eq!((-2..3).map(|place| mirrored(place, 1)).collect::<Vec<_>>(), [0; 5]);
    }

    #[test]
    fn weights_are_256_together_and_none_is_zero() {
        assert_eq!(Gaussian::new(15, 2.0).half, [52, 45, 31, 16, 7, 2, 1]);
        assert_eq!(Gaussian::new(99, 0.1).half, [256]);
    }
}
