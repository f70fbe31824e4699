//! Pictures that may not be shown.

use crate::support::{host, numbers, object, open, picture, process};
use plugin_api::{FrameFormat, Params, Stream};
use plugin_processors::picture::Picture;
use plugin_processors::plugin::Step;
use serde_json::json;

fn checker(threshold: f64, size: (usize, usize)) -> Step {
    open(&host(), "safety_checker", json!({ "threshold": threshold }), size).unwrap()
}

/// Both by Pillow and ONNX Runtime.
fn pictures_and_probabilities() -> [(Picture, f64); 2] {
    let picture = picture("picture");
    let inverted: Vec<u8> = picture.rgb().iter().map(|level| 255 - level).collect();
    let inverted = Picture::new(picture.width(), picture.height(), inverted).unwrap();
    let probabilities = numbers("safety").1;
    [(picture, f64::from(probabilities[0])), (inverted, f64::from(probabilities[1]))]
}

#[test]
fn a_picture_is_withheld_from_its_probability_on() {
    for (picture, probability) in pictures_and_probabilities() {
        let shown = |threshold: f64| {
            let mut step = checker(threshold, (picture.width(), picture.height()));
            process(&mut step, &picture).unwrap()
        };
        // Another filter would be twice as far off.
        assert!(shown(probability + 1e-4) == picture, "{probability}");
        assert!(shown(probability - 1e-4).rgb().iter().all(|level| *level == 0), "{probability}");
    }
}

#[test]
fn the_last_picture_that_passed_stands_in_for_one_that_does_not_and_black_for_the_first() {
    let [(first, high), (second, low)] = pictures_and_probabilities();
    assert!(low + 0.1 < high);
    let between = (low + high) / 2.0;
    let mut step = checker(between, (192, 128));
    let is_black = |picture: &Picture| picture.rgb().iter().all(|level| *level == 0);
    assert!(is_black(&process(&mut step, &first).unwrap()), "none has passed yet");
    assert!(process(&mut step, &second).unwrap() == second);
    for _ in 0..2 {
        assert!(process(&mut step, &first).unwrap() == second);
    }
    let update = |step: &mut Step, threshold: f64| {
        let values = object(json!({ "threshold": threshold }));
        step.update(&Params::of_lent("safety_checker", &values, FrameFormat::new(192, 128)))
            .unwrap();
    };
    update(&mut step, 1.0);
    assert!(process(&mut step, &first).unwrap() == first, "the threshold is hot");
    update(&mut step, low / 2.0);
    assert!(process(&mut step, &second).unwrap() == first, "and what passed is kept");
    update(&mut step, 0.0);
    let dark = Picture::new(192, 128, vec![0; 3 * 192 * 128]).unwrap();
    assert!(process(&mut step, &dark).unwrap() == first, "nothing passes a threshold of 0");
}
