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
/// Pixels that are passed over at once where none of them can be an edge.
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

/// Of one row. The strength has a zero at both ends.
struct Gradients {
    x: Vec<i16>,
    y: Vec<i16>,
    strength: Vec<u16>,
    /// Three rows of the picture, with the border repeated.
    rows: [Vec<u8>; 3],
}

impl Gradients {
    fn zero(width: usize) -> Self {
        let rows = std::array::from_fn(|_| vec![0; width + 2]);
        Self { x: vec![0; width], y: vec![0; width], strength: vec![0; width + 2], rows }
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
    }
}

struct Sobel<'a>(&'a mut Gradients);

impl WithSimd for Sobel<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Gradients { x, y, strength, rows: [above, here, below] } = self.0;
        let width = x.len();
        let (y, strength) = (&mut y[..width], &mut strength[1..][..width]);
        let (a0, a1, a2) = (&above[..width], &above[1..][..width], &above[2..][..width]);
        let (h0, h2) = (&here[..width], &here[2..][..width]);
        let (b0, b1, b2) = (&below[..width], &below[1..][..width], &below[2..][..width]);
        for i in 0..width {
            let [a0, a1, a2, h0] = [a0[i], a1[i], a2[i], h0[i]].map(i16::from);
            let [h2, b0, b1, b2] = [h2[i], b0[i], b1[i], b2[i]].map(i16::from);
            x[i] = (a2 - a0) + 2 * (h2 - h0) + (b2 - b0);
            y[i] = (b0 + 2 * b1 + b2) - (a0 + 2 * a1 + a2);
            strength[i] = x[i].unsigned_abs() + y[i].unsigned_abs();
        }
    }
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
        let strengths = &here.strength[1..=here.x.len()];
        for (block, strengths) in strengths.chunks(BLOCK).enumerate() {
            if strengths.iter().fold(0, |most, &strength| most.max(strength)) <= self.low {
                continue;
            }
            for (x, &strength) in (block * BLOCK..).zip(strengths) {
                if strength <= self.low || !is_ridge(x, above, here, below) {
                    continue;
                }
                self.marks[start + x] = if strength > self.high { EDGE } else { PERHAPS };
                if strength > self.high {
                    self.found.push((start + x) as u32);
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

/// Whether the strength is highest there across the edge, which is one of four directions.
fn is_ridge(x: usize, above: &Gradients, here: &Gradients, below: &Gradients) -> bool {
    let at = x + 1;
    let strength = here.strength[at];
    let (across, down) = (here.x[x], here.y[x]);
    let (run, rise) = (i32::from(across.unsigned_abs()), i32::from(down.unsigned_abs()) << 15);
    let flat = run * TANGENT;
    if rise < flat {
        strength > here.strength[at - 1] && strength >= here.strength[at + 1]
    } else if rise > flat + (run << 16) {
        strength > above.strength[at] && strength >= below.strength[at]
    } else if (across ^ down) < 0 {
        strength > above.strength[at + 1] && strength > below.strength[at - 1]
    } else {
        strength > above.strength[at - 1] && strength > below.strength[at + 1]
    }
}
