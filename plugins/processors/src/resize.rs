//! Pictures in other sizes: along rows, then along columns. The filters are PIL's, which rounds to 8 bits each time, and two
//! of OpenCV's, which rounds once.

use crate::picture::{Picture, PictureError, check_size};
use pulp::{Arch, Simd, WithSimd};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// The pixel below each new pixel's centre.
    Nearest,
    /// These three smooth as much as they shrink.
    Bilinear,
    Bicubic,
    Lanczos,
    /// OpenCV's `INTER_CUBIC`.
    Cubic,
    /// OpenCV's `INTER_AREA` where it shrinks: the mean of what lies below.
    Area,
}

pub fn resize(
    picture: &Picture,
    width: usize,
    height: usize,
    filter: Filter,
) -> Result<Picture, PictureError> {
    check_size(width, height)?;
    let (old_width, old_height) = (picture.width(), picture.height());
    let across = Taps::all(old_width, width, filter);
    let down = Taps::all(old_height, height, filter);
    let (arch, is_rounded) = (Arch::new(), !matches!(filter, Filter::Cubic | Filter::Area));
    let mut rows = vec![[0; 3]; width * old_height];
    arch.dispatch(AlongRows { picture, taps: &across, is_rounded, resized: &mut rows });
    let (numbers, mut rgb) = (rows.as_flattened(), vec![0; 3 * width * height]);
    if is_rounded {
        arch.dispatch(AlongColumns {
            numbers,
            taps: &down,
            sums: vec![0_i32; 3 * width],
            rgb: &mut rgb,
        });
    } else {
        arch.dispatch(AlongColumns {
            numbers,
            taps: &down,
            sums: vec![0_i64; 3 * width],
            rgb: &mut rgb,
        });
    }
    Picture::new(width, height, rgb)
}

/// Bits behind the point of a weight.
const BITS: u32 = 22;

/// What one new pixel is made of.
struct Taps {
    first: usize,
    weights: Vec<i32>,
}

impl Taps {
    fn all(old: usize, new: usize, filter: Filter) -> Vec<Self> {
        let scale = old as f64 / new as f64;
        (0..new).map(|index| Self::of(index as f64, scale, old, filter)).collect()
    }

    fn of(index: f64, scale: f64, length: usize, filter: Filter) -> Self {
        let center = (index + 0.5) * scale;
        match filter {
            Filter::Nearest => {
                Self { first: (center as usize).min(length - 1), weights: vec![1 << BITS] }
            }
            Filter::Bilinear => Self::smooth(center, scale, length, 1.0, triangle),
            Filter::Bicubic => Self::smooth(center, scale, length, 2.0, |x| keys(x, -0.5)),
            Filter::Lanczos => Self::smooth(center, scale, length, 3.0, lanczos),
            Filter::Cubic => Self::cubic(center - 0.5, length),
            Filter::Area => Self::area(index * scale, scale, length),
        }
    }

    /// Over the pixels within `support`, which grows where pictures shrink.
    fn smooth(
        center: f64,
        scale: f64,
        length: usize,
        support: f64,
        filter: impl Fn(f64) -> f64,
    ) -> Self {
        let stretch = scale.max(1.0);
        let support = support * stretch;
        let first = (center - support + 0.5).max(0.0) as usize;
        let end = ((center + support + 0.5) as usize).min(length);
        let weight = |place| filter((place as f64 - center + 0.5) / stretch);
        Self::normal(first, (first..end).map(weight).collect())
    }

    /// Of the four pixels around a place, those outside are the outermost.
    fn cubic(place: f64, length: usize) -> Self {
        let lower = place.floor();
        let last = length as f64 - 1.0;
        let places = [-1.0, 0.0, 1.0, 2.0].map(|step| lower + step);
        let clamped = places.map(|place| place.clamp(0.0, last) as usize);
        let mut weights = vec![0.0; clamped[3] - clamped[0] + 1];
        for (one, clamped_place) in places.iter().zip(clamped) {
            weights[clamped_place - clamped[0]] += keys(place - one, -0.75);
        }
        Self::normal(clamped[0], weights)
    }

