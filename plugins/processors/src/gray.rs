//! How bright pixels are: 0.299 of red, 0.587 of green, 0.114 of blue, in single precision from 0 to 1. Edges depend on
//! the last bit of it, so it is added up in the order in which StreamDiffusion's descendants do.

use crate::picture::Picture;

const RED: [f32; 256] = shares(0.299);
const GREEN: [f32; 256] = shares(0.587);
const BLUE: [f32; 256] = shares(0.114);

/// One channel of 8 bits, row by row.
pub struct Gray {
    pub width: usize,
    pub height: usize,
    pub levels: Vec<u8>,
}

impl Gray {
    /// Levels from 0 to 255; what is between two becomes the lower.
    pub fn of(picture: &Picture) -> Self {
        let levels = brightness(picture).map(|bright| (bright * 255.0) as u8).collect();
        Self { width: picture.width(), height: picture.height(), levels }
    }
}

/// Of each pixel, row by row.
pub fn brightness(picture: &Picture) -> impl Iterator<Item = f32> {
    let pixels = picture.rgb().as_chunks::<3>().0.iter();
    pixels.map(|&[r, g, b]| RED[usize::from(r)] + GREEN[usize::from(g)] + BLUE[usize::from(b)])
}

/// What each level of a channel adds.
const fn shares(weight: f32) -> [f32; 256] {
    let mut shares = [0.0; 256];
    let mut level = 0;
    while level < 256 {
        shares[level] = weight * (level as f32 / 255.0);
        level += 1;
    }
    shares
}
