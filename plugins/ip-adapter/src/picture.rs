//! A style picture as the image encoder takes it, which is as CLIP was trained.

use image::imageops::{FilterType, crop_imm, resize};
use image::{ImageError, ImageFormat, ImageReader, Limits, RgbImage};
use plugins_diffusion::tensor::Tensor;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

const MEAN: [f32; 3] = [0.481_454_66, 0.457_827_5, 0.408_210_73];
const DEVIATION: [f32; 3] = [0.268_629_54, 0.261_302_6, 0.275_777_1];

const MOST_PIXELS_ALONG: u32 = 8192;
const MOST_BYTES: u64 = 512 << 20;
/// Of the long side to the short one. What lies further out is cropped anyway, and need not be scaled before.
const LONGEST: u32 = 4;

/// Why there is no picture.
#[derive(Debug, thiserror::Error)]
pub enum PictureError {
    #[error("the style image {} cannot be opened: {source}", path.display())]
    Open { path: PathBuf, source: std::io::Error },
    #[error("the style image {} is no file", path.display())]
    NoFile { path: PathBuf },
    #[error(
        "the style image {} is no PNG of at most {MOST_PIXELS_ALONG}x{MOST_PIXELS_ALONG} pixels: {source}",
        path.display()
    )]
    Decode { path: PathBuf, source: ImageError },
}

/// A PNG.
pub fn decode(path: &Path) -> Result<RgbImage, PictureError> {
    // Opening what is no file could take for ever.
    let metadata = std::fs::metadata(path)
        .map_err(|source| PictureError::Open { path: path.to_owned(), source })?;
    if !metadata.is_file() {
        return Err(PictureError::NoFile { path: path.to_owned() });
    }
    let file =
        File::open(path).map_err(|source| PictureError::Open { path: path.to_owned(), source })?;
    let mut reader = ImageReader::with_format(BufReader::new(file), ImageFormat::Png);
    let mut limits = Limits::default();
    limits.max_image_width = Some(MOST_PIXELS_ALONG);
    limits.max_image_height = Some(MOST_PIXELS_ALONG);
    limits.max_alloc = Some(MOST_BYTES);
    reader.limits(limits);
    let decoded = reader.decode();
    let wrong = |source| PictureError::Decode { path: path.to_owned(), source };
    Ok(decoded.map_err(wrong)?.into_rgb8())
}

/// The middle of a picture, the short side scaled to `side`: `[1, 3, side, side]` by CLIP's mean and deviation.
pub fn prepare(picture: &RgbImage, side: u32) -> Tensor {
    let (width, height) = picture.dimensions();
    let long = LONGEST * width.min(height);
    let picture = middle(picture, width.min(long), height.min(long));
    let (width, height) = picture.dimensions();
    let short = u64::from(width.min(height).max(1));
    // Rounded down, as by transformers.
    let scaled = |along: u32| (u64::from(along) * u64::from(side) / short) as u32;
    let picture = resize(&picture, scaled(width), scaled(height), FilterType::CatmullRom);
    to_planes(&middle(&picture, side, side))
}

fn middle(picture: &RgbImage, width: u32, height: u32) -> RgbImage {
    let (from, above) = ((picture.width() - width) / 2, (picture.height() - height) / 2);
    crop_imm(picture, from, above, width, height).to_image()
}

fn to_planes(picture: &RgbImage) -> Tensor {
    let (width, height) = picture.dimensions();
    let plane = |channel: usize| {
        picture.pixels().map(move |pixel| {
            (f32::from(pixel.0[channel]) / 255.0 - MEAN[channel]) / DEVIATION[channel]
        })
    };
    let values = (0..3).flat_map(plane).collect();
    Tensor::new([1, 3, height as usize, width as usize], values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgb;

    #[test]
    fn the_middle_is_taken_whichever_side_is_long() {
        let [red, blue] = [Rgb([255, 0, 0]), Rgb([0, 0, 255])];
        let is_middle = |x: u32| (40..60).contains(&x);
        let wide = RgbImage::from_fn(100, 20, |x, _| if is_middle(x) { blue } else { red });
        let tall = RgbImage::from_fn(20, 100, |_, y| if is_middle(y) { blue } else { red });
        for picture in [wide, tall] {
            let made = prepare(&picture, 8);
            assert_eq!(made.shape(), [1, 3, 8, 8]);
            // Away from the edge, where the filter sees the other colour.
            let at = |channel: usize| made.data()[channel * 64 + 4 * 8 + 4];
            let wanted = |channel: usize, value: f32| (value - MEAN[channel]) / DEVIATION[channel];
            for (channel, value) in [0.0, 0.0, 1.0].into_iter().enumerate() {
                assert!((at(channel) - wanted(channel, value)).abs() < 1e-5, "{channel}");
            }
        }
    }

    #[test]
    fn pictures_of_any_shape_become_squares() {
        for (width, height) in [(1, 1), (1, 4000), (4000, 1), (7, 9), (223, 224), (1000, 333)] {
            let made = prepare(&RgbImage::new(width, height), 224);
            assert_eq!(made.shape(), [1, 3, 224, 224], "{width}x{height}");
        }
    }

    #[test]
    fn what_is_no_picture_is_refused_with_its_path() {
        let folder = tempfile::tempdir().unwrap();
        let [text, png, huge] = ["a.txt", "b.png", "c.png"].map(|name| folder.path().join(name));
        std::fs::write(&text, "no picture").unwrap();
        RgbImage::new(3, 5).save(&png).unwrap();
        RgbImage::new(8193, 1).save(&huge).unwrap();
        assert_eq!(decode(&png).unwrap().dimensions(), (3, 5));
        for (path, part) in [
            (&text, "no PNG of at most 8192"),
            (&huge, "no PNG of at most 8192"),
            (&folder.path().to_owned(), "is no file"),
            (&folder.path().join("none"), "cannot be opened"),
        ] {
            let error = decode(path).unwrap_err().to_string();
            assert!(error.contains(part) && error.contains(path.to_str().unwrap()), "{error}");
        }
    }
}
