//! Edges as OpenCV's `Canny` finds them, equal to the byte: Sobel's gradients over 3x3 pixels with the border repeated,
//! |x| + |y| as their strength, ridges of it, and of those what hangs together with a strong one.

use crate::gray::Gray;
use crate::params::{Checked, Params, Range};
use crate::picture::Picture;
use pulp::{Arch, Simd, WithSimd};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct CannyParams {
    /// A gradient up to this is no edge.
    pub low_threshold: f64,
    /// A gradient above this is an edge for sure; one between the two is where it touches an edge.
    pub high_threshold: f64,
}

impl Default for CannyParams {
    fn default() -> Self {
        Self { low_threshold: 100.0, high_threshold: 200.0 }
    }
}

impl Params for CannyParams {
    const RANGES: &'static [Range<Self>] = &[
        Range { name: "low_threshold", from: 0.0, to: 255.0, get: |params| params.low_threshold },
        Range { name: "high_threshold", from: 0.0, to: 255.0, get: |params| params.high_threshold },
    ];
}

/// tan(22.5°), times 2^15.
const TANGENT: i32 = 13573;
/// Pixels whose gradients are made at once, in vectors, and that are passed over at once where none can be an edge.
const BLOCK: usize = 32;

/// What is known of a pixel.
const NO_EDGE: u8 = 0;
const PERHAPS: u8 = 1;
const EDGE: u8 = 2;

/// White edges on black. Thresholds are cut to whole numbers, and exchanged where the low one is higher.
pub fn canny(picture: &Picture, params: &Checked<CannyParams>) -> Picture {
    let stride = picture.width() + 2;
    let mut drawn = picture.black();
    for position in edges(&Gray::of(picture), params) {
        let (x, y) = (position % stride - 1, position / stride - 1);
        drawn.row_mut(y)[3 * x..][..3].fill(255);
    }
    drawn
}

/// White edges on black of a picture in gray.
pub fn canny_gray(gray: &Gray, params: &Checked<CannyParams>) -> Gray {
    let stride = gray.width + 2;
    let mut levels = vec![0; gray.levels.len()];
    for position in edges(gray, params) {
        levels[(position / stride - 1) * gray.width + position % stride - 1] = 255;
    }
    Gray { width: gray.width, height: gray.height, levels }
}

/// Where the edges are, as positions in the picture with one more pixel on each side.
fn edges(gray: &Gray, params: &CannyParams) -> impl Iterator<Item = usize> + use<> {
    let (one, other) = (params.low_threshold as u16, params.high_threshold as u16);
    let mut search = Search::new(gray, one.min(other), one.max(other));
    let mut ring: [Gradients; 3] = std::array::from_fn(|_| Gradients::zero(gray.width));
    for y in 0..=gray.height {
        let lowest = &mut ring[y % 3];
        if y < gray.height {
            lowest.fill(gray, y);
        } else {
            lowest.strength.fill(0);
        }
        if y > 0 {
            let [above, here, below] = [y + 1, y + 2, y].map(|row| &ring[row % 3]);
            search.row(y - 1, above, here, below);
        }
    }
    search.follow();
    search.found.into_iter().map(|position| position as usize)
}

/// Of one row, padded to whole blocks. The strength has a zero before the first and after the last pixel.
struct Gradients {
    width: usize,
    x: Vec<i16>,
    y: Vec<i16>,
    strength: Vec<u16>,
    /// Three rows of the picture, with the border repeated.
    rows: [Vec<u8>; 3],
}

impl Gradients {
    fn zero(width: usize) -> Self {
        let padded = width.next_multiple_of(BLOCK);
        let rows = std::array::from_fn(|_| vec![0; padded + 2]);
        Self { width, x: vec![0; padded], y: vec![0; padded], strength: vec![0; padded + 2], rows }
    }

    fn fill(&mut self, gray: &Gray, y: usize) {
        let last = gray.height - 1;
        for (row, y) in self.rows.iter_mut().zip([y.saturating_sub(1), y, last.min(y + 1)]) {
            let levels = &gray.levels[gray.width * y..][..gray.width];
            row[1..=gray.width].copy_from_slice(levels);
            row[0] = levels[0];
            row[gray.width + 1] = levels[gray.width - 1];
        }
        Arch::new().dispatch(Sobel(self));
        self.strength[gray.width + 1] = 0;
    }

    /// The strengths of a block, and those one pixel to the left and to the right.
    #[inline(always)]
    fn around(&self, at: usize) -> [&[u16; BLOCK]; 3] {
        let strength = &self.strength[at..];
        [block(strength), block(&strength[1..]), block(&strength[2..])]
    }
}

struct Sobel<'a>(&'a mut Gradients);

impl WithSimd for Sobel<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Gradients { x, y, strength, rows, .. } = self.0;
        let x = x.as_chunks_mut::<BLOCK>().0.iter_mut();
        let y = y.as_chunks_mut::<BLOCK>().0.iter_mut();
        let strength = strength[1..].as_chunks_mut::<BLOCK>().0.iter_mut();
        for (index, ((x, y), strength)) in x.zip(y).zip(strength).enumerate() {
            let at = index * BLOCK;
            let [above, here, below] = [&rows[0][at..], &rows[1][at..], &rows[2][at..]];
            (*x, *y, *strength) = gradients(above, here, below);
        }
    }
}

