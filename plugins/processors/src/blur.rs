//! Gaussian blur.

use crate::gaussian::Gaussian;
use crate::params::{Checked, Params, Range};
use crate::picture::Picture;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct BlurParams {
    /// The Gaussian's standard deviation, in pixels.
    pub blur_intensity: f64,
    /// How many pixels wide and high the Gaussian is cut; an even number means the next odd one.
    pub kernel_size: u32,
}

impl Default for BlurParams {
    fn default() -> Self {
        Self { blur_intensity: 2.0, kernel_size: 15 }
    }
}

impl Params for BlurParams {
    const RANGES: &'static [Range<Self>] = &[
        Range { name: "blur_intensity", from: 0.1, to: 10.0, get: |params| params.blur_intensity },
        Range { name: "kernel_size", from: 1.0, to: 99.0, get: |params| params.kernel_size.into() },
    ];
}

/// OpenCV's `GaussianBlur` with `kernel_size` and `blur_intensity` as sigma in both directions, and its usual border, which
/// mirrors the picture about its outermost pixels.
pub fn blur(picture: &Picture, params: &Checked<BlurParams>) -> Picture {
    Gaussian::new(params.kernel_size as usize | 1, params.blur_intensity).blur(picture)
}
