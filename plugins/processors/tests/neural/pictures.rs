//! Depth, edges, drawings, masks, larger pictures and warped ones.

use crate::hed_weights;
use crate::support::{
    bytes, compare, folder, host, host_of, made, numbers, open, picture, plane, process, red,
};
use plugin_processors::neural::colours::colours;
use plugin_processors::neural::flow::{Flow, warp};
use plugin_processors::neural::upscaler::tiled;
use plugin_processors::picture::{Picture, PictureError};
use plugins_diffusion::engine::{Backend, Engine, EngineOptions};
use plugins_diffusion::nets::Hed;
use plugins_diffusion::onnx::Provider;
use plugins_diffusion::tensor::Tensor;
use serde_json::{Value, json};
use std::path::Path;

#[test]
fn depth_is_that_of_opencv_around_the_same_network() {
    let picture = picture("picture");
    let depth = made("depth", json!({}), &picture);
    compare("depth", &red(&depth), &bytes("depth"), 1);
    let depth = made("depth_tensorrt", json!({ "detect_resolution": 140 }), &picture);
    compare("depth_tensorrt", &red(&depth), &bytes("depth_tensorrt"), 1);
}

#[test]
fn line_drawings_are_white_on_black() {
    let drawn = made("lineart", json!({ "detect_resolution": 128 }), &picture("picture"));
    compare("lineart", &red(&drawn), &bytes("lineart"), 1);
}

#[test]
fn people_are_masked_or_set_before_one_colour() {
    let picture = picture("segmentation_picture");
    let mask = made("mediapipe_segmentation", json!({}), &picture);
    compare("segmentation", &red(&mask), &bytes("segmentation"), 0);
    let inverted = made("mediapipe_segmentation", json!({ "invert_mask": true }), &picture);
    assert!(mask.rgb().iter().zip(inverted.rgb()).all(|(one, other)| one ^ other == 255));
    let color = [1, 2, 3];
    let params = json!({ "threshold": 0.52, "blur_radius": 3, "output_mode": "background" });
    let mut params = params.as_object().unwrap().clone();
    params.insert("background_color".into(), json!(color));
    let shown = made("mediapipe_segmentation", params.into(), &picture);
    let recorded = bytes("segmentation_background");
    let pixels = shown.rgb().chunks(3).zip(recorded.chunks(3));
    let other = pixels.filter(|(one, other)| one != other).count();
    // Numbers end on either side of the threshold.
    assert!(other <= 3, "{other} of {} pixels", recorded.len() / 3);
}

#[test]
fn larger_pictures_are_those_of_the_network() {
    let picture = picture("picture");
    let double = made("realesrgan_trt", json!({}), &picture);
    compare("x2", double.rgb(), &bytes("x2"), 1);
    let small = cropped(&picture, 64, 48);
    let fourfold = made("realesrgan_trt", json!({ "scale": 4 }), &small);
    compare("x4", fourfold.rgb(), &bytes("x4"), 1);
    let between = made("realesrgan_trt", json!({ "scale": 1.5 }), &picture);
    assert_eq!((between.width(), between.height()), (288, 192));
}

#[test]
fn tiles_make_the_picture_that_is_made_at_once() {
    let picture = picture("picture");
    let host = host();
    let tiles = |tile: (usize, usize)| {
        let mut step = open(&host, "realesrgan_trt", json!({}), tile).unwrap();
        let mut count = 0;
        let made = tiled(&picture, tile, 2, |tile| {
            count += 1;
            Ok::<_, PictureError>(process(&mut step, tile).unwrap())
        });
        (made.unwrap(), count)
    };
    let (at_once, count) = tiles((192, 128));
    assert_eq!(count, 1);
    for tile in [(192, 64), (64, 128), (48, 40), (36, 36)] {
        let (made, count) = tiles(tile);
        assert!(count > 2, "{tile:?}");
        assert!(made == at_once, "{tile:?}");
    }
    // By the processor itself: longer than a tile.
    let long = Picture::new(1200, 8, picture.rgb()[..3 * 1200 * 8].to_vec()).unwrap();
    let made = made("realesrgan_trt", json!({}), &long);
    assert_eq!((made.width(), made.height()), (2400, 16));
}

#[test]
fn the_last_picture_is_warped_by_the_flow() {
    let last = picture("flow_last");
    let flow = Flow { across: plane("flow_across"), down: plane("flow_down") };
    compare("warped", warp(&last, &flow, 1.0).rgb(), &bytes("warped"), 1);
    compare("warped_half", warp(&last, &flow, 0.5).rgb(), &bytes("warped_half"), 1);
    assert!(warp(&last, &flow, 0.0) == last);
}

fn warping() -> Value {
    json!({ "output_format": "warped_only" })
}

#[test]
fn movement_is_told_in_colours() {
    let last = picture("flow_last");
    let flow = Flow { across: plane("flow_across"), down: plane("flow_down") };
    compare("flow_colours", colours(&last, &flow, 1.0).rgb(), &bytes("flow_colours"), 1);
    let mut step = open(&host(), "temporal_net_tensorrt", json!({}), (48, 36)).unwrap();
    let first = process(&mut step, &last).unwrap();
    assert!(first.rgb().iter().all(|level| *level == 255), "nothing moves in the first picture");
    let next = process(&mut step, &last).unwrap();
    let pixel = &next.rgb()[..3];
    assert!(next.rgb().chunks(3).all(|other| other == pixel), "all moves alike");
    assert!(pixel.contains(&0) || pixel.iter().any(|level| *level < 40), "as far as it can");
}

