//! Which file each network is in, and whence it comes.

/// A file of the hub.
#[derive(Debug, PartialEq, Eq)]
pub struct Source {
    pub model: &'static str,
    pub file: &'static str,
    /// Of the weights, as far as it is known.
    pub licence: &'static str,
}

/// MiDaS, as in Hugging Face's `depth-estimation` with `Intel/dpt-hybrid-midas`.
pub static MIDAS: Source =
    Source { model: "Xenova/dpt-hybrid-midas", file: "onnx/model.onnx", licence: "Apache-2.0" };

pub static DEPTH_ANYTHING: Source = Source {
    model: "onnx-community/depth-anything-v2-small",
    file: "onnx/model.onnx",
    licence: "Apache-2.0",
};

/// Not in ONNX: the weights that `controlnet_aux` takes, of which we write the network ourselves.
pub static HED: Source = Source {
    model: "lllyasviel/Annotators",
    file: "ControlNetHED.pth",
    licence: "Apache-2.0, as its authors say of the network",
};

pub static INFORMATIVE_DRAWINGS: Source = Source {
    model: "rocca/informative-drawings-line-art-onnx",
    file: "model.onnx",
    licence: "MIT, as the authors' code; nothing is said of the weights",
};

pub static OPENPOSE_BODY: Source = Source {
    model: "divamgupta/controlnet_tensorflow",
    file: "body_pose_model.onnx",
    licence: "that of CMU's OpenPose: not for commercial use",
};

pub static YOLO_NAS_POSE: Source = Source {
    model: "yuvraj108c/yolo-nas-pose-onnx",
    file: "yolo_nas_pose_l_0.5.onnx",
    licence: "that of Deci's YOLO-NAS weights: not for commercial use",
};

pub static PERSON_DETECTION: Source = Source {
    model: "opencv/person_detection_mediapipe",
    file: "person_detection_mediapipe_2023mar.onnx",
    licence: "Apache-2.0",
};

pub static POSE_LANDMARKS: Source = Source {
    model: "opencv/pose_estimation_mediapipe",
    file: "pose_estimation_mediapipe_2023mar.onnx",
    licence: "Apache-2.0",
};

pub static SELFIE_SEGMENTATION: Source = Source {
    model: "onnx-community/mediapipe_selfie_segmentation",
    file: "onnx/model.onnx",
    licence: "Apache-2.0",
};

pub static REALESRGAN_X2: Source = Source {
    model: "tidus2102/Real-ESRGAN",
    file: "Real-ESRGAN_x2plus.onnx",
    licence: "BSD-3-Clause",
};

pub static REALESRGAN_X4: Source = Source {
    model: "Heliosoph/realesrgan-onnx",
    file: "realesr-general-x4v3.onnx",
    licence: "BSD-3-Clause, as Real-ESRGAN; the repository itself was not looked at",
};

pub static RAFT: Source = Source {
    model: "opencv/optical_flow_estimation_raft",
    file: "optical_flow_estimation_raft_2023aug.onnx",
    licence: "BSD-3-Clause",
};

/// `Freepik/nsfw_image_detector`, which has no ONNX file itself.
pub static NSFW: Source = Source {
    model: "spiele/nsfw_image_detector-ONNX",
    file: "onnx/model.onnx",
    licence: "MIT, as the network that it was exported from; the repository itself was not looked at",
};

/// All of them, by the processors that need them.
pub static ALL: [&Source; 13] = [
    &MIDAS,
    &DEPTH_ANYTHING,
    &HED,
    &INFORMATIVE_DRAWINGS,
    &OPENPOSE_BODY,
    &YOLO_NAS_POSE,
    &PERSON_DETECTION,
    &POSE_LANDMARKS,
    &SELFIE_SEGMENTATION,
    &REALESRGAN_X2,
    &REALESRGAN_X4,
    &RAFT,
    &NSFW,
];
