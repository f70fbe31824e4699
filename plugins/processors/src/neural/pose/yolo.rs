//! `pose_tensorrt`: YOLO-NAS-pose, which finds people with their joints in one go.

use super::skeleton::{Point, Skeleton, draw};
use crate::neural::Neural;
use crate::neural::error::NeuralError;
use crate::neural::loading::{Loader, Network};
use crate::neural::ports::PictureInput;
use crate::neural::sources::{Source, YOLO_NAS_POSE};
use crate::params::{Checked, Params, Range};
use crate::picture::Picture;
use crate::resize::{Filter, resize};
use plugins_diffusion::onnx::Element;
use plugins_diffusion::tensor::Tensor;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct YoloNasParams {
    /// Joints that are less certain are left out.
    pub confidence_threshold: f64,
}

impl Default for YoloNasParams {
    fn default() -> Self {
        Self { confidence_threshold: 0.5 }
    }
}

impl Params for YoloNasParams {
    const RANGES: &'static [Range<Self>] = &[Range {
        name: "confidence_threshold",
        from: 0.0,
        to: 1.0,
        get: |params| params.confidence_threshold,
    }];
}

/// Where the file leaves it open.
const SIDE: usize = 640;
/// As COCO counts them: nose, eyes, ears, shoulders, elbows, wrists, hips, knees, ankles, the left ones first.
const JOINTS: usize = 17;
/// Each joint's place and how certain it is.
const NUMBERS: usize = 3 * JOINTS;
/// In the flat form: which picture, the box, how certain the person is.
const BEFORE: usize = 6;
/// More are not drawn.
const MOST_PEOPLE: usize = 64;

const LEFT_SHOULDER: usize = 5;
const RIGHT_SHOULDER: usize = 6;
/// Which joint each of a skeleton is; the neck is between the shoulders.
const OF_SKELETON: [Option<usize>; 18] = [
    Some(0),
    None,
    Some(6),
    Some(8),
    Some(10),
    Some(5),
    Some(7),
    Some(9),
    Some(12),
    Some(14),
    Some(16),
    Some(11),
    Some(13),
    Some(15),
    Some(2),
    Some(1),
    Some(4),
    Some(3),
];

pub struct YoloNas {
    network: Network,
    input: PictureInput,
    size: (usize, usize),
    /// Whether it takes levels from 0 to 1 instead of from 0 to 255.
    takes_shares: bool,
}

impl Neural for YoloNas {
    type Params = YoloNasParams;

    fn sources(_: &YoloNasParams) -> Vec<&'static Source> {
        vec![&YOLO_NAS_POSE]
    }

    fn load(loader: &Loader<'_>, _: &Checked<YoloNasParams>) -> Result<Self, NeuralError> {
        let ((input, size, takes_shares), network) = loader.load(&YOLO_NAS_POSE, |declared| {
            let input = PictureInput::of(declared, 0)?;
            let size = input.size((SIDE, SIDE));
            // The export divides by itself what is given as whole levels.
            let takes_shares = declared.inputs[0].element != Element::U8;
            Ok(((input, size, takes_shares), vec![input.shape(size)]))
        })?;
        Ok(Self { network, input, size, takes_shares })
    }

    fn apply(
        &mut self,
        picture: &Picture,
        params: &Checked<YoloNasParams>,
    ) -> Result<Picture, NeuralError> {
        let (width, height) = self.size;
        let seen = resize(picture, width, height, Filter::Bilinear)?;
        let most = if self.takes_shares { 255.0 } else { 1.0 };
        let outputs = self.network.run(&[&self.input.tensor(&seen, |_, level| level / most)])?;
        let Some(found) = detections(&outputs) else {
            let shapes: Vec<_> = outputs.iter().map(Tensor::shape).collect();
            let wanted = "people with 17 joints each, in YOLO-NAS's batch or flat form";
            let got = format!("outputs of {shapes:?}");
            return Err(NeuralError::output(self.network.path(), got, wanted));
        };
        let scale =
            [picture.width() as f32 / width as f32, picture.height() as f32 / height as f32];
        let threshold = params.confidence_threshold as f32;
        let people: Vec<_> =
            found.iter().map(|joints| skeleton(joints, scale, threshold)).collect();
        Ok(draw(picture, &people))
    }
}

/// The joints of each person, or nothing where the outputs are in neither form.
pub fn detections(outputs: &[Tensor]) -> Option<Vec<[[f32; 3]; JOINTS]>> {
    if let [flat] = outputs
        && let [_, width] = *flat.shape()
        && width == BEFORE + NUMBERS
    {
        let rows = flat.data().chunks_exact(width).take(MOST_PEOPLE);
        return rows.map(|row| joints(&row[BEFORE..])).collect();
    }
    let is_joints = |output: &&Tensor| match *output.shape() {
        [1, _, joints, 3] => joints == JOINTS,
        [1, _, numbers] => numbers == NUMBERS,
        _ => false,
    };
    let all = outputs.iter().find(is_joints)?;
    let count = outputs.iter().find(|output| matches!(*output.shape(), [1, 1] | [1]))?;
    // A count that is no number is none; one that is too large has no rows.
    let count = count.data()[0].max(0.0) as usize;
    all.data().chunks_exact(NUMBERS).take(count.min(MOST_PEOPLE)).map(joints).collect()
}

fn joints(numbers: &[f32]) -> Option<[[f32; 3]; JOINTS]> {
    let joints = numbers.as_chunks::<3>().0;
    joints.try_into().ok()
}

/// Of pixels of the network's picture, in those of another.
fn skeleton(joints: &[[f32; 3]; JOINTS], scale: [f32; 2], threshold: f32) -> Skeleton {
    let place = |joint: usize| {
        let [x, y, certain] = joints[joint];
        let point = Point { x: x * scale[0], y: y * scale[1] };
        (certain > threshold && x.is_finite() && y.is_finite()).then_some(point)
    };
    let neck = place(LEFT_SHOULDER)
        .zip(place(RIGHT_SHOULDER))
        .map(|(left, right)| Point { x: (left.x + right.x) / 2.0, y: (left.y + right.y) / 2.0 });
    OF_SKELETON.map(|joint| joint.map_or(neck, place))
}
