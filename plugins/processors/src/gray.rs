//! How bright pixels are: 0.299 of red, 0.587 of green, 0.114 of blue, in single precision from 0 to 1. Edges depend on
//! the last bit of it, so it is added up in the order in which StreamDiffusion's descendants do.

use crate::picture::Picture;
use pulp::{Arch, Simd, WithSimd};

const RED: f32 = 0.299;
const GREEN: f32 = 0.587;
const BLUE: f32 = 0.114;

const PART: usize = 512;

/// One channel of 8 bits, row by row.
pub struct Gray {
    pub width: usize,
    pub height: usize,
    pub levels: Vec<u8>,
}

impl Gray {
    /// Levels from 0 to 255; what is between two becomes the lower.
    pub fn of(picture: &Picture) -> Self {
        let mut levels = vec![0; picture.width() * picture.height()];
        let pixels = picture.rgb().as_chunks().0;
        Arch::new().dispatch(Levels { pixels, levels: &mut levels });
        Self { width: picture.width(), height: picture.height(), levels }
    }
}

/// Of each pixel, row by row.
pub fn brightness(picture: &Picture) -> Vec<f32> {
    picture.rgb().as_chunks::<3>().0.iter().map(|&[r, g, b]| bright(r, g, b)).collect()
}

#[inline(always)]
fn bright(r: u8, g: u8, b: u8) -> f32 {
    RED * share(r) + GREEN * share(g) + BLUE * share(b)
}

/// A level divided by 255, to the last bit, by faster operations: the upper half of the factor has so few bits that the
/// product is exact.
#[inline(always)]
fn share(level: u8) -> f32 {
    const UPPER: f32 = 257.0 / 65536.0;
    const LOWER: f32 = (1.0_f64 / 255.0 - 257.0 / 65536.0) as f32;
    let level = f32::from(level);
    level * UPPER + level * LOWER
}

/// The whole part of a number from 0 to 255. A cast would look for numbers that are none, one at a time.
#[inline(always)]
fn whole(number: f32) -> u8 {
    // So large that the lowest bit is worth one.
    const LARGE: f32 = (1 << 23) as f32;
    let rounded = number + LARGE;
    (rounded.to_bits() as u8) - u8::from(rounded - LARGE > number)
}

struct Levels<'a> {
    pixels: &'a [[u8; 3]],
    levels: &'a mut [u8],
}

impl WithSimd for Levels<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        // First to numbers of 32 bits, which vectors are made of; a part of the picture at a time, which stays in the cache.
        let mut packed = [0; PART];
        for (levels, pixels) in self.levels.chunks_mut(PART).zip(self.pixels.chunks(PART)) {
            for (packed, &[r, g, b]) in packed.iter_mut().zip(pixels) {
                *packed = u32::from_le_bytes([r, g, b, 0]);
            }
            for (level, &packed) in levels.iter_mut().zip(&packed) {
                let [r, g, b] = [packed & 255, (packed >> 8) & 255, packed >> 16];
                *level = whole(bright(r as u8, g as u8, b as u8) * 255.0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_quotients_to_the_last_bit() {
        for level in 0..=255 {
            assert_eq!(share(level), f32::from(level) / 255.0, "{level}");
        }
    }

    #[test]
    fn whole_parts_are_those_of_a_cast() {
        for hundredths in 0..=25500 {
            let number = hundredths as f32 / 100.0;
            assert_eq!(whole(number), number as u8, "{number}");
        }
    }
}