    fn area(start: f64, scale: f64, length: usize) -> Self {
        let first = (start as usize).min(length - 1);
        let end = ((start + scale).ceil() as usize).clamp(first + 1, length);
        let overlap = |place: usize| {
            let place = place as f64;
            (start + scale).min(place + 1.0) - start.max(place)
        };
        Self::normal(first, (first..end).map(|place| overlap(place).max(0.0)).collect())
    }

    /// One together, before they are rounded.
    fn normal(first: usize, weights: Vec<f64>) -> Self {
        let total: f64 = weights.iter().sum();
        let fixed = |weight: f64| (weight / total * f64::from(1 << BITS)).round() as i32;
        Self { first, weights: weights.into_iter().map(fixed).collect() }
    }
}

fn triangle(x: f64) -> f64 {
    (1.0 - x.abs()).max(0.0)
}

/// Keys' cubic convolution, whose slope at 1 is `a`.
fn keys(x: f64, a: f64) -> f64 {
    let x = x.abs();
    if x < 1.0 {
        ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * a
    } else {
        0.0
    }
}

fn lanczos(x: f64) -> f64 {
    let sinc = |x: f64| {
        let angle = x * std::f64::consts::PI;
        if x == 0.0 { 1.0 } else { angle.sin() / angle }
    };
    if (-3.0..3.0).contains(&x) { sinc(x) * sinc(x / 3.0) } else { 0.0 }
}

/// Makes levels, or if these are not rounded, numbers with as many bits behind the point as a weight has.
struct AlongRows<'a> {
    picture: &'a Picture,
    taps: &'a [Taps],
    is_rounded: bool,
    resized: &'a mut [[i32; 3]],
}

impl WithSimd for AlongRows<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let rows = self.picture.rgb().as_chunks::<3>().0.chunks(self.picture.width());
        for (row, resized) in rows.zip(self.resized.chunks_mut(self.taps.len())) {
            for (Taps { first, weights }, sums) in self.taps.iter().zip(resized) {
                let (mut red, mut green, mut blue) = (0, 0, 0);
                for (&[r, g, b], weight) in row[*first..].iter().zip(weights) {
                    red += weight * i32::from(r);
                    green += weight * i32::from(g);
                    blue += weight * i32::from(b);
                }
                *sums = [red, green, blue];
                if self.is_rounded {
                    *sums = sums.map(|sum| sum.rounded().into());
                }
            }
        }
    }
}

/// Makes levels of rows of numbers.
struct AlongColumns<'a, T> {
    numbers: &'a [i32],
    taps: &'a [Taps],
    /// As long as a row.
    sums: Vec<T>,
    rgb: &'a mut [u8],
}

impl<T: Sum> WithSimd for AlongColumns<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, _: S) {
        let stride = self.sums.len();
        for (Taps { first, weights }, levels) in self.taps.iter().zip(self.rgb.chunks_mut(stride)) {
            self.sums.fill(T::default());
            for (row, &weight) in self.numbers[first * stride..].chunks(stride).zip(weights) {
                for (sum, &number) in self.sums.iter_mut().zip(row) {
                    *sum = sum.plus(weight, number);
                }
            }
            for (level, sum) in levels.iter_mut().zip(&self.sums) {
                *level = sum.rounded();
            }
        }
    }
}

/// Of numbers times weights. In 32 bits of levels, in 64 of what is not rounded yet.
trait Sum: Copy + Default {
    fn plus(self, weight: i32, number: i32) -> Self;
    fn rounded(self) -> u8;
}

impl Sum for i32 {
    #[inline(always)]
    fn plus(self, weight: i32, number: i32) -> Self {
        self + weight * number
    }

    #[inline(always)]
    fn rounded(self) -> u8 {
        ((self + (1 << (BITS - 1))) >> BITS).clamp(0, 255) as u8
    }
}

impl Sum for i64 {
    #[inline(always)]
    fn plus(self, weight: i32, number: i32) -> Self {
        self + i64::from(weight) * i64::from(number)
    }

    #[inline(always)]
    fn rounded(self) -> u8 {
        ((self + (1 << (2 * BITS - 1))) >> (2 * BITS)).clamp(0, 255) as u8
    }
}
