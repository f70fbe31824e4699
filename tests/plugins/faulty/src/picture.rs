//! The picture that a param points to, of which only the mean colour is used.

use plugin_api::Error;
use serde_json::{Map, Value};
use std::path::Path;

/// None where there is no picture. What the host gives is a PNG in 8-bit RGB.
pub fn mean_colour(values: &Map<String, Value>) -> Result<Option<[u8; 3]>, Error> {
    let Some(path) = values.get("picture").filter(|path| !path.is_null()) else { return Ok(None) };
    let path = path.as_str().map(Path::new).filter(|path| path.is_absolute());
    let path = path.ok_or_else(|| Error::invalid("`picture` must be an absolute path or null"))?;
    let picture = image::open(path)?;
    let image::DynamicImage::ImageRgb8(picture) = picture else {
        return Err(Error::new("the picture is not in 8-bit RGB"));
    };
    let mut sums = [0u64; 3];
    for pixel in picture.pixels() {
        sums.iter_mut().zip(pixel.0).for_each(|(sum, value)| *sum += u64::from(value));
    }
    let count = u64::from(picture.width()) * u64::from(picture.height());
    Ok(Some(sums.map(|sum| (sum / count.max(1)) as u8)))
}
