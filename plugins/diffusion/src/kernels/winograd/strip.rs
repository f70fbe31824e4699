//! Some rows of tiles, by one thread.

use pulp::{Simd, WithSimd};

use super::product::{Places, multiply};
use super::tiles::{Line, Piece};
use super::{Filters, Finish, PATCH, PLACES, Picture, TILE, TOGETHER, transform};

/// Channels in and out whose values, for three vectors of tiles, find room in the second cache, 512 KiB.
const NARROW: usize = 96;
/// Lanes of the widest vectors, and so many of them at once.
const LANES: usize = 16;
const VECTORS: usize = 3;
/// Columns of so many tiles, and what the last of them needs beyond.
const COLUMNS: usize = TILE * LANES * VECTORS + LANES;
/// Bytes of a line of the cache.
const ALIGNMENT: usize = 64;

/// Lines of a patch. Vectors of them are read and written at once, which takes twice as long across lines of the cache.
#[repr(align(64))]
struct Lines([f32; COLUMNS * PATCH]);

pub struct Strip<'a, 'o> {
    pub filters: &'a Filters,
    pub picture: &'a Picture<'a>,
    /// Of the result.
    pub width: usize,
    /// Line of the result at which the planes begin.
    pub first: usize,
    pub planes: &'a mut [&'o mut [f32]],
    pub finish: &'a Finish<'a>,
    pub scratch: &'a mut [Vec<f32>; 2],
}

impl WithSimd for Strip<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let lines = self.planes.first().map_or(0, |plane| plane.len() / self.width);
        let line = Line::new(lines.div_ceil(TILE), self.width);
        let starts = line.starts(S::F32_LANES);
        let is_narrow = self.filters.inputs + self.filters.outputs <= NARROW;
        let mut rest = &starts[..];
        while let Some(&first) = rest.first() {
            let count = match rest.len() {
                3 | 5.. if is_narrow => 3,
                1 => 1,
                _ => 2,
            };
            let end = rest[count - 1] + TILE * S::F32_LANES;
            let mut offsets = [0; VECTORS];
            for (offset, start) in offsets.iter_mut().zip(&rest[..count]) {
                *offset = start - first;
            }
            let block = Block { line, first, end, offsets };
            match count {
                1 => self.block::<S, 1>(simd, block),
                2 => self.block::<S, 2>(simd, block),
                _ => self.block::<S, 3>(simd, block),
            }
            rest = &rest[count..];
        }
    }
}

/// Vectors of tiles that are computed at once.
#[derive(Clone, Copy)]
struct Block {
    line: Line,
    /// Places on the line.
    first: usize,
    end: usize,
    /// Where each vector begins, from `first` on.
    offsets: [usize; VECTORS],
}

impl Strip<'_, '_> {
    #[inline(always)]
    fn block<S: Simd, const N: usize>(&mut self, simd: S, block: Block) {
        let mut scratch = std::mem::take(self.scratch);
        let [tiles, products] = &mut scratch;
        let tiles = places::<S, N>(tiles, self.filters.inputs);
        let products =
            places::<S, N>(products, self.filters.outputs.next_multiple_of(TOGETHER));
        self.transform(simd, block, tiles);
        multiply(simd, &self.filters.values, tiles, products);
        self.finish(simd, block, products);
        *self.scratch = scratch;
    }

    /// Transforms what the tiles are computed from.
    #[inline(always)]
    fn transform<S: Simd, const N: usize>(
        &self,
        simd: S,
        block: Block,
        tiles: &mut [Places<S, N>],
    ) {
        let [height, width] = self.picture.sides;
        let [top, left, ..] = self.picture.padding;
        let area = height * width;
        let pieces: Vec<Piece> =
            block.line.pieces(block.first..block.end + TILE, left, width).collect();
        let zeros = [0.0; COLUMNS];
        let mut lines = Lines([0.0; COLUMNS * PATCH]);
        let lines = &mut lines.0;
        for (plane, tiles) in self.picture.values.chunks_exact(area).zip(tiles) {
            for &Piece { row, column, at, len } in &pieces {
                let mut rows = [&zeros[..len]; PATCH];
                for (number, place) in rows.iter_mut().enumerate() {
                    let line = self.first + TILE * row + number;
                    if line >= top && line - top < height {
                        *place = &plane[(line - top) * width + column..][..len];
                    }
                }
                down::<S>(simd, rows, lines, at);
            }
            for (number, line) in lines.chunks_exact(COLUMNS).enumerate() {
                for vector in 0..N {
                    let offset = block.offsets[vector];
                    let columns = across(simd, &line[offset..]);
                    for (column, value) in columns.into_iter().enumerate() {
                        tiles[number * PATCH + column][vector] = value;
                    }
                }
            }
        }
    }

