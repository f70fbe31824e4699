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

/// Lines of a patch or a tile.
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

impl Block {
    fn new(line: Line, starts: &[usize], lanes: usize) -> Self {
        let (first, last) = (starts[0], starts[starts.len() - 1]);
        let mut offsets = [0; VECTORS];
        for (offset, start) in offsets.iter_mut().zip(starts) {
            *offset = start - first;
        }
        Self { line, first, end: last + TILE * lanes, offsets }
    }
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
        while !rest.is_empty() {
            let count = match rest.len() {
                3 | 5.. if is_narrow => 3,
                1 => 1,
                _ => 2,
            };
            let (starts, others) = rest.split_at(count);
            let block = Block::new(line, starts, S::F32_LANES);
            match count {
                1 => self.block::<S, 1>(simd, block),
                2 => self.block::<S, 2>(simd, block),
                _ => self.block::<S, 3>(simd, block),
            }
            rest = others;
        }
    }
}

impl Strip<'_, '_> {
    #[inline(always)]
    fn block<S: Simd, const N: usize>(&mut self, simd: S, block: Block) {
        let Self { filters, picture, width, first, ref mut planes, finish, ref mut scratch } =
            *self;
        let [tiles, products] = &mut **scratch;
        let tiles = places::<S, N>(tiles, filters.inputs);
        let products = places::<S, N>(products, filters.outputs.next_multiple_of(TOGETHER));
        gather(simd, picture, first, block, tiles);
        multiply(simd, &filters.values, tiles, products);
        let mut lines = Lines([0.0; COLUMNS * PATCH]);
        let pieces: Vec<Piece> = block.line.pieces(block.first..block.end, 0, width).collect();
        for (number, (plane, products)) in planes.iter_mut().zip(products).enumerate() {
            for (vector, &offset) in block.offsets[..N].iter().enumerate() {
                back::<S, N>(simd, products, vector, &mut lines, offset);
            }
            let bias = finish.bias.get(number).copied().unwrap_or(0.0);
            let summand = finish.summand.map(|summand| {
                let size = summand.len() / filters.outputs;
                &summand[number * size + first * width..(number + 1) * size]
            });
            let line = |piece: &Piece, row: usize| (TILE * piece.row + row) * width + piece.column;
            for piece in &pieces {
                for (row, sums) in lines.0.chunks_exact(COLUMNS).take(TILE).enumerate() {
                    let place = line(piece, row)..line(piece, row) + piece.len;
                    let Some(result) = plane.get_mut(place.clone()) else { break };
                    let summand = summand.map(|summand| &summand[place]);
                    let sums = &sums[piece.at..piece.at + piece.len];
                    write(simd, result, sums, summand, (bias, finish.has_relu));
                }
            }
        }
    }
}

/// Transforms what the tiles of a block are computed from, by lines that begin in the line `first` of the result.
#[inline(always)]
fn gather<S: Simd, const N: usize>(
    simd: S,
    picture: &Picture,
    first: usize,
    block: Block,
    tiles: &mut [Places<S, N>],
) {
    let [height, width] = picture.sides;
    let [top, left, ..] = picture.padding;
    let pieces: Vec<Piece> =
        block.line.pieces(block.first..block.end + TILE, left, width).collect();
    let zeros = [0.0; COLUMNS];
    // What is beyond the picture stays zero.
    let mut lines = Lines([0.0; COLUMNS * PATCH]);
    for (plane, tiles) in picture.values.chunks_exact(height * width).zip(tiles) {
        for &Piece { row, column, at, len } in &pieces {
            let mut rows = [&zeros[..len]; PATCH];
            for (number, place) in rows.iter_mut().enumerate() {
                let line = first + TILE * row + number;
                if line >= top && line - top < height {
                    *place = &plane[(line - top) * width + column..][..len];
                }
            }
            down(simd, rows, &mut lines, at);
        }
        for (number, line) in lines.0.chunks_exact(COLUMNS).enumerate() {
            for vector in 0..N {
                let columns = across(simd, &line[block.offsets[vector]..]);
                for (column, value) in columns.into_iter().enumerate() {
                    tiles[number * PATCH + column][vector] = value;
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
fn down<S: Simd>(simd: S, rows: [&[f32]; PATCH], lines: &mut Lines, at: usize) {
    let len = rows[0].len();
    let count = len / S::F32_LANES;
    let whole = count * S::F32_LANES;
    let mut vectors = [S::as_simd_f32s(rows[0]).0; PATCH];
    for (vectors, row) in vectors.iter_mut().zip(rows) {
        *vectors = &S::as_simd_f32s(row).0[..count];
    }
    let [a, b, c, d, e, f] = vectors;
    for n in 0..count {
        let values = transform::patch(simd, [a[n], b[n], c[n], d[n], e[n], f[n]]);
        let part = &mut lines.0[at + n * S::F32_LANES..];
        let part = &mut part[..COLUMNS * (PATCH - 1) + S::F32_LANES];
        for (row, value) in values.into_iter().enumerate() {
            S::as_mut_simd_f32s(&mut part[row * COLUMNS..][..S::F32_LANES]).0[0] = value;
        }
    }
    if whole < len {
        let mut values = [simd.splat_f32s(0.0); PATCH];
        for (value, row) in values.iter_mut().zip(rows) {
            *value = simd.partial_load_f32s(&row[whole..]);
        }
        for (row, value) in transform::patch(simd, values).into_iter().enumerate() {
            let part = &mut lines.0[row * COLUMNS + at + whole..][..len - whole];
            simd.partial_store_f32s(part, value);
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

/// A vector of tiles, four lines, from its products.
#[inline(always)]
fn back<S: Simd, const N: usize>(
    simd: S,
    products: &Places<S, N>,
    vector: usize,
    lines: &mut Lines,
    offset: usize,
) {
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
    for (line, columns) in lines.0.chunks_exact_mut(COLUMNS).zip(columns) {
        let values = simd.interleave_shfl_f32s(transform::tile(simd, columns));
        let (vectors, _) = S::as_mut_simd_f32s(&mut line[offset..]);
        vectors[..TILE].copy_from_slice(&values);
    }
}

/// Results from sums; all slices are of one length.
#[inline(always)]
fn write<S: Simd>(
    simd: S,
    results: &mut [f32],
    sums: &[f32],
    summands: Option<&[f32]>,
    (bias, has_relu): (f32, bool),
) {
    match (summands, has_relu) {
        (None, false) => write_as::<S, false, false>(simd, results, sums, sums, bias),
        (None, true) => write_as::<S, false, true>(simd, results, sums, sums, bias),
        (Some(summands), false) => write_as::<S, true, false>(simd, results, sums, summands, bias),
        (Some(summands), true) => write_as::<S, true, true>(simd, results, sums, summands, bias),
    }
}

#[inline(always)]
fn write_as<S: Simd, const SUM: bool, const RELU: bool>(
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
        // What is no number is not below zero, and stays.
        let zero = simd.splat_f32s(0.0);
        value = simd.select_f32s(simd.less_than_f32s(value, zero), zero, value);
    }
    value
}
