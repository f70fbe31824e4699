//! Pictures in other sizes: along rows, then along columns. The filters are PIL's, which rounds to 8 bits each time, and two
//! of OpenCV's, which rounds once.

use crate::picture::{Picture, PictureError, check_size};

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
    let is_rounded = !matches!(filter, Filter::Cubic | Filter::Area);
    let rows = along_rows(picture, &Taps::all(old_width, width, filter), is_rounded);
    let shift = if is_rounded { BITS } else { 2 * BITS };
    let rgb = along_columns(&rows, 3 * width, &Taps::all(old_height, height, filter), shift);
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

/// Levels, or before they are rounded, numbers with so many bits behind the point as a weight has.
fn along_rows(picture: &Picture, taps: &[Taps], is_rounded: bool) -> Vec<i32> {
    let mut resized = Vec::with_capacity(3 * picture.height() * taps.len());
    for row in picture.rgb().as_chunks::<3>().0.chunks(picture.width()) {
        for Taps { first, weights } in taps {
            let mut sums = [0; 3];
            for (pixel, weight) in row[*first..].iter().zip(weights) {
                for (sum, &level) in sums.iter_mut().zip(pixel) {
                    *sum += weight * i32::from(level);
                }
            }
            let round = |sum: i32| rounded(sum.into(), BITS).into();
            resized.extend(if is_rounded { sums.map(round) } else { sums });
        }
    }
    resized
}

/// Of rows of so many numbers.
fn along_columns(numbers: &[i32], stride: usize, taps: &[Taps], shift: u32) -> Vec<u8> {
    let mut resized = Vec::with_capacity(stride * taps.len());
    let mut sums = vec![0; stride];
    for Taps { first, weights } in taps {
        sums.fill(0);
        for (row, &weight) in numbers[first * stride..].chunks_exact(stride).zip(weights) {
            for (sum, &number) in sums.iter_mut().zip(row) {
                *sum += i64::from(weight) * i64::from(number);
            }
        }
        resized.extend(sums.iter().map(|&sum| rounded(sum, shift)));
    }
    resized
}

fn rounded(sum: i64, shift: u32) -> u8 {
    ((sum + (1 << (shift - 1))) >> shift).clamp(0, 255) as u8
}
