//! Frames that come over the boundary, checked against what the stream works with.

use super::read::read_versioned;
use crate::abi::{SDH_RGB8, SdhFrame, SdhFrameMut};
use crate::frame::PIXEL_BYTES;
use crate::{Error, FrameFormat, MAX_SIDE};

/// Borrows an input frame.
///
/// # Safety
/// `frame` is null or points to a frame whose pixels nobody writes during the call.
pub(super) unsafe fn read_frame<'a>(
    frame: *const SdhFrame,
    expected: FrameFormat,
) -> Result<crate::Frame<'a>, Error> {
    // SAFETY: the caller's promise.
    let frame = unsafe { read_versioned(frame, size_of::<SdhFrame>()) }?;
    let SdhFrame { format, width, height, stride, length, .. } = frame;
    let (stride, length) = check_frame(expected, format, (width, height), stride, length)?;
    if frame.pixels.is_null() {
        return Err(Error::invalid("input.pixels is null"));
    }
    // SAFETY: the caller's promise; `check_frame` found the length possible.
    let pixels = unsafe { std::slice::from_raw_parts(frame.pixels, length) };
    let (id, captured_ns) = (frame.id, frame.captured_ns);
    Ok(crate::Frame { id, captured_ns, width, height, stride, pixels })
}

/// Borrows an output frame.
///
/// # Safety
/// `frame` is null or points to a frame whose pixels nobody else touches during the call.
pub(super) unsafe fn read_frame_mut<'a>(
    frame: *const SdhFrameMut,
    expected: FrameFormat,
) -> Result<crate::FrameMut<'a>, Error> {
    // SAFETY: the caller's promise.
    let frame = unsafe { read_versioned(frame, size_of::<SdhFrameMut>()) }?;
    let SdhFrameMut { format, width, height, stride, length, .. } = frame;
    let (stride, length) = check_frame(expected, format, (width, height), stride, length)?;
    if frame.pixels.is_null() {
        return Err(Error::invalid("output.pixels is null"));
    }
    // SAFETY: the caller's promise; `check_frame` found the length possible.
    let pixels = unsafe { std::slice::from_raw_parts_mut(frame.pixels, length) };
    let (id, captured_ns) = (frame.id, frame.captured_ns);
    Ok(crate::FrameMut { id, captured_ns, width, height, stride, pixels })
}

/// Checks a frame's numbers against the stream's format and each other; returns stride and length.
fn check_frame(
    expected: FrameFormat,
    format: u32,
    (width, height): (u32, u32),
    stride: u64,
    length: u64,
) -> Result<(usize, usize), Error> {
    if format != SDH_RGB8 {
        return Err(Error::invalid(format!(
            "pixel format {format} is unknown; SDH_RGB8 is {SDH_RGB8}"
        )));
    }
    if (width, height) != (expected.width, expected.height) {
        let got = FrameFormat::new(width, height);
        return Err(Error::invalid(format!(
            "the frame is {got}, this stream works with {expected}"
        )));
    }
    if width == 0 || height == 0 || width > MAX_SIDE || height > MAX_SIDE {
        return Err(Error::invalid(format!("the frame is {expected}; sides are 1 to {MAX_SIDE}")));
    }
    let row = u64::from(width) * PIXEL_BYTES as u64;
    let least = stride.checked_mul(u64::from(height) - 1).and_then(|rows| rows.checked_add(row));
    match least {
        Some(least) if stride >= row && length >= least && length <= isize::MAX as u64 => {
            Ok((stride as usize, length as usize))
        }
        _ => Err(Error::invalid(format!(
            "a frame of {expected} with a stride of {stride} does not fit {length} bytes"
        ))),
    }
}
