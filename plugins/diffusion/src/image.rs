//! Pictures to network input and back: 8-bit RGB rows outside, planes in [-1, 1] inside.

use crate::tensor::Tensor;

const CHANNELS: usize = 3;

/// 8-bit RGB pixels, row by row, to `[1, 3, height, width]` in [-1, 1].
///
/// # Panics
/// When the number of bytes is not `3 * width * height`; callers check frames where they come in.
pub fn to_tensor(rgb: &[u8], width: usize, height: usize) -> Tensor {
    let area = width * height;
    assert_eq!(rgb.len(), CHANNELS * area, "frame size");
    let mut data = vec![0.0; CHANNELS * area];
    for (channel, plane) in data.chunks_exact_mut(area).enumerate() {
        for (value, pixel) in plane.iter_mut().zip(rgb.chunks_exact(CHANNELS)) {
            *value = 2.0 * (f32::from(pixel[channel]) / 255.0) - 1.0;
        }
    }
    Tensor::new([1, CHANNELS, height, width], data)
}

/// `[1, 3, height, width]` in about [-1, 1] to 8-bit RGB pixels; what lies outside is clamped, halves go to even.
pub fn to_rgb(image: &Tensor) -> Vec<u8> {
    let area = image.row_len() / CHANNELS;
    let mut rgb = vec![0; CHANNELS * area];
    for (channel, plane) in image.row(0).chunks_exact(area).enumerate() {
        for (pixel, &value) in rgb.chunks_exact_mut(CHANNELS).zip(plane) {
            pixel[channel] = (to_unit(value) * 255.0).round_ties_even() as u8;
        }
    }
    rgb
}

/// From [-1, 1] to [0, 1], clamped.
pub fn to_unit(value: f32) -> f32 {
    (value / 2.0 + 0.5).clamp(0.0, 1.0)
}
