//! Pictures to network input and back: 8-bit RGB rows outside, planes in [-1, 1] inside.

use crate::tensor::Tensor;

const CHANNELS: usize = 3;
/// Pixels that are looked at together.
const SPAN: usize = 512;

/// 8-bit RGB pixels, row by row, to `[1, 3, height, width]` in [-1, 1].
///
/// # Panics
/// When the number of bytes is not `3 * width * height`; callers check frames where they come in.
pub fn to_tensor(rgb: &[u8], width: usize, height: usize) -> Tensor {
    let area = width * height;
    assert_eq!(rgb.len(), CHANNELS * area, "frame size");
    let values: [f32; 256] = std::array::from_fn(|byte| 2.0 * (byte as f32 / 255.0) - 1.0);
    let mut data = vec![0.0; CHANNELS * area];
    let (red, rest) = data.split_at_mut(area);
    let (green, blue) = rest.split_at_mut(area);
    let planes = red.iter_mut().zip(green).zip(blue);
    for (((red, green), blue), pixel) in planes.zip(rgb.chunks_exact(CHANNELS)) {
        *red = values[usize::from(pixel[0])];
        *green = values[usize::from(pixel[1])];
        *blue = values[usize::from(pixel[2])];
    }
    Tensor::new([1, CHANNELS, height, width], data)
}

/// The same in [0, 1], as ControlNets take pictures.
pub fn to_planes(rgb: &[u8], width: usize, height: usize) -> Tensor {
    let mut planes = to_tensor(rgb, width, height);
    planes.data_mut().iter_mut().for_each(|value| *value = to_unit(*value));
    planes
}

/// `[1, 3, height, width]` in about [-1, 1] to 8-bit RGB pixels; what lies outside is clamped, halves go to even.
pub fn to_rgb(image: &Tensor) -> Vec<u8> {
    let area = image.row_len() / CHANNELS;
    let mut rgb = vec![0; CHANNELS * area];
    let (red, rest) = image.row(0).split_at(area);
    let (green, blue) = rest.split_at(area);
    let planes = red.chunks(SPAN).zip(green.chunks(SPAN)).zip(blue.chunks(SPAN));
    for (pixels, ((red, green), blue)) in rgb.chunks_mut(CHANNELS * SPAN).zip(planes) {
        let planes = [red, green, blue].map(to_bytes);
        for (place, pixel) in pixels.as_chunks_mut::<CHANNELS>().0.iter_mut().enumerate() {
            *pixel = [planes[0][place], planes[1][place], planes[2][place]];
        }
    }
    rgb
}

/// Side by side, so that the processor makes several at a time.
fn to_bytes(values: &[f32]) -> [u8; SPAN] {
    let mut bytes = [0; SPAN];
    bytes.iter_mut().zip(values).for_each(|(byte, &value)| *byte = to_byte(value));
    bytes
}

fn to_byte(value: f32) -> u8 {
    /// At this size floats are whole numbers, so the sum is rounded as floats are, halves to even, and its last bits are
    /// the number. `round_ties_even` is a call where the processor is not known to have it.
    const WHOLE: f32 = 8_388_608.0;
    // What is no number is black: `max` gives the other one.
    (to_unit(value).max(0.0) * 255.0 + WHOLE).to_bits() as u8
}

/// From [-1, 1] to [0, 1], clamped.
pub fn to_unit(value: f32) -> f32 {
    (value / 2.0 + 0.5).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_survive_and_halves_go_to_even() {
        let rgb: Vec<u8> = (0..=255).flat_map(|byte| [byte, 255 - byte, byte / 2]).collect();
        assert_eq!(to_rgb(&to_tensor(&rgb, 16, 16)), rgb);
        for step in 0..=20_400 {
            let value = step as f32 / 10_200.0 - 1.0;
            let rounded = (to_unit(value) * 255.0).round_ties_even() as u8;
            assert_eq!(to_byte(value), rounded, "{value}");
        }
        assert_eq!(
            [
                -7.0,
                7.0,
                f32::INFINITY,
                f32::NEG_INFINITY,
                f32::NAN,
                -f32::NAN,
                f32::from_bits(0x7fc0_00ff)
            ]
            .map(to_byte),
            [0, 255, 255, 0, 0, 0, 0]
        );
    }
}
