//! How people stand: found by one of three kinds of networks, drawn as the skeletons that ControlNets were trained with.

mod body;
mod mediapipe;
mod openpose;
mod person_box;
mod skeleton;
mod yolo;

pub use body::{PARTS, people};
pub use mediapipe::{Mediapipe, MediapipeParams};
pub use openpose::{Openpose, OpenposeParams};
pub use person_box::{Roi, best};
pub use skeleton::{Point, Skeleton, draw};
pub use yolo::{YoloNas, YoloNasParams, detections};
