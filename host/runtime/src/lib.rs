//! Runs streams: one session each, which drives the lifecycle, the pipeline's thread and the frames between media and
//! plugin. Knows neither HTTP nor WebRTC nor how a pipeline is made.

mod view;

pub use view::{
    ChangeError, FrameFigures, MediaError, NewStream, Phase, StreamChange, StreamError,
    StreamStatus, StreamView,
};
