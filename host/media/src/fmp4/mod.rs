//! Fragmented MP4 of a path's units, for HLS and recordings: `frame` takes an access unit apart, `init` and `fragment`
//! write the boxes, `cutter` decides where one fragment ends and the next begins.

mod cutter;
mod fragment;
mod frame;
mod init;

pub(crate) use cutter::{Cuts, Cutter, Made, Part};
pub(crate) use init::Init;

/// Ticks of a second of video. Playlists and browsers tell thousandths without rounding: hls.js fetches parts again whose
/// times do not match to the last digit.
pub(crate) const CLOCK: u32 = 1000;

/// The tracks' numbers.
const VIDEO: u32 = 1;
const AUDIO: u32 = 2;

#[cfg(test)]
mod tests;