#[test]
fn a_known_shift_is_followed_exactly() {
    // The network finds that everything came from 4 to the right and 3 above, whatever it sees.
    let last = picture("flow_last");
    let next = Picture::new(48, 36, vec![9; 3 * 48 * 36]).unwrap();
    let mut step = open(&host(), "temporal_net_tensorrt", warping(), (48, 36)).unwrap();
    assert!(process(&mut step, &last).unwrap() == last, "the first picture stays");
    let warped = process(&mut step, &next).unwrap();
    let pixel =
        |picture: &Picture, x: usize, y: usize| picture.rgb()[3 * (y * 48 + x)..][..3].to_vec();
    for y in 0..36_usize {
        for x in 0..48 {
            let came = ((x + 4).min(47), y.saturating_sub(3));
            assert_eq!(pixel(&warped, x, y), pixel(&last, came.0, came.1), "{x} {y}");
        }
    }
    assert!(process(&mut step, &last).unwrap() == next, "the one before it");
    // Of a picture twice as large the same flow is twice as far.
    let mut step = open(&host(), "temporal_net_tensorrt", warping(), (96, 72)).unwrap();
    let dots = (0..96 * 72).flat_map(|place| [(place % 96) as u8, (place / 96) as u8, 0]);
    let last = Picture::new(96, 72, dots.collect()).unwrap();
    process(&mut step, &last).unwrap();
    let warped = process(&mut step, &last).unwrap();
    assert_eq!(warped.rgb()[3 * (40 * 96 + 50)..][..2], [58, 34]);
}

#[test]
fn hed_is_that_of_an_independent_computation() {
    let models = tempfile::tempdir().unwrap();
    let weights = models.path().join("lllyasviel/Annotators/ControlNetHED.pth");
    hed_weights::write(&weights);
    let host = host_of(models.path());
    let picture = picture("hed_picture");
    let made = |params| {
        let mut step = open(&host, "hed", params, (128, 64)).unwrap();
        red(&process(&mut step, &picture).unwrap())
    };
    let edges = made(json!({ "detect_resolution": 64 }));
    compare("hed", &edges, &bytes("hed"), 2);
    let safe = made(json!({ "detect_resolution": 64, "safe": true }));
    let recorded = bytes("hed_safe");
    let equal = safe.iter().zip(&recorded).filter(|(one, other)| one == other).count();
    assert!(equal * 100 > 99 * recorded.len(), "{equal} of {}", recorded.len());
    assert!([0, 127, 255].iter().all(|level| safe.contains(level)), "three levels");
    candle_agrees(&weights, &picture);
}

/// Where there is no ONNX Runtime the network is computed by the other back end.
fn candle_agrees(weights: &Path, picture: &Picture) {
    let levels = (0..3).flat_map(|c| picture.rgb().iter().skip(c).step_by(3));
    let input = Tensor::new([1, 3, 64, 128], levels.map(|&level| level.into()).collect());
    let run = |backend| {
        let engine = Engine::start(&EngineOptions {
            backend,
            providers: vec![Provider::Cpu],
            runtime: folder().join("../../../engines/runtime"),
            engines: std::env::temp_dir(),
            has_cuda_graphs: false,
            threads: 2,
        });
        let model = engine.unwrap().load(Hed, weights, &mut || true).unwrap();
        model.run_all(&[&input]).unwrap()
    };
    for (one, other) in run(Backend::Onnx).iter().zip(&run(Backend::Candle)) {
        assert_eq!(one.shape(), other.shape());
        let apart = one.data().iter().zip(other.data()).map(|(one, other)| (one - other).abs());
        assert!(apart.fold(0.0, f32::max) < 1e-2);
    }
}

#[test]
fn planes_are_resized_and_blurred_as_by_opencv_and_scipy() {
    let plane = plane("plane");
    let near = |name: &str, made: &[f32]| {
        let recorded = numbers(name).1;
        assert_eq!(made.len(), recorded.len());
        let worst = made.iter().zip(&recorded).map(|(one, other)| (one - other).abs());
        let worst = worst.fold(0.0, f32::max);
        assert!(worst < 2e-5, "{name}: {worst}");
    };
    near("plane_linear", &plane.resized(31, 8).values);
    near("plane_cubic", &plane.cubic(31, 40).values);
    near("plane_smoothed_3", &plane.smoothed(3).values);
    near("plane_smoothed_6", &plane.smoothed(6).values);
    near("plane_blurred", &plane.blurred(1.3).values);
}

fn cropped(picture: &Picture, width: usize, height: usize) -> Picture {
    let rows = picture.rgb().chunks_exact(3 * picture.width()).take(height);
    let rgb = rows.flat_map(|row| &row[..3 * width]).copied().collect();
    Picture::new(width, height, rgb).unwrap()
}
