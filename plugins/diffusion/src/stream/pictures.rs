//! Pictures on their way through the image processors before and after diffusion: as pixels for processors of other
//! plugins, as planes for what is mixed and encoded here, converted only where the one follows the other.

use std::borrow::Cow;

use super::Source;
use super::hooks::{ImageStep, feed_back_picture};
use crate::image;
use crate::tensor::Tensor;

const CHANNELS: usize = 3;

/// 8-bit RGB, row by row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    pub width: usize,
    pub height: usize,
    pub rgb: Vec<u8>,
}

/// Where in a stream a list of processors stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Before,
    After,
}

/// The processors of other plugins, by their index in the list.
pub trait ImageProcessors {
    /// The picture that a processor makes of `picture`; none where it does not work, and the picture goes on as it is.
    fn process(
        &mut self,
        place: Place,
        index: usize,
        picture: &Picture,
        frame: Source,
    ) -> Option<Picture>;
}

/// A picture in either form.
#[derive(Clone)]
pub(super) enum Piece {
    Pixels(Picture),
    /// `[1, 3, height, width]` in about [-1, 1].
    Planes(Tensor),
}

/// Goes through the processors of a list. Feedback mixes `last` in.
pub(super) fn apply(
    steps: &[ImageStep],
    place: Place,
    mut piece: Piece,
    (frame, last): (Source, Option<&Piece>),
    processors: &mut dyn ImageProcessors,
) -> Piece {
    for (index, step) in steps.iter().enumerate() {
        piece = match step {
            ImageStep::Feedback(strength) => {
                let mut planes = piece.into_planes();
                let last = last.map(|last| last.planes_like(&planes));
                feed_back_picture(*strength, &mut planes, last.as_deref());
                Piece::Planes(planes)
            }
            ImageStep::Processor { .. } => {
                let picture = piece.into_picture();
                let made = processors.process(place, index, &picture, frame);
                Piece::Pixels(made.unwrap_or(picture))
            }
        };
    }
    piece
}

impl Piece {
    pub(super) fn into_planes(self) -> Tensor {
        match self {
            Self::Pixels(Picture { width, height, rgb }) => image::to_tensor(&rgb, width, height),
            Self::Planes(planes) => planes,
        }
    }

    /// In the size of other planes: pictures may leave with another size than diffusion works at.
    fn planes_like(&self, other: &Tensor) -> Cow<'_, Tensor> {
        match self {
            Self::Planes(planes) if planes.shape() == other.shape() => Cow::Borrowed(planes),
            _ => {
                let scaled = self.to_picture().scaled_to(other.shape()[3], other.shape()[2]);
                Cow::Owned(Self::Pixels(scaled).into_planes())
            }
        }
    }

    pub(super) fn scaled_to(self, width: usize, height: usize) -> Self {
        match self {
            Self::Planes(planes) if planes.shape()[2..] == [height, width] => Self::Planes(planes),
            other => Self::Pixels(other.into_picture().scaled_to(width, height)),
        }
    }

    fn into_picture(self) -> Picture {
        match self {
            Self::Pixels(picture) => picture,
            Self::Planes(_) => self.to_picture(),
        }
    }

    pub(super) fn to_picture(&self) -> Picture {
        match self {
            Self::Pixels(picture) => picture.clone(),
            Self::Planes(planes) => {
                let (width, height) = (planes.shape()[3], planes.shape()[2]);
                Picture { width, height, rgb: image::to_rgb(planes) }
            }
        }
    }
}

impl Picture {
    /// Bilinear, sampled at the middles of pixels; the same picture where it has that size.
    pub fn scaled_to(self, width: usize, height: usize) -> Self {
        if (self.width, self.height) == (width, height) || self.rgb.is_empty() {
            return self;
        }
        let columns: Vec<_> = (0..width).map(|x| sample(x, width, self.width)).collect();
        let mut rgb = Vec::with_capacity(CHANNELS * width * height);
        for y in 0..height {
            let (rows, down) = sample(y, height, self.height);
            let [above, below] = rows.map(|row| &self.rgb[row * self.width * CHANNELS..]);
            for (places, across) in &columns {
                for channel in 0..CHANNELS {
                    let [left, right] = places.map(|place| place * CHANNELS + channel);
                    let mix = |row: &[u8]| {
                        let [left, right] = [f32::from(row[left]), f32::from(row[right])];
                        left + (right - left) * across
                    };
                    let (above, below) = (mix(above), mix(below));
                    rgb.push((above + (below - above) * down).round() as u8);
                }
            }
        }
        Self { width, height, rgb }
    }
}

/// The two source places around a target place, and how far it lies from the first to the second.
fn sample(place: usize, target: usize, source: usize) -> ([usize; 2], f32) {
    let last = source - 1;
    let at = (place as f64 + 0.5) * source as f64 / target as f64 - 0.5;
    let at = at.clamp(0.0, last as f64);
    let first = at as usize;
    ([first, (first + 1).min(last)], (at - first as f64) as f32)
}

#[cfg(test)]
mod tests {
    use super::super::hooks::Asked;
    use super::super::others::NoOthers;
    use super::*;

    /// Makes pictures of twice the sides and another colour.
    struct Doubling;

    impl ImageProcessors for Doubling {
        fn process(&mut self, _: Place, _: usize, old: &Picture, _: Source) -> Option<Picture> {
            let (width, height) = (2 * old.width, 2 * old.height);
            Some(Picture { width, height, rgb: vec![200; CHANNELS * width * height] })
        }
    }

    #[test]
    fn processors_and_feedback_follow_each_other_whatever_the_sizes() {
        let gray = |side: usize, value: u8| Picture {
            width: side,
            height: side,
            rgb: vec![value; CHANNELS * side * side],
        };
        let (name, params) = ("double".to_owned(), Default::default());
        let double = ImageStep::Processor { name, params, asked: Asked::Listed(0) };
        let steps = [double, ImageStep::Feedback(0.5)];
        let last = Piece::Pixels(gray(4, 100));
        let given = || Piece::Pixels(gray(4, 50));
        let frame = (Source { id: 1, captured_ns: 0 }, Some(&last));
        let made = apply(&steps, Place::Before, given(), frame, &mut Doubling);
        assert_eq!(made.to_picture(), gray(8, 150));
        let fitted = made.scaled_to(4, 4).into_planes();
        assert_eq!(fitted.shape(), [1, 3, 4, 4]);
        assert_eq!(Piece::Planes(fitted).to_picture(), gray(4, 150));
        let made = apply(&steps, Place::After, given(), frame, &mut NoOthers);
        assert_eq!(made.to_picture(), gray(4, 75), "one that does not work is passed over");
    }

    #[test]
    fn scaling_mixes_neighbours_and_keeps_what_is_even() {
        let row = Picture { width: 2, height: 1, rgb: vec![0, 10, 200, 100, 30, 200] };
        let wide = row.clone().scaled_to(4, 2);
        let line = [0, 10, 200, 25, 15, 200, 75, 25, 200, 100, 30, 200];
        assert_eq!(wide.rgb, [line, line].concat());
        assert_eq!(wide.scaled_to(2, 1).rgb, [13, 13, 200, 88, 28, 200]);
        assert_eq!(row.clone().scaled_to(2, 1), row);
    }
}
