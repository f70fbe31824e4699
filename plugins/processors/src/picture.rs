//! A picture as all processors take and make it, and what is asked of its size.

/// In pixels, of what is taken and what is made: it bounds the memory that a request can ask for.
pub const LONGEST_SIDE: usize = 8192;

/// 8-bit RGB, row by row from the top, without gaps. Each side is from 1 to `LONGEST_SIDE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    width: usize,
    height: usize,
    rgb: Vec<u8>,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PictureError {
    #[error("a picture of {width}x{height} pixels; each side must be from 1 to {LONGEST_SIDE}")]
    Size { width: usize, height: usize },

    #[error("{got} bytes for a picture of {width}x{height} pixels in RGB, which has {}", 3 * width * height)]
    Length { width: usize, height: usize, got: usize },
}

impl Picture {
    pub fn new(width: usize, height: usize, rgb: Vec<u8>) -> Result<Self, PictureError> {
        check_size(width, height)?;
        if rgb.len() != 3 * width * height {
            return Err(PictureError::Length { width, height, got: rgb.len() });
        }
        Ok(Self { width, height, rgb })
    }

    /// As large as this one.
    pub(crate) fn black(&self) -> Self {
        Self { width: self.width, height: self.height, rgb: vec![0; self.rgb.len()] }
    }

    /// As large as this one, with three equal channels.
    pub(crate) fn of_levels(&self, levels: &[u8]) -> Self {
        let mut picture = self.black();
        for (pixel, level) in picture.rgb.as_chunks_mut::<3>().0.iter_mut().zip(levels) {
            *pixel = [*level; 3];
        }
        picture
    }

    pub fn width(&self) -> usize {
        self.width
    }

    pub fn height(&self) -> usize {
        self.height
    }

    pub fn rgb(&self) -> &[u8] {
        &self.rgb
    }

    pub fn into_rgb(self) -> Vec<u8> {
        self.rgb
    }

    pub(crate) fn rgb_mut(&mut self) -> &mut [u8] {
        &mut self.rgb
    }

    pub(crate) fn row(&self, y: usize) -> &[u8] {
        &self.rgb[3 * self.width * y..][..3 * self.width]
    }

    pub(crate) fn row_mut(&mut self, y: usize) -> &mut [u8] {
        &mut self.rgb[3 * self.width * y..][..3 * self.width]
    }
}

/// Before anything of that size is made.
pub(crate) fn check_size(width: usize, height: usize) -> Result<(), PictureError> {
    let fits = |side| (1..=LONGEST_SIDE).contains(&side);
    if fits(width) && fits(height) { Ok(()) } else { Err(PictureError::Size { width, height }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_that_are_no_pictures_are_refused() {
        let refused =
            |width, height, bytes| Picture::new(width, height, vec![0; bytes]).unwrap_err();
        assert_eq!(
            refused(0, 3, 0).to_string(),
            "a picture of 0x3 pixels; each side must be from 1 to 8192"
        );
        assert_eq!(refused(1, 8193, 3), PictureError::Size { width: 1, height: 8193 });
        assert_eq!(refused(usize::MAX, 2, 6), PictureError::Size { width: usize::MAX, height: 2 });
        assert_eq!(
            refused(2, 2, 13).to_string(),
            "13 bytes for a picture of 2x2 pixels in RGB, which has 12"
        );
    }
}
