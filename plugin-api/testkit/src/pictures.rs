//! Pictures to try a stream with, in memory with guarded ends.

use plugin_api::loader::LoadedStream;
use plugin_api::{Error, Formats, Frame, FrameFormat, FrameMut, Outcome, PIXEL_BYTES};

/// Bytes before and after an output picture that must stay as they are.
const GUARD: usize = 4096;
const GUARD_BYTE: u8 = 0xA5;

/// What came of a frame.
pub(crate) struct Made {
    pub(crate) outcome: Outcome,
    /// The input that the output says it shows.
    pub(crate) source: (u64, u64),
}

/// Puts a picture through a stream with rows that are `padding` bytes longer than they need be.
pub(crate) fn process(
    stream: &mut LoadedStream,
    formats: Formats,
    padding: usize,
    (id, captured_ns): (u64, u64),
) -> Result<Made, Error> {
    let (from, to) = (formats.input, formats.output);
    let stride = |format: FrameFormat| format.width as usize * PIXEL_BYTES + padding;
    // The last row has no padding: the least that the ABI allows.
    let length = |format: FrameFormat| stride(format) * format.height as usize - padding;
    let source: Vec<u8> = (0..length(from)).map(|at| (at % 251) as u8).collect();
    let mut target = vec![GUARD_BYTE; length(to) + 2 * GUARD];
    let input = Frame {
        id,
        captured_ns,
        width: from.width,
        height: from.height,
        stride: stride(from),
        pixels: &source,
    };
    let end = target.len() - GUARD;
    let mut output = FrameMut {
        id,
        captured_ns,
        width: to.width,
        height: to.height,
        stride: stride(to),
        pixels: &mut target[GUARD..end],
    };
    let outcome = stream.process(&input, &mut output)?;
    let source = (output.id, output.captured_ns);
    if target[..GUARD].iter().chain(&target[end..]).any(|byte| *byte != GUARD_BYTE) {
        return Err(Error::new("the plugin wrote outside its picture"));
    }
    Ok(Made { outcome, source })
}
