//! The pure core: the lifecycle of a stream, and its params. Values in, values out: no I/O, thread, lock, clock or
//! randomness, and no dependency on a crate of ours. Time and ids are arguments.

mod condition;
mod fallback;
mod lifecycle;
mod params;

pub use condition::{Condition, Vitals};
pub use fallback::Fallback;
pub use lifecycle::{Backoff, Change, Effect, Event, Lifecycle, LoadId, Phase};
pub use params::{Changes, Checked, ParamError, ParamsSchema, SchemaError, with_host_params};
