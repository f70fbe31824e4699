//! Runs streams: one session each, which drives the lifecycle, the pipeline's thread and the frames between media and
//! plugin. Knows neither HTTP nor WebRTC nor how a pipeline is made.

mod agreement;
mod beside;
mod budget;
mod changed;
mod chronicle;
mod directory;
mod events;
mod figures;
mod health;
mod identity;
mod inbox;
mod ingress;
mod outputs;
mod pipe;
mod plain;
mod runtime;
mod screen;
mod secret;
mod session;
mod shared;
mod supply;
mod tally;
mod video;
mod view;
mod waiting;

pub use agreement::{Draft, draft};
pub use budget::Shortage;
pub use changed::{Applied, Apply, Changed, FieldChange, Forecast, Planned};
pub use events::{EventKind, EventReader, News, StreamEvent, TooManyEventReaders};
pub use host_stream::{Condition, Fallback, Phase, with_host_params};
pub use runtime::{Ports, Runtime, Settings};
pub use tally::PluginFigures;
pub use view::{
    ChangeError, Drops, EventsError, FrameFigures, MediaError, Mode, NewStream, PictureReport,
    PictureState, StreamChange, StreamError, StreamStatus, StreamView,
};
