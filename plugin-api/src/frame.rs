//! Pictures as a plugin sees them: borrowed host memory, packed RGB.

use serde::{Deserialize, Serialize};

/// Bytes of a pixel: red, green, blue.
pub const PIXEL_BYTES: usize = 3;
/// Greatest width and height.
pub const MAX_SIDE: u32 = 16384;

/// Width and height of frames. Pixels are RGB, 8 bits a channel; the stride is in the frame itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrameFormat {
    /// Pixels, 1 to 16384.
    pub width: u32,
    /// Pixels, 1 to 16384.
    pub height: u32,
}

impl FrameFormat {
    /// A format of that many pixels.
    pub const fn new(width: u32, height: u32) -> Self {
        Self { width, height }
    }
}

impl std::fmt::Display for FrameFormat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}

/// What a stream takes and gives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Formats {
    /// Frames given to `process`.
    pub input: FrameFormat,
    /// Frames that `process` writes.
    pub output: FrameFormat,
}

impl Formats {
    /// Input and output alike.
    pub const fn same(format: FrameFormat) -> Self {
        Self { input: format, output: format }
    }
}

/// A picture to read.
///
/// ```
/// let pixels = [1, 2, 3, 4, 5, 6, 0, 0, 7, 8, 9, 10, 11, 12];
/// let frame =
///     plugin_api::Frame { id: 1, captured_ns: 0, width: 2, height: 2, stride: 8, pixels: &pixels };
/// let rows: Vec<&[u8]> = frame.rows().collect();
/// assert_eq!(rows, [[1, 2, 3, 4, 5, 6], [7, 8, 9, 10, 11, 12]]);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// Counts the publisher's frames, from 1; some may be left out.
    pub id: u64,
    /// When the frame reached the host: nanoseconds of the monotonic clock.
    pub captured_ns: u64,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Bytes from one row to the next, at least `width * 3`.
    pub stride: usize,
    /// At least `stride * (height - 1) + width * 3` bytes.
    pub pixels: &'a [u8],
}

impl<'a> Frame<'a> {
    /// The rows from top to bottom, `width * 3` bytes each.
    pub fn rows(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let row = self.width as usize * PIXEL_BYTES;
        self.pixels.chunks(self.stride).take(self.height as usize).map(move |line| &line[..row])
    }

    /// Width and height.
    pub fn format(&self) -> FrameFormat {
        FrameFormat::new(self.width, self.height)
    }
}

/// A picture to write. Its pixels are undefined before.
#[derive(Debug)]
pub struct FrameMut<'a> {
    /// The input frame that this picture shows; the current input's until [`FrameMut::set_source`] is called.
    pub id: u64,
    /// When that frame reached the host: nanoseconds of the monotonic clock.
    pub captured_ns: u64,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Bytes from one row to the next, at least `width * 3`.
    pub stride: usize,
    /// At least `stride * (height - 1) + width * 3` bytes.
    pub pixels: &'a mut [u8],
}

impl FrameMut<'_> {
    /// Says that the picture shows an earlier input, as in a stream batch.
    pub fn set_source(&mut self, id: u64, captured_ns: u64) {
        self.id = id;
        self.captured_ns = captured_ns;
    }

    /// The rows from top to bottom, `width * 3` bytes each.
    pub fn rows_mut(&mut self) -> impl Iterator<Item = &mut [u8]> {
        let row = self.width as usize * PIXEL_BYTES;
        let height = self.height as usize;
        self.pixels.chunks_mut(self.stride).take(height).map(move |line| &mut line[..row])
    }

    /// Width and height.
    pub fn format(&self) -> FrameFormat {
        FrameFormat::new(self.width, self.height)
    }
}
