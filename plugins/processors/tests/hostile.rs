//! No size of picture is too odd, and each result is as large as it should be.
#![allow(clippy::unwrap_used)] // A test may stop where it stands.

use plugin_processors::blur::{BlurParams, blur};
use plugin_processors::canny::canny;
use plugin_processors::feedback::feedback;
use plugin_processors::params::Checked;
use plugin_processors::picture::{LONGEST_SIDE, Picture};
use plugin_processors::sharpen::{SharpenParams, sharpen};
use plugin_processors::soft_edge::soft_edge;
use plugin_processors::standard_lineart::{StandardLineartParams, standard_lineart};
use plugin_processors::upscale::{UpscaleParams, upscale};

const SIZES: [(usize, usize); 9] =
    [(1, 1), (1, 2), (2, 1), (3, 3), (1, 300), (300, 1), (31, 33), (64, 5), (LONGEST_SIDE, 2)];

/// Of any content.
fn picture(width: usize, height: usize) -> Picture {
    let levels = (0..3 * width * height).map(|place| (place * 7919 % 251) as u8);
    Picture::new(width, height, levels.collect()).unwrap()
}

#[test]
fn pictures_of_all_sizes_are_processed() {
    for (width, height) in SIZES {
        let picture = picture(width, height);
        let made = [
            canny(&picture, &Checked::default()),
            blur(&picture, &Checked::default()),
            sharpen(&picture, &Checked::default()),
            soft_edge(&picture, &Checked::default()),
            feedback(&picture, Some(&picture), &Checked::default()).unwrap(),
        ];
        for made in made {
            assert_eq!((made.width(), made.height()), (width, height));
        }
    }
}

#[test]
fn params_at_the_ends_of_their_ranges_are_taken() {
    let wide = BlurParams { blur_intensity: 10.0, kernel_size: 99 };
    let strong = SharpenParams {
        sharpen_intensity: 5.0,
        unsharp_radius: 10.0,
        edge_enhancement: 5.0,
        detail_boost: 5.0,
        noise_reduction: 1.0,
        multi_scale: true,
    };
    for (width, height) in SIZES {
        let picture = picture(width, height);
        blur(&picture, &Checked::new(wide.clone()).unwrap());
        sharpen(&picture, &Checked::new(strong.clone()).unwrap());
        let white = Picture::new(width, height, vec![255; 3 * width * height]).unwrap();
        assert_eq!(sharpen(&white, &Checked::new(strong.clone()).unwrap()), white, "a plain area");
    }
}

#[test]
fn what_would_become_too_large_is_an_error() {
    let long = picture(LONGEST_SIDE, 2);
    let error = upscale(&long, &Checked::<UpscaleParams>::default()).unwrap_err();
    assert_eq!(error.to_string(), "a picture of 16384x4 pixels; each side must be from 1 to 8192");
    let lines = standard_lineart(&long, &Checked::default()).unwrap();
    assert_eq!((lines.width(), lines.height()), (LONGEST_SIDE, 2));
    let smallest =
        StandardLineartParams { detect_resolution: 16, gaussian_sigma: 20.0, ..Default::default() };
    let lines = standard_lineart(&picture(1, 300), &Checked::new(smallest).unwrap()).unwrap();
    assert_eq!((lines.width(), lines.height()), (1, 300));
}

#[test]
fn feedback_of_another_size_is_an_error() {
    let error = feedback(&picture(2, 3), Some(&picture(3, 2)), &Checked::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the previous output has 3x2 pixels; it must have the picture's 2x3"
    );
    assert_eq!(feedback(&picture(2, 3), None, &Checked::default()).unwrap(), picture(2, 3));
}
