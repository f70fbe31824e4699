//! 3x3 convolutions by fewer products: F(4x4, 3x3) of Lavin and Gray (2015), a quarter of what the definition takes.
//!
//! A picture is taken in tiles, each 4x4 pixels of the result. What a tile is computed from, 6x6 pixels, is transformed
//! to [`PLACES`] values, which are multiplied with as many of each filter and summed over the channels: products of
//! matrices, whose results are transformed back. A vector holds the same place of neighbouring tiles.

mod product;
mod strip;
#[cfg(test)]
mod tests;
mod tiles;
mod transform;

use std::cell::RefCell;
use std::ops::Range;

use pulp::Arch;

use strip::Strip;

/// Sides of a tile of the result, and of what it is computed from.
const TILE: usize = 4;
const PATCH: usize = 6;
const PLACES: usize = PATCH * PATCH;
/// Filters that are multiplied with at once.
const TOGETHER: usize = 4;
/// Tiles of which a thread takes some at a time.
const STRIP: Range<usize> = 8..96;

thread_local! {
    /// For transformed values and their products, as asking for memory takes longer than some convolutions.
    static SCRATCH: RefCell<[Vec<f32>; 2]> = RefCell::default();
}

/// Filters, transformed.
pub struct Filters {
    inputs: usize,
    outputs: usize,
    /// `[places, outputs / TOGETHER, inputs]`, with zeros for the outputs that are lacking.
    values: Vec<[f32; TOGETHER]>,
}

/// What is convolved: one row's planes.
#[derive(Clone, Copy)]
pub struct Picture<'a> {
    pub values: &'a [f32],
    /// Height and width.
    pub sides: [usize; 2],
    /// Top, left, bottom, right.
    pub padding: [usize; 4],
}

/// What is done with the sums.
#[derive(Clone, Copy)]
pub struct Finish<'a> {
    /// For each output, or none.
    pub bias: &'a [f32],
    /// Added, in the shape of the result.
    pub summand: Option<&'a [f32]>,
    pub has_relu: bool,
}

impl Picture<'_> {
    /// Of the result; nothing where the picture is too small for one.
    pub fn result(&self) -> Option<[usize; 2]> {
        let [height, width] = self.sides;
        let [top, left, bottom, right] = self.padding;
        let side = |side: usize| side.checked_sub(2).filter(|&side| side > 0);
        Some([side(height + top + bottom)?, side(width + left + right)?])
    }
}

/// Lines of a result with such sides that one thread takes at a time: enough for its vectors, and a part for each of a
/// few threads even where the picture is small.
pub fn lines_of_strip([height, width]: [usize; 2]) -> usize {
    let [down, across] = [height, width].map(|side| side.div_ceil(TILE));
    TILE * ((down * across / 4).clamp(STRIP.start, STRIP.end) / across).max(1)
}

impl Filters {
    /// Of weights `[outputs, inputs, 3, 3]`.
    pub fn new(weights: &[f32], outputs: usize, inputs: usize) -> Self {
        let blocks = outputs.div_ceil(TOGETHER);
        let mut values = vec![[0.0; TOGETHER]; PLACES * blocks * inputs];
        let (filters, _) = weights.as_chunks::<9>();
        for (number, filter) in filters.iter().enumerate() {
            let (output, input) = (number / inputs, number % inputs);
            for (place, value) in transform::filter(filter).into_iter().enumerate() {
                let block = place * blocks + output / TOGETHER;
                values[block * inputs + input][output % TOGETHER] = value;
            }
        }
        Self { inputs, outputs, values }
    }

    pub fn inputs(&self) -> usize {
        self.inputs
    }

    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Computes some lines of the result from the line `first`, a multiple of 4, on: `planes` has them for each output.
    pub fn convolve(
        &self,
        picture: &Picture,
        first: usize,
        planes: &mut [&mut [f32]],
        finish: &Finish,
    ) {
        let Some([_, width]) = picture.result() else { return };
        SCRATCH.with_borrow_mut(|scratch| {
            Arch::new().dispatch(Strip {
                filters: self,
                picture,
                width,
                first,
                planes,
                finish,
                scratch,
            })
        });
    }
}
