//! A WebRTC client for tests: publishes a clip, or plays and counts, over real sockets. Which server answers its offers,
//! and how they get there, is the caller's matter.

// A test may stop where it stands.
#![allow(clippy::unwrap_used)]

mod client;
mod network;
mod sound;
mod step;
mod video;

pub use client::{Answered, Client, Link, Publisher};
pub use network::{Network, Weather};
pub use sound::{Sound, hear, share};
pub use step::{Lags, lags};
pub use str0m::media::MediaData;
pub use video::{Clip, Codec, Picture, decode};

use std::time::Duration;

/// Long enough for a busy machine; tests end as soon as what they wait for happens.
pub const PATIENCE: Duration = Duration::from_secs(60);
