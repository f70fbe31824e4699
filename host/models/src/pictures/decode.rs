//! Turns bytes of any origin into a small PNG of our own making, or refuses them. What they are is told by themselves, and
//! how large the picture is before it is decoded.

use image::codecs::jpeg::JpegDecoder;
use image::codecs::png::{CompressionType, FilterType, PngDecoder, PngEncoder};
use image::codecs::webp::WebPDecoder;
use image::{DynamicImage, ExtendedColorType, ImageDecoder, ImageEncoder, ImageError, Limits};
use std::io::Cursor;

/// Of the picture as it comes.
const LONGEST_SIDE: u32 = 4096;
const MOST_PIXELS: u64 = 16 << 20;
/// Of the picture as it is kept.
const KEPT_SIDE: u32 = 1024;
/// What one picture may take while it is decoded: its pixels with 16 bits in each of four channels, and half as much.
const MOST_MEMORY: u64 = 12 * MOST_PIXELS;
/// What goes along with the pixels of a PNG and is compressed, such as a colour profile.
const MOST_BESIDE: u64 = 16 << 20;

/// Why bytes are no picture.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("it is neither PNG nor JPEG nor WebP")]
    Unknown,
    #[error("it is animated; a single picture would be right")]
    Animated,
    #[error(
        "it has {width}x{height} pixels; at most {LONGEST_SIDE} on a side and {MOST_PIXELS} in all are taken"
    )]
    TooManyPixels { width: u32, height: u32 },
    #[error("it has no pixels")]
    NoPixels,
    #[error("it is damaged, cut off, or of a kind that is not known")]
    Damaged,
}

type Source<'b> = Cursor<&'b [u8]>;

/// Looks at the head alone: which format, and how large.
pub fn look(bytes: &[u8]) -> Result<(), DecodeError> {
    open(bytes).map(drop)
}

/// The picture, upright, in 8-bit RGB, no longer than 1024 pixels on a side.
pub fn to_png(bytes: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let mut decoder = open(bytes)?;
    let orientation = decoder.orientation().map_err(damaged)?;
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(MOST_MEMORY);
    decoder.set_limits(limits).map_err(damaged)?;
    // What is transparent shows the colours that it has nonetheless, as where models are trained.
    let picture = DynamicImage::from_decoder(decoder).map_err(damaged)?.into_rgb8();
    let mut picture = DynamicImage::from(picture);
    if picture.width().max(picture.height()) > KEPT_SIDE {
        picture = picture.resize(KEPT_SIDE, KEPT_SIDE, image::imageops::FilterType::CatmullRom);
    }
    // Cameras write pictures as they are held, and how to turn them beside.
    picture.apply_orientation(orientation);
    write(&picture.into_rgb8())
}

fn write(picture: &image::RgbImage) -> Result<Vec<u8>, DecodeError> {
    let mut png = Vec::new();
    let encoder =
        PngEncoder::new_with_quality(&mut png, CompressionType::Fast, FilterType::Adaptive);
    let (width, height) = picture.dimensions();
    encoder.write_image(picture, width, height, ExtendedColorType::Rgb8).map_err(damaged)?;
    Ok(png)
}

/// A decoder that has read the head, and whose picture is not too large.
fn open(bytes: &[u8]) -> Result<Box<dyn ImageDecoder + '_>, DecodeError> {
    let decoder = if bytes.starts_with(b"\x89PNG\r\n\x1a\n") {
        open_png(bytes)?
    } else if bytes.starts_with(b"\xff\xd8\xff") {
        Box::new(JpegDecoder::new(Cursor::new(bytes)).map_err(damaged)?)
    } else if bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP") {
        open_webp(bytes)?
    } else {
        return Err(DecodeError::Unknown);
    };
    let (width, height) = decoder.dimensions();
    if width == 0 || height == 0 {
        return Err(DecodeError::NoPixels);
    }
    let pixels = u64::from(width) * u64::from(height);
    match width.max(height) > LONGEST_SIDE || pixels > MOST_PIXELS {
        true => Err(DecodeError::TooManyPixels { width, height }),
        false => Ok(decoder),
    }
}

fn open_png(bytes: &[u8]) -> Result<Box<dyn ImageDecoder + '_>, DecodeError> {
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(MOST_BESIDE);
    let decoder = PngDecoder::<Source<'_>>::with_limits(Cursor::new(bytes), limits);
    let decoder = decoder.map_err(damaged)?;
    match decoder.is_apng().map_err(damaged)? {
        true => Err(DecodeError::Animated),
        false => Ok(Box::new(decoder)),
    }
}

fn open_webp(bytes: &[u8]) -> Result<Box<dyn ImageDecoder + '_>, DecodeError> {
    let decoder = WebPDecoder::<Source<'_>>::new(Cursor::new(bytes)).map_err(damaged)?;
    match decoder.has_animation() {
        true => Err(DecodeError::Animated),
        false => Ok(Box::new(decoder)),
    }
}

/// What libraries say of damage is for their makers; of sizes we have said it before.
fn damaged(_: ImageError) -> DecodeError {
    DecodeError::Damaged
}
