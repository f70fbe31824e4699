//! Larger pictures.

use crate::params::{Checked, Params, Range};
use crate::picture::{Picture, PictureError};
use crate::resize::{Filter, resize};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct UpscaleParams {
    /// How many times as wide and high the picture becomes.
    pub scale_factor: f64,
    pub algorithm: Algorithm,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Algorithm {
    Nearest,
    Bilinear,
    Bicubic,
    Lanczos,
}

impl Algorithm {
    pub const ALL: [Self; 4] = [Self::Nearest, Self::Bilinear, Self::Bicubic, Self::Lanczos];
}

impl Default for UpscaleParams {
    fn default() -> Self {
        Self { scale_factor: 2.0, algorithm: Algorithm::Bilinear }
    }
}

impl Params for UpscaleParams {
    const RANGES: &'static [Range<Self>] =
        &[Range { name: "scale_factor", from: 1.0, to: 4.0, get: |params| params.scale_factor }];
}

/// PIL's `resize` with the filter named by `algorithm`, to each side times `scale_factor`, rounded.
pub fn upscale(
    picture: &Picture,
    params: &Checked<UpscaleParams>,
) -> Result<Picture, PictureError> {
    let filter = match params.algorithm {
        Algorithm::Nearest => Filter::Nearest,
        Algorithm::Bilinear => Filter::Bilinear,
        Algorithm::Bicubic => Filter::Bicubic,
        Algorithm::Lanczos => Filter::Lanczos,
    };
    let (width, height) = upscaled(picture.width(), picture.height(), params);
    resize(picture, width, height, filter)
}

/// Width and height of what becomes of a picture.
pub fn upscaled(width: usize, height: usize, params: &Checked<UpscaleParams>) -> (usize, usize) {
    let scaled = |side: usize| (side as f64 * params.scale_factor).round() as usize;
    (scaled(width), scaled(height))
}
