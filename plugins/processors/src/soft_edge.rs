//! Soft edges: gradients of the brightness at three scales.

use crate::gray::brightness;
use crate::params::{Checked, Params, Range};
use crate::picture::Picture;
use pulp::{Arch, Simd, WithSimd};
use serde::{Deserialize, Serialize};

/// It takes none.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct SoftEdgeParams {}

impl Params for SoftEdgeParams {
    const RANGES: &'static [Range<Self>] = &[];
}

/// What multiplies the pixels around one: towards x; with rows and columns exchanged towards y.
struct Scale<const SIDE: usize> {
    factors: [[f32; SIDE]; SIDE],
    /// Of its gradients in the sum of all scales.
    share: f32,
}

const SMALL: Scale<3> =
    Scale { factors: [[-1., 0., 1.], [-2., 0., 2.], [-1., 0., 1.]], share: 0.5 };
const MIDDLE: Scale<5> = Scale {
    factors: [
        [-1., -2., 0., 2., 1.],
        [-2., -3., 0., 3., 2.],
        [-3., -5., 0., 5., 3.],
        [-2., -3., 0., 3., 2.],
        [-1., -2., 0., 2., 1.],
    ],
    share: 0.3 / 16.0,
};
const LARGE: Scale<7> = Scale {
    factors: [
        [-1., -2., -3., 0., 3., 2., 1.],
        [-2., -3., -4., 0., 4., 3., 2.],
        [-3., -4., -5., 0., 5., 4., 3.],
        [-4., -5., -6., 0., 6., 5., 4.],
        [-3., -4., -5., 0., 5., 4., 3.],
        [-2., -3., -4., 0., 4., 3., 2.],
        [-1., -2., -3., 0., 3., 2., 1.],
    ],
    share: 0.2 / 32.0,
};
/// Of the 5x5 blur, in both directions.
const BINOMIAL: [f32; 5] = [1.0 / 16.0, 4.0 / 16.0, 6.0 / 16.0, 4.0 / 16.0, 1.0 / 16.0];
/// Of the largest scale: so many zeros are around a plane.
const BORDER: usize = 3;
/// Values whose sums stay in registers.
const BLOCK: usize = 16;

/// Of the brightness from 0 to 1, gradients over 3x3, 5x5 and 7x7 pixels, with black beyond the border; their lengths,
/// 0.5, 0.3 and 0.2 of them; blurred by a binomial over 5x5 pixels and divided by the highest value; of `v` then
/// `1 / (1 + exp(3 - 6 * v))`, as three equal channels.
pub fn soft_edge(picture: &Picture, _: &Checked<SoftEdgeParams>) -> Picture {
    let lengths = lengths(&Plane::of(picture));
    let edges = blurred(&lengths);
    let most = edges.iter().copied().fold(0.0, f32::max);
    let scale = if most > 0.0 { 6.0 / most } else { 0.0 };
    let levels = edges.iter().map(|edge| {
        let soft = 1.0 / (1.0 + (3.0 - scale * edge).exp());
        (soft * 255.0).round() as u8
    });
    picture.of_levels(&levels.collect::<Vec<_>>())
}

/// Numbers, row by row, with zeros around them: whole blocks of a row may be read anywhere.
struct Plane {
    width: usize,
    height: usize,
    stride: usize,
    values: Vec<f32>,
}

impl Plane {
    fn zero(width: usize, height: usize) -> Self {
        let stride = width.next_multiple_of(BLOCK) + 2 * BORDER;
        Self { width, height, stride, values: vec![0.0; stride * (height + 2 * BORDER)] }
    }

    fn of(picture: &Picture) -> Self {
        let mut plane = Self::zero(picture.width(), picture.height());
        let bright = brightness(picture);
        for (y, row) in bright.chunks(plane.width).enumerate() {
            plane.row_mut(y).copy_from_slice(row);
        }
        plane
    }

    fn row_mut(&mut self, y: usize) -> &mut [f32] {
        let start = (y + BORDER) * self.stride + BORDER;
        &mut self.values[start..][..self.width]
    }

    /// From `side / 2` above and left of a pixel on.
    #[inline(always)]
    fn around(&self, x: usize, y: usize, side: usize) -> &[f32] {
        let margin = BORDER - side / 2;
        &self.values[(y + margin) * self.stride + x + margin..]
    }
}

/// Of the gradients, by their shares.
fn lengths(bright: &Plane) -> Plane {
    let mut lengths = Plane::zero(bright.width, bright.height);
    for y in 0..bright.height {
        Arch::new().dispatch(Lengths { bright, y, row: lengths.row_mut(y) });
    }
    lengths
}

struct Lengths<'a> {
    bright: &'a Plane,
    y: usize,
    row: &'a mut [f32],
}

impl WithSimd for Lengths<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for (index, row) in self.row.chunks_mut(BLOCK).enumerate() {
            let mut total = [0.0; BLOCK];
            SMALL.add(self.bright, index * BLOCK, self.y, &mut total);
            MIDDLE.add(self.bright, index * BLOCK, self.y, &mut total);
            LARGE.add(self.bright, index * BLOCK, self.y, &mut total);
            row.copy_from_slice(&total[..row.len()]);
        }
    }
}

impl<const SIDE: usize> Scale<SIDE> {
    #[inline(always)]
    fn add(&self, bright: &Plane, x: usize, y: usize, total: &mut [f32; BLOCK]) {
        let around = bright.around(x, y, SIDE);
        let (mut across, mut down) = ([0.0; BLOCK], [0.0; BLOCK]);
        for row in 0..SIDE {
            for column in 0..SIDE {
                let values = block(&around[row * bright.stride + column..]);
                for i in 0..BLOCK {
                    across[i] += self.factors[row][column] * values[i];
                    down[i] += self.factors[column][row] * values[i];
                }
            }
        }
        for i in 0..BLOCK {
            total[i] += self.share * (across[i] * across[i] + down[i] * down[i]).sqrt();
        }
    }
}

/// By the binomial, without the border.
fn blurred(plane: &Plane) -> Vec<f32> {
    let mut blurred = vec![0.0; plane.width * plane.height];
    for (y, row) in blurred.chunks_mut(plane.width).enumerate() {
        Arch::new().dispatch(Blur { plane, y, row });
    }
    blurred
}

struct Blur<'a> {
    plane: &'a Plane,
    y: usize,
    row: &'a mut [f32],
}

impl WithSimd for Blur<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for (index, row) in self.row.chunks_mut(BLOCK).enumerate() {
            let around = self.plane.around(index * BLOCK, self.y, BINOMIAL.len());
            let mut total = [0.0; BLOCK];
            for (down, of_row) in BINOMIAL.iter().enumerate() {
                for (right, factor) in BINOMIAL.iter().enumerate() {
                    let values = block(&around[down * self.plane.stride + right..]);
                    for i in 0..BLOCK {
                        total[i] += of_row * factor * values[i];
                    }
                }
            }
            row.copy_from_slice(&total[..row.len()]);
        }
    }
}

#[inline(always)]
fn block(values: &[f32]) -> &[f32; BLOCK] {
    values.first_chunk().expect("planes have room for whole blocks")
}
