//! `mediapipe_pose`: a person is detected, then its landmarks are found; in the next picture they tell where it is.

use super::person_box::{self, Roi, best, sigmoid};
use super::skeleton::{Point, Skeleton, draw};
use crate::neural::Neural;
use crate::neural::error::NeuralError;
use crate::neural::loading::{Loader, Network};
use crate::neural::ports::PictureInput;
use crate::neural::sources::{PERSON_DETECTION, POSE_LANDMARKS, Source};
use crate::params::{Checked, Params, Range};
use crate::picture::Picture;
use crate::resize::{Filter, resize};
use plugins_diffusion::tensor::Tensor;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct MediapipeParams {
    /// A person that is less certain is not looked at.
    pub min_detection_confidence: f64,
    /// Where landmarks are less certain, the person is detected anew.
    pub min_tracking_confidence: f64,
    /// Joints that are less certain are left out.
    pub confidence_threshold: f64,
    /// Whether the person is detected anew in each picture.
    pub static_image_mode: bool,
    /// Whether joints follow the last picture's.
    pub enable_smoothing: bool,
    /// The share of the last picture's.
    pub smoothing_factor: f64,
}

impl Default for MediapipeParams {
    fn default() -> Self {
        Self {
            min_detection_confidence: 0.5,
            min_tracking_confidence: 0.5,
            confidence_threshold: 0.3,
            static_image_mode: false,
            enable_smoothing: true,
            smoothing_factor: 0.7,
        }
    }
}

const fn share(name: &'static str, get: fn(&MediapipeParams) -> f64) -> Range<MediapipeParams> {
    Range { name, from: 0.0, to: 1.0, get }
}

impl Params for MediapipeParams {
    const RANGES: &'static [Range<Self>] = &[
        share("min_detection_confidence", |params| params.min_detection_confidence),
        share("min_tracking_confidence", |params| params.min_tracking_confidence),
        share("confidence_threshold", |params| params.confidence_threshold),
        share("smoothing_factor", |params| params.smoothing_factor),
    ];
}

/// Of the picture in which landmarks are found.
const SIDE: usize = 256;
/// Joints and six more points, of which the first two are those that the detector gives, too.
const LANDMARKS: usize = 39;
const HIPS: usize = 33;
const ABOVE: usize = 34;
/// Place, depth, whether it is visible, whether it is in the picture.
const NUMBERS: usize = 5;
const LEFT_SHOULDER: usize = 11;
const RIGHT_SHOULDER: usize = 12;
/// Which landmark each joint of a skeleton is; the neck is between the shoulders.
const OF_SKELETON: [Option<usize>; 18] = [
    Some(0),
    None,
    Some(12),
    Some(14),
    Some(16),
    Some(11),
    Some(13),
    Some(15),
    Some(24),
    Some(26),
    Some(28),
    Some(23),
    Some(25),
    Some(27),
    Some(5),
    Some(2),
    Some(8),
    Some(7),
];
/// Joints that are less certain do not move what is remembered of them.
const LEAST_FOLLOWED: f32 = 0.1;

/// A joint, and how certain it is.
type Joint = (Point, f32);

pub struct Mediapipe {
    detector: (PictureInput, Network),
    landmarks: (PictureInput, Network),
    /// Where the person was in the last picture.
    tracked: Option<Roi>,
    smooth: Option<[Joint; 18]>,
}

impl Neural for Mediapipe {
    type Params = MediapipeParams;

    fn sources(_: &MediapipeParams) -> Vec<&'static Source> {
        vec![&PERSON_DETECTION, &POSE_LANDMARKS]
    }

    fn load(loader: &Loader<'_>, _: &Checked<MediapipeParams>) -> Result<Self, NeuralError> {
        let load = |source, side: usize| {
            loader.load(source, |declared| {
                let input = PictureInput::of(declared, 0)?;
                let size = input.size((side, side));
                if size != (side, side) {
                    let (width, height) = size;
                    let why = format!("it takes {width}x{height} pixels instead of {side}x{side}");
                    return Err(declared.unfit(why));
                }
                Ok((input, vec![input.shape(size)]))
            })
        };
        let detector = load(&PERSON_DETECTION, person_box::SIDE)?;
        let landmarks = load(&POSE_LANDMARKS, SIDE)?;
        Ok(Self { detector, landmarks, tracked: None, smooth: None })
    }

    fn apply(
        &mut self,
        picture: &Picture,
        params: &Checked<MediapipeParams>,
    ) -> Result<Picture, NeuralError> {
        let tracked = self.tracked.take().filter(|_| !params.static_image_mode);
        let mut joints = match tracked {
            Some(roi) => self.find(picture, roi, params)?,
            None => None,
        };
        if joints.is_none()
            && let Some(roi) = self.detect(picture, params.min_detection_confidence as f32)?
        {
            joints = self.find(picture, roi, params)?;
        }
        let joints = joints.map(|joints| self.followed(joints, params));
        if joints.is_none() {
            self.smooth = None;
        }
        let threshold = params.confidence_threshold as f32;
        let people: Vec<Skeleton> = joints
            .iter()
            .map(|joints| joints.map(|(point, certain)| (certain > threshold).then_some(point)))
            .collect();
        Ok(draw(picture, &people))
    }
}

