//! A clip that is drawn, not stored: a disc that wanders over slowly turning colours. No two neighbouring frames are alike,
//! and no pipeline can take them for a still picture.

use host_ports::FrameSize;

/// Enough for a second; then it begins again.
const FRAMES: usize = 30;

/// Frames laid out as pipelines take them.
pub struct Clip {
    frames: Vec<Vec<u8>>,
}

impl Clip {
    pub fn draw(size: FrameSize) -> Self {
        Self { frames: (0..FRAMES).map(|index| frame(size, index)).collect() }
    }

    pub fn frame(&self, index: u64) -> &[u8] {
        &self.frames[index as usize % FRAMES]
    }
}

fn frame(size: FrameSize, index: usize) -> Vec<u8> {
    let turn = std::f32::consts::TAU * index as f32 / FRAMES as f32;
    let (width, height) = (size.width as f32, size.height as f32);
    let (middle_x, middle_y) =
        (width * (0.5 + 0.3 * turn.cos()), height * (0.5 + 0.3 * turn.sin()));
    let radius = 0.15 * width.min(height);
    let mut pixels = vec![0; size.bytes()];
    for (y, row) in pixels.chunks_exact_mut(size.stride()).enumerate() {
        for (x, pixel) in row.chunks_exact_mut(3).take(size.width as usize).enumerate() {
            let (x, y) = (x as f32, y as f32);
            let is_in_disc = (x - middle_x).hypot(y - middle_y) < radius;
            pixel.copy_from_slice(&match is_in_disc {
                true => [240, 200, 40],
                false => {
                    [x / width, y / height, 0.5 + 0.5 * turn.sin()].map(|part| (200.0 * part) as u8)
                }
            });
        }
    }
    pixels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbouring_frames_differ_and_fill_the_memory() {
        let size = FrameSize::new(63, 40);
        let clip = Clip::draw(size);
        for index in 0..2 * FRAMES as u64 {
            assert_eq!(clip.frame(index).len(), size.bytes());
            let pairs = clip.frame(index).iter().zip(clip.frame(index + 1));
            assert!(pairs.filter(|(one, other)| one != other).count() > 100, "{index}");
        }
    }
}
