//! A face turned upright: moved, turned and scaled so that its landmarks lie as near as can be to where ArcFace wants them.

use super::detector::Landmarks;
use image::{Rgb, RgbImage};

/// Eyes, nose and corners of the mouth, in a picture of 112x112.
const TEMPLATE: Landmarks = [
    [38.2946, 51.6963],
    [73.5318, 51.5014],
    [56.0252, 71.7366],
    [41.5493, 92.3655],
    [70.7299, 92.2041],
];
const TEMPLATE_SIDE: f64 = 112.0;

/// From the upright picture of 112x112 back to the one that it is cut out of: turned and scaled by one complex number, then
/// moved.
#[derive(Clone, Copy, Debug)]
pub struct Alignment {
    turn: [f64; 2],
    origin: [f64; 2],
}

impl Alignment {
    /// By the least squares of distances in the upright picture, as Umeyama's method finds it. None where the landmarks are
    /// one point, or no numbers.
    pub fn of(landmarks: &Landmarks) -> Option<Self> {
        let (from, to) = (mean(landmarks), mean(&TEMPLATE));
        let pairs = landmarks.iter().zip(&TEMPLATE);
        let [along, across, spread] = pairs.fold([0.0; 3], |[along, across, spread], (p, q)| {
            let ([px, py], [qx, qy]) = (less(p, &from), less(q, &to));
            [along + px * qx + py * qy, across + px * qy - py * qx, spread + px * px + py * py]
        });
        // Divided by the spread they are the turn forward; backward it is the conjugate over the square of its size.
        let size = along * along + across * across;
        let turn = [along * spread / size, -across * spread / size];
        let moved = times(turn, to);
        let origin = [from[0] - moved[0], from[1] - moved[1]];
        let is_number = turn.iter().chain(&origin).all(|value| value.is_finite());
        (is_number && turn != [0.0; 2]).then_some(Self { turn, origin })
    }

    /// The upright face. What lies outside of the picture is black.
    pub fn cut_out(&self, picture: &RgbImage, side: u32) -> RgbImage {
        let scale = TEMPLATE_SIDE / f64::from(side);
        RgbImage::from_fn(side, side, |x, y| {
            let [x, y] = times(self.turn, [f64::from(x) * scale, f64::from(y) * scale]);
            sample(picture, x + self.origin[0], y + self.origin[1])
        })
    }
}

fn mean(points: &Landmarks) -> [f64; 2] {
    [0, 1].map(|axis| points.iter().map(|point| point[axis]).sum::<f64>() / points.len() as f64)
}

fn less(point: &[f64; 2], other: &[f64; 2]) -> [f64; 2] {
    [point[0] - other[0], point[1] - other[1]]
}

fn times([a, b]: [f64; 2], [x, y]: [f64; 2]) -> [f64; 2] {
    [a * x - b * y, b * x + a * y]
}

/// Between four pixels.
fn sample(picture: &RgbImage, x: f64, y: f64) -> Rgb<u8> {
    let (left, above) = (x.floor(), y.floor());
    let (right, below) = (x - left, y - above);
    let mut sums = [0.0; 3];
    for (dx, dy, weight) in [
        (0.0, 0.0, (1.0 - right) * (1.0 - below)),
        (1.0, 0.0, right * (1.0 - below)),
        (0.0, 1.0, (1.0 - right) * below),
        (1.0, 1.0, right * below),
    ] {
        let [x, y] = [left + dx, above + dy];
        let is_inside = (0.0..f64::from(picture.width())).contains(&x)
            && (0.0..f64::from(picture.height())).contains(&y);
        if is_inside {
            let levels = picture.get_pixel(x as u32, y as u32).0;
            sums.iter_mut().zip(levels).for_each(|(sum, level)| *sum += weight * f64::from(level));
        }
    }
    Rgb(sums.map(|sum| sum.round() as u8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_face_that_was_turned_scaled_and_moved_is_found_upright_again() {
        let (turn, away) = ([1.5, -0.7], [200.0, 120.0]);
        let there = |point: [f64; 2]| {
            let [x, y] = times(turn, point);
            [x + away[0], y + away[1]]
        };
        let alignment = Alignment::of(&TEMPLATE.map(there)).unwrap();
        for (got, wanted) in [(alignment.turn, turn), (alignment.origin, away)] {
            assert!(less(&got, &wanted).iter().all(|apart| apart.abs() < 1e-9), "{got:?}");
        }
        // A picture of which each pixel tells where it is.
        let picture = RgbImage::from_fn(450, 300, |x, y| Rgb([(x / 2) as u8, (y / 2) as u8, 9]));
        let upright = alignment.cut_out(&picture, 112);
        for [x, y] in [[10, 20], [56, 56], [100, 90]] {
            let [there_x, there_y] = there([f64::from(x), f64::from(y)]);
            let Rgb([across, down, blue]) = *upright.get_pixel(x, y);
            assert!((f64::from(across) - there_x / 2.0).abs() < 1.1 && blue == 9);
            assert!((f64::from(down) - there_y / 2.0).abs() < 1.1);
        }
    }

    #[test]
    fn what_lies_outside_is_black_and_points_that_are_no_face_align_nothing() {
        let mut landmarks = TEMPLATE;
        landmarks.iter_mut().for_each(|point| point[0] -= 1000.0);
        let white = RgbImage::from_pixel(8, 8, Rgb([255; 3]));
        let far = Alignment::of(&landmarks).unwrap().cut_out(&white, 112);
        assert!(far.pixels().all(|pixel| pixel.0 == [0; 3]));
        assert!(Alignment::of(&[[3.0, 4.0]; 5]).is_none());
        landmarks[2][0] = f64::NAN;
        assert!(Alignment::of(&landmarks).is_none());
        landmarks[2][0] = 1e300;
        // Whatever comes of it, it ends.
        let _ = Alignment::of(&landmarks).map(|alignment| alignment.cut_out(&white, 112));
    }
}