    /// Transforms products to the result.
    #[inline(always)]
    fn finish<S: Simd, const N: usize>(
        &mut self,
        simd: S,
        block: Block,
        products: &[Places<S, N>],
    ) {
        let pieces: Vec<Piece> =
            block.line.pieces(block.first..block.end, 0, self.width).collect();
        let mut lines = Lines([0.0; COLUMNS * PATCH]);
        let lines = &mut lines.0;
        for (number, (plane, products)) in self.planes.iter_mut().zip(products).enumerate() {
            for vector in 0..N {
                let offset = block.offsets[vector];
                let tiles = back::<S, N>(simd, products, vector);
                for (line, values) in lines.chunks_exact_mut(COLUMNS).zip(tiles) {
                    let (vectors, _) = S::as_mut_simd_f32s(&mut line[offset..]);
                    vectors[..TILE].copy_from_slice(&values);
                }
            }
            let bias = self.finish.bias.get(number).copied().unwrap_or(0.0);
            let whole = self.finish.summand.map(|summand| {
                let size = summand.len() / self.filters.outputs;
                &summand[number * size + self.first * self.width..(number + 1) * size]
            });
            for &Piece { row, column, at, len } in &pieces {
                for (number, line) in lines.chunks_exact(COLUMNS).take(TILE).enumerate() {
                    let start = (TILE * row + number) * self.width + column;
                    let Some(result) = plane.get_mut(start..start + len) else { break };
                    let sums = &line[at..at + len];
                    match (whole, self.finish.has_relu) {
                        (None, false) => write::<S, false, false>(simd, result, sums, sums, bias),
                        (None, true) => write::<S, false, true>(simd, result, sums, sums, bias),
                        (Some(whole), false) => {
                            let summand = &whole[start..start + len];
                            write::<S, true, false>(simd, result, sums, summand, bias)
                        }
                        (Some(whole), true) => {
                            let summand = &whole[start..start + len];
                            write::<S, true, true>(simd, result, sums, summand, bias)
                        }
                    }
                }
            }
        }
    }
}

/// Room for all places of so many channels, each vector of them in one line of the cache.
#[inline(always)]
fn places<S: Simd, const N: usize>(scratch: &mut Vec<f32>, channels: usize) -> &mut [Places<S, N>] {
    let len = channels * PLACES * N * S::F32_LANES;
    if scratch.len() < len + ALIGNMENT {
        scratch.resize(len + ALIGNMENT, 0.0);
    }
    let start = scratch.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
    let (vectors, _) = S::as_mut_simd_f32s(&mut scratch[start..start + len]);
    vectors.as_chunks_mut::<N>().0.as_chunks_mut::<PLACES>().0
}

