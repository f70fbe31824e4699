//! What the manifest says of params is what the processors take.
#![allow(clippy::unwrap_used)] // A test may stop where it stands.

use plugin_processors::blur::BlurParams;
use plugin_processors::canny::CannyParams;
use plugin_processors::feedback::FeedbackParams;
use plugin_processors::neural::depth::{DepthAnythingParams, MidasParams};
use plugin_processors::neural::flow::{OutputFormat, TemporalNetParams};
use plugin_processors::neural::hed::HedParams;
use plugin_processors::neural::lineart::LineartParams;
use plugin_processors::neural::pose::{MediapipeParams, OpenposeParams, YoloNasParams};
use plugin_processors::neural::safety::SafetyParams;
use plugin_processors::neural::segmentation::{OutputMode, SegmentationParams};
use plugin_processors::neural::upscaler::RealEsrganParams;
use plugin_processors::params::{Checked, Params};
use plugin_processors::sharpen::SharpenParams;
use plugin_processors::soft_edge::SoftEdgeParams;
use plugin_processors::standard_lineart::StandardLineartParams;
use plugin_processors::upscale::{Algorithm, UpscaleParams};
use serde_json::{Value, json};

#[test]
fn the_manifest_has_the_defaults_and_ranges_of_the_params() {
    check::<BlurParams>("blur");
    check::<CannyParams>("canny");
    check::<FeedbackParams>("feedback");
    check::<SharpenParams>("sharpen");
    check::<SoftEdgeParams>("soft_edge");
    check::<StandardLineartParams>("standard_lineart");
    check::<UpscaleParams>("upscale");
    check::<MidasParams>("depth");
    check::<DepthAnythingParams>("depth_tensorrt");
    check::<HedParams>("hed");
    check::<LineartParams>("lineart");
    check::<MediapipeParams>("mediapipe_pose");
    check::<SegmentationParams>("mediapipe_segmentation");
    check::<OpenposeParams>("openpose");
    check::<SafetyParams>("safety_checker");
    check::<YoloNasParams>("pose_tensorrt");
    check::<RealEsrganParams>("realesrgan_trt");
    check::<TemporalNetParams>("temporal_net_tensorrt");
    let mode = &schema("mediapipe_segmentation")["properties"]["output_mode"];
    assert_eq!(mode["enum"], serde_json::to_value(OutputMode::ALL).unwrap());
    let format = &schema("temporal_net_tensorrt")["properties"]["output_format"];
    assert_eq!(format["enum"], serde_json::to_value(OutputFormat::ALL).unwrap());
    let algorithm = &schema("upscale")["properties"]["algorithm"];
    assert_eq!(algorithm["enum"], serde_json::to_value(Algorithm::ALL).unwrap());
}

#[test]
fn what_is_no_param_or_out_of_range_is_refused_by_name() {
    let refused = |object| Checked::<BlurParams>::read(object).unwrap_err();
    assert_eq!(
        refused(json!({"blur_intensity": 10.5})).to_string(),
        "`blur_intensity` must be from 0.1 to 10, got 10.5"
    );
    let unknown = refused(json!({"blur": 1}));
    let source = std::error::Error::source(&unknown).unwrap().to_string();
    assert!(source.contains("unknown field `blur`, expected"), "{source}");
    assert!(Checked::<SoftEdgeParams>::read(json!({"width": 1})).is_err());
    assert!(
        Checked::new(BlurParams { blur_intensity: f64::NAN, ..BlurParams::default() }).is_err()
    );
}

fn check<P: Params>(processor: &str) {
    let schema = schema(processor);
    let described = schema["properties"].as_object().unwrap();
    let defaults = serde_json::to_value(P::default()).unwrap();
    let defaults = defaults.as_object().unwrap();
    assert!(described.keys().eq(defaults.keys()), "{processor}: {described:?}");
    for (name, default) in defaults {
        let described = &described[name];
        let range = P::RANGES.iter().find(|range| range.name == name);
        let same = |one: &Value, other: &Value| {
            one == other || one.as_f64().is_some_and(|one| Some(one) == other.as_f64())
        };
        assert!(same(&described["default"], default), "{processor}: {name}");
        assert_eq!(default.is_number(), range.is_some(), "{processor}: {name} has a range");
        assert_eq!(described["type"] == "integer", default.is_u64(), "{processor}: {name}");
        let range = range.map(|range| (range.from, range.to));
        let limits = described["minimum"].as_f64().zip(described["maximum"].as_f64());
        assert_eq!(limits, range, "{processor}: {name}");
    }
    Checked::new(P::default()).unwrap();
}

fn schema(processor: &str) -> Value {
    let manifest: Value = serde_json::from_str(include_str!("../manifest.json")).unwrap();
    let items = manifest["contributes"][0]["items"].as_array().unwrap();
    items.iter().find(|item| item["value"] == processor).unwrap()["params"].clone()
}