#[inline(always)]
fn gradients(
    above: &[u8],
    here: &[u8],
    below: &[u8],
) -> ([i16; BLOCK], [i16; BLOCK], [u16; BLOCK]) {
    let (mut x, mut y, mut strength) = ([0; BLOCK], [0; BLOCK], [0; BLOCK]);
    let (above0, above1, above2) = (block(above), block(&above[1..]), block(&above[2..]));
    let (here0, here2) = (block(here), block(&here[2..]));
    let (below0, below1, below2) = (block(below), block(&below[1..]), block(&below[2..]));
    for i in 0..BLOCK {
        let right = i16::from(above2[i]) + 2 * i16::from(here2[i]) + i16::from(below2[i]);
        let left = i16::from(above0[i]) + 2 * i16::from(here0[i]) + i16::from(below0[i]);
        let bottom = i16::from(below0[i]) + 2 * i16::from(below1[i]) + i16::from(below2[i]);
        let top = i16::from(above0[i]) + 2 * i16::from(above1[i]) + i16::from(above2[i]);
        x[i] = right - left;
        y[i] = bottom - top;
        strength[i] = x[i].unsigned_abs() + y[i].unsigned_abs();
    }
    (x, y, strength)
}

#[inline(always)]
fn block<T>(values: &[T]) -> &[T; BLOCK] {
    values.first_chunk().expect("rows are padded to whole blocks")
}

struct Search {
    low: u16,
    high: u16,
    stride: usize,
    /// Of the picture with one more pixel on each side, so that each of its own has eight neighbours.
    marks: Vec<u8>,
    /// Positions of edges: sure ones, then those that hang together with them.
    found: Vec<u32>,
}

impl Search {
    fn new(gray: &Gray, low: u16, high: u16) -> Self {
        let stride = gray.width + 2;
        Self { low, high, stride, marks: vec![NO_EDGE; stride * (gray.height + 2)], found: vec![] }
    }

    fn row(&mut self, y: usize, above: &Gradients, here: &Gradients, below: &Gradients) {
        let start = self.stride * (y + 1) + 1;
        let row = &mut self.marks[start..][..here.width];
        for (index, marks) in row.chunks_mut(BLOCK).enumerate() {
            let at = index * BLOCK;
            let strengths = &here.strength[at + 1..][..BLOCK];
            if strengths.iter().fold(0, |most, &strength| most.max(strength)) <= self.low {
                continue;
            }
            let (low, high) = (self.low, self.high);
            let thinned = Arch::new().dispatch(Thin { above, here, below, at, low, high });
            marks.copy_from_slice(&thinned[..marks.len()]);
            for (position, &mark) in (start + at..).zip(&*marks) {
                if mark == EDGE {
                    self.found.push(position as u32);
                }
            }
        }
    }

    /// Goes on from each edge to what may be one beside it.
    fn follow(&mut self) {
        let stride = self.stride;
        let mut next = 0;
        while let Some(&position) = self.found.get(next) {
            next += 1;
            for row in [position as usize - stride, position as usize, position as usize + stride] {
                for neighbour in row - 1..=row + 1 {
                    if self.marks[neighbour] == PERHAPS {
                        self.marks[neighbour] = EDGE;
                        self.found.push(neighbour as u32);
                    }
                }
            }
        }
    }
}

/// Marks the pixels of a block where the strength is highest across the edge, which has one of four directions.
struct Thin<'a> {
    above: &'a Gradients,
    here: &'a Gradients,
    below: &'a Gradients,
    at: usize,
    low: u16,
    high: u16,
}

impl WithSimd for Thin<'_> {
    type Output = [u8; BLOCK];

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> [u8; BLOCK] {
        let [above, here, below] =
            [self.above, self.here, self.below].map(|row| row.around(self.at));
        let (x, y) = (block(&self.here.x[self.at..]), block(&self.here.y[self.at..]));
        let mut marks = [NO_EDGE; BLOCK];
        for i in 0..BLOCK {
            let strength = here[1][i];
            let run = i32::from(x[i].unsigned_abs());
            let rise = i32::from(y[i].unsigned_abs()) << 15;
            let flat = run * TANGENT;
            let (is_flat, is_steep) = (rise < flat, rise > flat + (run << 16));
            let is_falling = (x[i] ^ y[i]) < 0;
            let across = (strength > here[0][i]) & (strength >= here[2][i]);
            let along = (strength > above[1][i]) & (strength >= below[1][i]);
            let falling = (strength > above[2][i]) & (strength > below[0][i]);
            let rising = (strength > above[0][i]) & (strength > below[2][i]);
            let diagonal = (is_falling & falling) | (!is_falling & rising);
            let is_ridge =
                (is_flat & across) | (is_steep & along) | (!is_flat & !is_steep & diagonal);
            let mark = if strength > self.high { EDGE } else { PERHAPS };
            marks[i] = if is_ridge & (strength > self.low) { mark } else { NO_EDGE };
        }
        marks
    }
}
