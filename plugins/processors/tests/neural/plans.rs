//! What is said of params before anything is loaded, and what of networks that are not there.

use crate::support::{folder, host, host_of, open, picture, plan, process};
use plugin_api::{ErrorCode, Stream};
use plugin_processors::neural::named::ALL;
use plugin_processors::neural::sources;
use serde_json::json;

#[test]
fn a_missing_network_is_told_with_what_to_fetch_and_nothing_becomes_of_the_picture() {
    let models = tempfile::tempdir().unwrap();
    let host = host_of(models.path());
    for one in &ALL {
        let plan = plan(&host, one.name, json!({}), None).unwrap();
        assert_eq!(plan.formats.input, plan.formats.output, "{}", one.name);
        assert_eq!(plan.memory_bytes, 0);
        let count = if one.name == "mediapipe_pose" { 2 } else { 1 };
        assert_eq!((plan.artefacts.len(), plan.unsupported.len()), (count, count), "{}", one.name);
        for (artefact, unsupported) in plan.artefacts.iter().zip(&plan.unsupported) {
            assert!(artefact.is_optional);
            assert_eq!(artefact.without, unsupported.reason);
            let pull = format!(
                "streamdiffusion-host models pull {} --file {}",
                artefact.model, artefact.files[0]
            );
            assert!(unsupported.reason.contains(&pull), "{}", unsupported.reason);
        }
        let error = open(&host, one.name, json!({}), (64, 64)).err().unwrap();
        assert!(error.message.contains("models pull"), "{error}");
        assert_eq!(error.code, ErrorCode::Failed);
    }
}

#[test]
fn a_network_that_is_there_takes_memory_and_makes_its_size() {
    let plan = |name, params| plan(&host(), name, params, None).unwrap();
    let depth = plan("depth", json!({}));
    assert!(depth.memory_bytes > 0 && depth.unsupported.is_empty() && depth.artefacts.is_empty());
    let double = plan("realesrgan_trt", json!({})).formats;
    assert_eq!((double.output.width, double.output.height), (384, 256));
    let fourfold = plan("realesrgan_trt", json!({ "scale": 4 })).formats;
    assert_eq!((fourfold.output.width, fourfold.output.height), (768, 512));
}

#[test]
fn params_that_need_another_network_need_a_reload() {
    let reload = |name, old, new| plan(&host(), name, new, Some(old)).unwrap().reload;
    let resolution = |pixels: u32| json!({ "detect_resolution": pixels });
    assert_eq!(reload("depth_tensorrt", resolution(140), resolution(280)), ["detect_resolution"]);
    assert_eq!(reload("depth_tensorrt", resolution(140), resolution(140)), [""; 0]);
    assert_eq!(reload("lineart", resolution(128), resolution(256)), ["detect_resolution"]);
    assert_eq!(reload("realesrgan_trt", json!({}), json!({ "scale": 3 })), ["scale"]);
    let strength = |strength: f64| json!({ "flow_strength": strength });
    assert_eq!(reload("temporal_net_tensorrt", strength(1.0), strength(0.5)), [""; 0]);
}

#[test]
fn streams_of_one_size_share_a_network_as_long_as_one_of_them_is_there() {
    let models = tempfile::tempdir().unwrap();
    let place = models.path().join("Xenova/dpt-hybrid-midas/onnx/model.onnx");
    std::fs::create_dir_all(place.parent().unwrap()).unwrap();
    let own = folder().join("models");
    std::fs::copy(own.join("Xenova/dpt-hybrid-midas/onnx/model.onnx"), &place).unwrap();
    let (host, picture) = (host_of(models.path()), picture("picture"));
    let depth = || open(&host, "depth", json!({}), (192, 128)).unwrap();
    let mut first = depth();
    let made = process(&mut first, &picture).unwrap();
    // Another network with the same inputs and outputs.
    let other = own.join("onnx-community/depth-anything-v2-small/onnx/model.onnx");
    std::fs::copy(other, &place).unwrap();
    let mut second = depth();
    assert!(process(&mut second, &picture).unwrap() == made, "it is the first one's");
    drop(first);
    assert!(process(&mut second, &picture).unwrap() == made);
    drop(second);
    assert!(process(&mut depth(), &picture).unwrap() != made, "it is loaded anew");
}

#[test]
fn hot_params_are_taken_and_others_refused() {
    use crate::support::object;
    use plugin_api::{FrameFormat, Params};
    let mut step = open(&host(), "pose_tensorrt", json!({}), (64, 64)).unwrap();
    let mut update = |params, size: u32| {
        let values = object(params);
        step.update(&Params::of_lent("pose_tensorrt", &values, FrameFormat::new(size, size)))
    };
    update(json!({ "confidence_threshold": 0.9 }), 64).unwrap();
    assert_eq!(update(json!({}), 65).unwrap_err().code, ErrorCode::Invalid);
    assert_eq!(
        update(json!({ "confidence_threshold": 2 }), 64).unwrap_err().code,
        ErrorCode::Invalid
    );
    let mut step =
        open(&host(), "depth_tensorrt", json!({ "detect_resolution": 70 }), (64, 64)).unwrap();
    let values = object(json!({ "detect_resolution": 84 }));
    let params = Params::of_lent("depth_tensorrt", &values, FrameFormat::new(64, 64));
    let error = step.update(&params).unwrap_err();
    assert!(error.message.contains("`detect_resolution`, needs a reload"), "{error}");
}

#[test]
fn the_docs_say_which_files_are_wanted_and_under_which_licence() {
    let docs = std::fs::read_to_string(folder().join("../../../docs/processors.md")).unwrap();
    for source in sources::ALL {
        let row = format!("| `{}` | `{}` | {} |", source.model, source.file, source.licence);
        assert!(docs.contains(&row), "{row}");
    }
    for one in &ALL {
        assert!(docs.contains(&format!("| `{}`", one.name)), "{}", one.name);
    }
}