impl Mediapipe {
    /// The picture in the middle of a square that is black around it.
    fn detect(&self, picture: &Picture, threshold: f32) -> Result<Option<Roi>, NeuralError> {
        let (input, network) = &self.detector;
        let side = person_box::SIDE;
        let (width, height) = (picture.width(), picture.height());
        let scale = side as f32 / width.max(height) as f32;
        let scaled = |length: usize| ((length as f32 * scale) as usize).clamp(1, side);
        let content = resize(picture, scaled(width), scaled(height), Filter::Bilinear)?;
        let left = (side - content.width()) / 2;
        let top = (side - content.height()) / 2;
        let mut rgb = vec![0; 3 * side * side];
        let mut is_beside = vec![true; side * side];
        for y in 0..content.height() {
            let at = (top + y) * side + left;
            rgb[3 * at..][..3 * content.width()].copy_from_slice(content.row(y));
            is_beside[at..][..content.width()].fill(false);
        }
        let mut seen =
            input.tensor(&Picture::new(side, side, rgb)?, |_, level| level / 127.5 - 1.0);
        clear(&mut seen, &is_beside);
        let outputs = network.run(&[&seen])?;
        let found = best(&outputs, threshold).map_err(|got| {
            let wanted = "2254 boxes of 12 finite numbers and their scores";
            NeuralError::output(network.path(), got, wanted)
        })?;
        let place = |Point { x, y }| Point {
            x: (x * side as f32 - left as f32) / scale,
            y: (y * side as f32 - top as f32) / scale,
        };
        Ok(found.and_then(|[hips, above]| Roi::around(place(hips), place(above))))
    }

    /// The joints of who is in the square, if anyone is. They tell where to look in the next picture.
    fn find(
        &mut self,
        picture: &Picture,
        roi: Roi,
        params: &MediapipeParams,
    ) -> Result<Option<[Joint; 18]>, NeuralError> {
        let (input, network) = &self.landmarks;
        let seen = Picture::new(SIDE, SIDE, roi.cut(picture, SIDE))?;
        let outputs = network.run(&[&input.tensor(&seen, |_, level| level / 255.0)])?;
        let find = |count: usize| outputs.iter().find(|output| *output.shape() == [1, count]);
        let (Some(found), Some(certain)) = (find(LANDMARKS * NUMBERS), find(1)) else {
            let shapes: Vec<_> = outputs.iter().map(Tensor::shape).collect();
            return Err(self.wrong(format!("outputs of {shapes:?}")));
        };
        if !found.is_finite() || !certain.is_finite() {
            return Err(self.wrong("numbers that are not finite".into()));
        }
        if f64::from(certain.data()[0]) < params.min_tracking_confidence {
            return Ok(None);
        }
        let numbers = found.data().as_chunks::<NUMBERS>().0;
        let place = |at: usize| {
            let [x, y, ..] = numbers[at];
            roi.place(x / SIDE as f32, y / SIDE as f32)
        };
        self.tracked = Roi::around(place(HIPS), place(ABOVE));
        let joint = |at: usize| (place(at), sigmoid(numbers[at][3]));
        let (left, right) = (joint(LEFT_SHOULDER), joint(RIGHT_SHOULDER));
        let middle = Point { x: (left.0.x + right.0.x) / 2.0, y: (left.0.y + right.0.y) / 2.0 };
        let neck = (middle, left.1.min(right.1));
        Ok(Some(OF_SKELETON.map(|landmark| landmark.map_or(neck, joint))))
    }

    fn followed(&mut self, mut joints: [Joint; 18], params: &MediapipeParams) -> [Joint; 18] {
        let last = self.smooth.take().filter(|_| params.enable_smoothing);
        let kept = params.smoothing_factor as f32;
        for (joint, last) in joints.iter_mut().zip(last.iter().flatten()) {
            let mix = |new: f32, old: f32| old * kept + new * (1.0 - kept);
            joint.0 = match joint.1 > LEAST_FOLLOWED {
                true => Point { x: mix(joint.0.x, last.0.x), y: mix(joint.0.y, last.0.y) },
                false => last.0,
            };
        }
        self.smooth = params.enable_smoothing.then_some(joints);
        joints
    }

    fn wrong(&self, got: String) -> NeuralError {
        let wanted = "39 landmarks of 5 finite numbers and how certain they are";
        NeuralError::output(self.landmarks.1.path(), got, wanted)
    }
}

/// Zeros where no picture is, in all channels, whichever way they lie.
fn clear(seen: &mut Tensor, is_beside: &[bool]) {
    let is_planar = seen.shape()[1] == 3;
    let pixels = is_beside.len();
    let numbers = seen.data_mut();
    for pixel in (0..pixels).filter(|&pixel| is_beside[pixel]) {
        for channel in 0..3 {
            numbers[if is_planar { channel * pixels + pixel } else { 3 * pixel + channel }] = 0.0;
        }
    }
}
