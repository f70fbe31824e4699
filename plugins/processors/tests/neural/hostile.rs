//! Files that are no networks, networks that are not the ones wanted, and numbers that are none.

use crate::support::{folder, host_of, made, open, picture, process};
use plugin_processors::picture::Picture;
use serde_json::json;
use std::path::Path;

/// Opens a processor and has it process a picture, with a file in the place of its network.
fn refusal(name: &str, place: &str, file: &Path) -> String {
    let models = tempfile::tempdir().unwrap();
    let place = models.path().join(place);
    std::fs::create_dir_all(place.parent().unwrap()).unwrap();
    std::fs::copy(file, &place).unwrap();
    let host = host_of(models.path());
    let picture = Picture::new(64, 64, vec![0; 3 * 64 * 64]).unwrap();
    let outcome = open(&host, name, json!({}), (64, 64))
        .and_then(|mut step| process(&mut step, &picture).map(drop));
    let text = outcome.unwrap_err().message;
    println!("{name}, {}: {text}", file.display());
    text
}

const MIDAS: &str = "Xenova/dpt-hybrid-midas/onnx/model.onnx";
const X2: &str = "tidus2102/Real-ESRGAN/Real-ESRGAN_x2plus.onnx";
const YOLO: &str = "yuvraj108c/yolo-nas-pose-onnx/yolo_nas_pose_l_0.5.onnx";
const BODY: &str = "divamgupta/controlnet_tensorflow/body_pose_model.onnx";
const NSFW: &str = "spiele/nsfw_image_detector-ONNX/onnx/model.onnx";
const RAFT: &str = "opencv/optical_flow_estimation_raft/optical_flow_estimation_raft_2023aug.onnx";

#[test]
fn files_that_are_no_networks_are_refused() {
    let scratch = tempfile::tempdir().unwrap();
    let whole = std::fs::read(folder().join("models").join(MIDAS)).unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = scratch.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let refusal = |file: &Path| refusal("depth", MIDAS, file);
    assert!(refusal(&write("empty", b"")).contains("it has no graph; get it again"));
    assert!(refusal(&write("page", b"<html>404</html>")).contains("no ONNX file"));
    for length in [10, whole.len() / 2, whole.len() - 5] {
        let text = refusal(&write("cut", &whole[..length]));
        assert!(text.contains("ONNX"), "{length}: {text}");
    }
    // Whatever byte is damaged, nothing worse than an error comes of it.
    for place in (0..whole.len()).step_by(7) {
        let mut damaged = whole.clone();
        damaged[place] ^= 0x55;
        let path = write("damaged", &damaged);
        let models = tempfile::tempdir().unwrap();
        let target = models.path().join(MIDAS);
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        std::fs::copy(path, target).unwrap();
        let picture = Picture::new(8, 8, vec![0; 192]).unwrap();
        let step = open(&host_of(models.path()), "depth", json!({}), (8, 8));
        let _ = step.and_then(|mut step| process(&mut step, &picture));
    }
}

#[test]
fn networks_that_are_not_the_wanted_ones_are_refused() {
    let hostile = |name: &str| folder().join("models/hostile").join(name);
    let depth = |name: &str| refusal("depth", MIDAS, &hostile(name));
    assert!(depth("vector.onnx").contains("input `x` takes [None] instead of a picture"));
    assert!(depth("double.onnx").contains("`x` has numbers of type 11"));
    assert!(depth("huge.onnx").contains("taken are 134217728"));
    assert!(depth("two_inputs.onnx").contains("it has 2 inputs instead of 1"));
    assert!(depth("nan.onnx").contains("numbers that are not finite"));
    assert!(
        depth("flat.onnx").contains("instead of") || depth("flat.onnx").contains("wanted is one")
    );
    let midas = folder().join("models").join(MIDAS);
    assert!(refusal("realesrgan_trt", X2, &midas).contains("a picture of 128x128"));
    let yolo = refusal("pose_tensorrt", YOLO, &midas);
    assert!(yolo.contains("people with 17 joints each"), "{yolo}");
    let body = refusal("openpose", BODY, &midas);
    assert!(body.contains("19 likelihoods and 38 directions"), "{body}");
    let nsfw = refusal("safety_checker", NSFW, &midas);
    assert!(nsfw.contains("four finite scores, for neutral, low, medium, high"), "{nsfw}");
    let raft = refusal("temporal_net_tensorrt", RAFT, &midas);
    assert!(raft.contains("it has no input 2"), "{raft}");
}

