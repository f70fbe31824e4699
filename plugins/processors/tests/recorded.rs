//! The processors make what StreamDiffusion's descendants, OpenCV and PIL made of the same pictures; `record.py` wrote it.
#![allow(clippy::unwrap_used)] // A test may stop where it stands.

use plugin_processors::blur::blur;
use plugin_processors::canny::{canny, canny_gray};
use plugin_processors::feedback::feedback;
use plugin_processors::gray::Gray;
use plugin_processors::params::{Checked, Params};
use plugin_processors::picture::Picture;
use plugin_processors::resize::{Filter, resize};
use plugin_processors::sharpen::sharpen;
use plugin_processors::soft_edge::soft_edge;
use plugin_processors::standard_lineart::standard_lineart;
use plugin_processors::upscale::upscale;
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;
use serde_json::Value;
use std::path::Path;

const FILES: [&str; 2] = ["golden.safetensors", "recorded.safetensors"];

#[test]
fn canny_is_opencvs_to_the_byte() {
    check("canny_gray", 0, |case| {
        let gray = Gray { width: case.width, height: case.height, levels: case.bytes.clone() };
        canny_gray(&gray, &case.params()).levels
    });
}

#[test]
fn canny_of_a_picture_is_that_of_its_brightness() {
    check("canny", 0, |case| red(&canny(&case.picture(), &case.params())));
}

#[test]
fn blur_is_opencvs_to_the_byte() {
    check("blur", 0, |case| blur(&case.picture(), &case.params()).into_rgb());
}

#[test]
fn sharpen_is_its_formula_with_opencvs_blurs() {
    check("sharpen", 1, |case| sharpen(&case.picture(), &case.params()).into_rgb());
}

#[test]
fn feedback_mixes_the_previous_output_in() {
    check("feedback", 1, |case| {
        let previous = case.file.tensor("previous").unwrap().data().to_vec();
        let previous = Picture::new(case.width, case.height, previous).unwrap();
        feedback(&case.picture(), Some(&previous), &case.params()).unwrap().into_rgb()
    });
}

#[test]
fn soft_edge_is_that_of_streamdiffusions_descendants() {
    check("soft_edge", 1, |case| red(&soft_edge(&case.picture(), &case.params())));
}

#[test]
fn standard_lineart_is_that_of_streamdiffusions_descendants() {
    check("standard_lineart", 1, |case| {
        red(&standard_lineart(&case.picture(), &case.params()).unwrap())
    });
}

#[test]
fn upscale_is_pils_to_the_byte() {
    check("upscale", 0, |case| upscale(&case.picture(), &case.params()).unwrap().into_rgb());
}

#[test]
fn pictures_shrink_as_in_pil_to_the_byte() {
    check("lanczos", 0, |case| case.resized(Filter::Lanczos));
}

#[test]
fn pictures_are_resized_as_by_opencv() {
    check("cubic", 1, |case| case.resized(Filter::Cubic));
    check("area", 1, |case| case.resized(Filter::Area));
}

/// A picture, and with what it is processed.
struct Case<'a> {
    width: usize,
    height: usize,
    bytes: Vec<u8>,
    params: Value,
    file: &'a SafeTensors<'a>,
}

impl Case<'_> {
    fn picture(&self) -> Picture {
        Picture::new(self.width, self.height, self.bytes.clone()).unwrap()
    }

    fn resized(&self, filter: Filter) -> Vec<u8> {
        let side = |name: &str| self.params[name].as_u64().unwrap() as usize;
        resize(&self.picture(), side("width"), side("height"), filter).unwrap().into_rgb()
    }

    fn params<P: Params>(&self) -> Checked<P> {
        Checked::read(self.params.clone()).unwrap()
    }
}

/// Each recorded result of a processor is at most so many levels from what `process` makes.
fn check(processor: &str, at_most: u8, process: impl Fn(&Case) -> Vec<u8>) {
    let mut cases = 0;
    for file in FILES {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(file);
        let bytes = std::fs::read(path).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        for (name, expected) in file.tensors() {
            let mut parts = name.split('|');
            let (Some(kind), Some(picture), Some(params)) =
                (parts.next(), parts.next(), parts.next())
            else {
                continue;
            };
            if kind != processor {
                continue;
            }
            cases += 1;
            let picture = file.tensor(picture).unwrap();
            let (height, width) = (picture.shape()[0], picture.shape()[1]);
            let params = serde_json::from_str(params).unwrap();
            let bytes = picture.data().to_vec();
            let made = process(&Case { width, height, bytes, params, file: &file });
            compare(&name, &made, &levels(&expected), at_most);
        }
    }
    assert!(cases > 0, "nothing is recorded of {processor}");
}

fn compare(name: &str, made: &[u8], expected: &[u8], at_most: u8) {
    assert_eq!(made.len(), expected.len(), "{name}: bytes");
    let differences = made.iter().zip(expected).map(|(made, expected)| made.abs_diff(*expected));
    let (place, most) = differences.enumerate().max_by_key(|(_, most)| *most).unwrap();
    assert!(
        most <= at_most,
        "{name}: {most} levels apart at byte {place}: {} instead of {}",
        made[place],
        expected[place]
    );
}

/// A recorded tensor as 8 bits; floats are from 0 to 1.
fn levels(tensor: &TensorView) -> Vec<u8> {
    match tensor.dtype() {
        safetensors::Dtype::U8 => tensor.data().to_vec(),
        _ => {
            let values =
                tensor.data().as_chunks::<4>().0.iter().map(|four| f32::from_le_bytes(*four));
            values.map(|value| (value * 255.0).round() as u8).collect()
        }
    }
}

/// The first of three channels, which are equal.
fn red(picture: &Picture) -> Vec<u8> {
    let pixels = picture.rgb().as_chunks::<3>().0;
    assert!(pixels.iter().all(|[r, g, b]| r == g && g == b), "three equal channels");
    pixels.iter().map(|[r, _, _]| *r).collect()
}
