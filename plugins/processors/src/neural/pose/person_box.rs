//! Where a person is in a picture, as MediaPipe's detector tells, and which part of the picture its next network sees.

use super::skeleton::Point;
use crate::neural::planes::Between;
use crate::picture::Picture;
use plugins_diffusion::tensor::Tensor;

/// Sides of the detector's picture, and of the grids that its anchors stand on with how many on each place.
pub const SIDE: usize = 224;
const GRIDS: [(usize, usize); 3] = [(28, 2), (14, 2), (7, 6)];
/// A box, then four places; the first two are between the hips and on the circle around the body.
const NUMBERS: usize = 12;
const PLACES: usize = 4;
/// Of the circle around the body, as MediaPipe enlarges it.
const ENLARGED: f32 = 1.25;

/// A square that stands as the person does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Roi {
    pub center: Point,
    pub side: f32,
    /// How far it is turned to the left, in radians.
    pub angle: f32,
}

impl Roi {
    /// Around a person with the middle of the hips here and a point above the head on the circle around the body there.
    pub fn around(hips: Point, above: Point) -> Option<Self> {
        let (right, up) = (above.x - hips.x, hips.y - above.y);
        let side = 2.0 * ENLARGED * right.hypot(up);
        let is_sound = [hips.x, hips.y, side].iter().all(|number| number.is_finite());
        let angle = std::f32::consts::FRAC_PI_2 - up.atan2(right);
        (is_sound && side >= 1.0).then_some(Self { center: hips, side, angle })
    }

    /// From a place in the square, from 0 to 1 on each side, to one in the picture.
    pub fn place(&self, x: f32, y: f32) -> Point {
        let (right, down) = ((x - 0.5) * self.side, (y - 0.5) * self.side);
        let (sin, cos) = self.angle.sin_cos();
        Point {
            x: self.center.x + right * cos - down * sin,
            y: self.center.y + right * sin + down * cos,
        }
    }

    /// What is in the square, in this many pixels on each side; black outside the picture.
    pub fn cut(&self, picture: &Picture, side: usize) -> Vec<u8> {
        let pixels = (0..side * side).flat_map(|place| {
            let share = |place: usize| (place as f32 + 0.5) / side as f32;
            let Point { x, y } = self.place(share(place % side), share(place / side));
            sample(picture, x - 0.5, y - 0.5)
        });
        pixels.collect()
    }
}

fn sample(picture: &Picture, x: f32, y: f32) -> [u8; 3] {
    let is_inside = |place: f32, side: usize| (-0.5..side as f32 - 0.5).contains(&place);
    if !is_inside(x, picture.width()) || !is_inside(y, picture.height()) {
        return [0; 3];
    }
    let (across, down) = (Between::at(x, picture.width()), Between::at(y, picture.height()));
    let mix = |from: f32, to: f32, share: f32| from + (to - from) * share;
    let rows = [down.lower, down.upper].map(|y| picture.row(y).as_chunks::<3>().0);
    [0, 1, 2].map(|channel| {
        let row = |row: &[[u8; 3]]| {
            let [left, right] = [across.lower, across.upper].map(|x| f32::from(row[x][channel]));
            mix(left, right, across.share)
        };
        mix(row(rows[0]), row(rows[1]), down.share).round() as u8
    })
}

/// The surest person's hips and the point above, from 0 to 1 on the sides of the detector's picture. Nothing where none is
/// as sure as `threshold`; an error where the outputs are not the detector's.
pub fn best(outputs: &[Tensor], threshold: f32) -> Result<Option<[Point; 2]>, String> {
    let count: usize = GRIDS.iter().map(|(side, each)| side * side * each).sum();
    let find = |last: usize| outputs.iter().find(|output| *output.shape() == [1, count, last]);
    let (Some(boxes), Some(scores)) = (find(NUMBERS), find(1)) else {
        let shapes: Vec<_> = outputs.iter().map(Tensor::shape).collect();
        return Err(format!("outputs of {shapes:?}"));
    };
    if !boxes.is_finite() || scores.data().iter().any(|score| score.is_nan()) {
        return Err("numbers that are not finite".into());
    }
    let surest = scores.data().iter().enumerate().max_by(|one, other| one.1.total_cmp(other.1));
    let Some((index, score)) = surest else { return Ok(None) };
    if sigmoid(*score) < threshold {
        return Ok(None);
    }
    let numbers = &boxes.data()[index * NUMBERS + PLACES..];
    let anchor = anchor(index);
    let place = |first: usize| Point {
        x: anchor.x + numbers[first] / SIDE as f32,
        y: anchor.y + numbers[first + 1] / SIDE as f32,
    };
    Ok(Some([place(0), place(2)]))
}

/// In the middle of its square of the grid.
fn anchor(mut index: usize) -> Point {
    for (side, each) in GRIDS {
        let count = side * side * each;
        if index < count {
            let square = index / each;
            let place = |square: usize| (square as f32 + 0.5) / side as f32;
            return Point { x: place(square % side), y: place(square / side) };
        }
        index -= count;
    }
    Point { x: 0.5, y: 0.5 }
}

pub fn sigmoid(value: f32) -> f32 {
    1.0 / (1.0 + (-value).exp())
}
