//! Runs streams: one session each, which drives the lifecycle, the pipeline's thread and the frames between media and
//! plugin. Knows neither HTTP nor WebRTC nor how a pipeline is made.

mod agreement;
mod directory;
mod figures;
mod health;
mod identity;
mod inbox;
mod ingress;
mod pipe;
mod plain;
mod runtime;
mod screen;
mod secret;
mod session;
mod shared;
mod view;

pub use host_stream::{Fallback, Phase};
pub use runtime::{Runtime, Settings};
pub use view::{
    ChangeError, FrameFigures, MediaError, NewStream, StreamChange, StreamError, StreamStatus,
    StreamView,
};