#[test]
fn outputs_without_numbers_are_none_or_refused() {
    let hostile = |name: &str| folder().join("models/hostile").join(name);
    let empty = refusal("depth", MIDAS, &hostile("empty.onnx"));
    println!("{empty}");
    let models = tempfile::tempdir().unwrap();
    let place = models.path().join(YOLO);
    std::fs::create_dir_all(place.parent().unwrap()).unwrap();
    std::fs::copy(hostile("nobody.onnx"), place).unwrap();
    let picture = Picture::new(30, 20, vec![9; 1800]).unwrap();
    let mut step = open(&host_of(models.path()), "pose_tensorrt", json!({}), (30, 20)).unwrap();
    let drawn = process(&mut step, &picture).unwrap();
    assert!(drawn.rgb().iter().all(|level| *level == 0), "nobody is there");
}

#[test]
fn a_flow_of_torchvisions_kind_fits_and_what_is_no_number_stays_where_it_is() {
    let step = |file: &str| {
        let models = tempfile::tempdir().unwrap();
        let place = models.path().join(RAFT);
        std::fs::create_dir_all(place.parent().unwrap()).unwrap();
        std::fs::copy(folder().join("models/hostile").join(file), place).unwrap();
        let params = json!({ "output_format": "warped_only" });
        open(&host_of(models.path()), "temporal_net_tensorrt", params, (512, 512)).unwrap()
    };
    let dots = (0..512 * 512).flat_map(|place| [(place % 512 / 2) as u8, (place / 1024) as u8, 0]);
    let last = Picture::new(512, 512, dots.collect()).unwrap();
    let white = Picture::new(512, 512, vec![255; 3 * 512 * 512]).unwrap();
    let black = Picture::new(512, 512, vec![0; 3 * 512 * 512]).unwrap();
    let pixel = |picture: &Picture| picture.rgb()[3 * (200 * 512 + 100)..][..2].to_vec();
    // White is 1 and comes from 4 pixels on, black is -1 and comes from 4 before.
    for (next, moved) in [(&white, [52, 102]), (&black, [48, 98])] {
        let mut step = step("torchvision_flow.onnx");
        process(&mut step, &last).unwrap();
        assert_eq!(pixel(&process(&mut step, next).unwrap()), moved);
    }
    // The root of -1 is no number: of black all, of the picture of dots those that are dark.
    let mut step = step("nan_flow.onnx");
    process(&mut step, &last).unwrap();
    assert_eq!(pixel(&process(&mut step, &last).unwrap()), [50, 100]);
    let error = process(&mut step, &black).unwrap_err().message;
    assert!(error.contains("numbers of which none is finite"), "{error}");
}

#[test]
fn pictures_of_odd_sizes_are_processed_by_all() {
    for (width, height) in [(1, 1), (1, 70), (70, 1), (33, 17)] {
        let picture = Picture::new(width, height, vec![120; 3 * width * height]).unwrap();
        for name in [
            "depth",
            "depth_tensorrt",
            "lineart",
            "mediapipe_pose",
            "mediapipe_segmentation",
            "openpose",
            "pose_tensorrt",
            "safety_checker",
            "temporal_net_tensorrt",
        ] {
            let params = match name {
                "depth_tensorrt" => json!({ "detect_resolution": 70 }),
                "lineart" => json!({ "detect_resolution": 64 }),
                _ => json!({}),
            };
            let made = made(name, params, &picture);
            assert_eq!((made.width(), made.height()), (width, height), "{name}");
        }
        let made = made("realesrgan_trt", json!({}), &picture);
        assert_eq!((made.width(), made.height()), (2 * width, 2 * height));
    }
    // What was recorded is used up to its borders.
    assert_eq!(picture("picture").width(), 192);
}
