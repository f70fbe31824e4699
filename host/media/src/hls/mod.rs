//! HLS of a path's output, with low latency for clients that know how: `playlist` is what there is to fetch and the text
//! that says so, `muxer` keeps it up to date while somebody asks for it, `door` answers requests.

mod door;
mod muxer;
mod playlist;

pub(crate) use door::{Hls, answer};