/// Transforms six lines along the columns.
#[inline(always)]
fn down<S: Simd>(simd: S, rows: [&[f32]; PATCH], lines: &mut [f32; COLUMNS * PATCH], at: usize) {
    let len = rows[0].len();
    let count = len / S::F32_LANES;
    let [a, b, c, d, e, f] = rows;
    let a = &S::as_simd_f32s(a).0[..count];
    let b = &S::as_simd_f32s(b).0[..count];
    let c = &S::as_simd_f32s(c).0[..count];
    let d = &S::as_simd_f32s(d).0[..count];
    let e = &S::as_simd_f32s(e).0[..count];
    let f = &S::as_simd_f32s(f).0[..count];
    let mut at = at;
    for n in 0..count {
        let values = transform::patch(simd, [a[n], b[n], c[n], d[n], e[n], f[n]]);
        let part = &mut lines[at..][..COLUMNS * (PATCH - 1) + S::F32_LANES];
        for (row, value) in values.into_iter().enumerate() {
            S::as_mut_simd_f32s(&mut part[row * COLUMNS..][..S::F32_LANES]).0[0] = value;
        }
        at += S::F32_LANES;
    }
    let whole = count * S::F32_LANES;
    if whole < len {
        let mut values = [simd.splat_f32s(0.0); PATCH];
        for (value, row) in values.iter_mut().zip(rows) {
            *value = simd.partial_load_f32s(&row[whole..]);
        }
        for (row, value) in transform::patch(simd, values).into_iter().enumerate() {
            simd.partial_store_f32s(&mut lines[row * COLUMNS + at..][..len - whole], value);
        }
    }
}

/// Takes the columns of a vector of tiles apart, and transforms along the rows. The lanes are in an order that only
/// [`back`] knows.
#[inline(always)]
fn across<S: Simd>(simd: S, line: &[f32]) -> [S::f32s; PATCH] {
    let line = &line[..TILE * S::F32_LANES + TILE];
    let (own, _) = S::as_simd_f32s(line);
    let (next, _) = S::as_simd_f32s(&line[TILE..]);
    let [a, b, c, d] = simd.deinterleave_shfl_f32s([own[0], own[1], own[2], own[3]]);
    let [e, f, _, _] = simd.deinterleave_shfl_f32s([next[0], next[1], next[2], next[3]]);
    transform::patch(simd, [a, b, c, d, e, f])
}

/// A vector of tiles from its products: four lines.
#[inline(always)]
fn back<S: Simd, const N: usize>(
    simd: S,
    products: &Places<S, N>,
    vector: usize,
) -> [[S::f32s; TILE]; TILE] {
    let zero = simd.splat_f32s(0.0);
    let mut columns = [[zero; PATCH]; TILE];
    for column in 0..PATCH {
        let mut values = [zero; PATCH];
        for (row, value) in values.iter_mut().enumerate() {
            *value = products[row * PATCH + column][vector];
        }
        let values = transform::tile(simd, values);
        for (columns, value) in columns.iter_mut().zip(values) {
            columns[column] = value;
        }
    }
    let mut lines = [[zero; TILE]; TILE];
    for (line, columns) in lines.iter_mut().zip(columns) {
        *line = simd.interleave_shfl_f32s(transform::tile(simd, columns));
    }
    lines
}

/// All slices are of one length.
#[inline(always)]
fn write<S: Simd, const SUM: bool, const RELU: bool>(
    simd: S,
    results: &mut [f32],
    sums: &[f32],
    summands: &[f32],
    bias: f32,
) {
    let bias = simd.splat_f32s(bias);
    let (sums, rest_of_sums) = S::as_simd_f32s(sums);
    let (summands, rest_of_summands) = S::as_simd_f32s(summands);
    let (results, rest) = S::as_mut_simd_f32s(results);
    for ((result, &sum), &summand) in results.iter_mut().zip(sums).zip(summands) {
        *result = finished::<S, SUM, RELU>(simd, sum, summand, bias);
    }
    if !rest.is_empty() {
        let sum = simd.partial_load_f32s(rest_of_sums);
        let summand = simd.partial_load_f32s(rest_of_summands);
        simd.partial_store_f32s(rest, finished::<S, SUM, RELU>(simd, sum, summand, bias));
    }
}

#[inline(always)]
fn finished<S: Simd, const SUM: bool, const RELU: bool>(
    simd: S,
    sum: S::f32s,
    summand: S::f32s,
    bias: S::f32s,
) -> S::f32s {
    let mut value = simd.add_f32s(sum, bias);
    if SUM {
        value = simd.add_f32s(value, summand);
    }
    if RELU {
        // In this order NaN stays.
        value = simd.max_f32s(simd.splat_f32s(0.0), value);
    }
    value
}
