//! A pipeline as the runtime drives it, wherever it runs.

use crate::{ClaimRef, Frame, FramePool, FrameSize};
use serde_json::{Map, Value};
use std::fmt;
use std::sync::Arc;

/// What a pipeline takes and gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Formats {
    pub input: FrameSize,
    pub output: FrameSize,
}

/// A stream's wish for a pipeline.
pub struct OpenRequest {
    pub claim: ClaimRef,
    /// From the plan; frame memory is laid out for them before anything is loaded.
    pub formats: Formats,
}

/// A pipeline that is not loaded yet, and where its input frames are to be written.
pub struct Opened {
    pub pipeline: Box<dyn Pipeline>,
    pub input: Arc<dyn FramePool>,
}

/// How far loading is.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    /// 0 to 1.
    pub fraction: f32,
    pub what: String,
}

/// A value that a plugin measured; the name carries its unit, as in `unet_ms`.
#[derive(Clone, Debug, PartialEq)]
pub struct Metric {
    pub name: String,
    pub value: f64,
}

/// An image processor that the pipeline goes on without.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SwitchedOff {
    pub name: String,
    /// The plugin that has it; none where nobody has.
    pub plugin: Option<String>,
    pub reason: String,
}

/// What a pipeline, or something that it opened, tells the stream's user: it works, but not as asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Who says it: the plugin of the pipeline, or the name by which that opened another.
    pub part: String,
    /// One line, bounded in length.
    pub text: String,
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { part, text } = self;
        write!(f, "{part}: {text}")
    }
}

/// One stream's pipeline. All calls block and come from one thread; after an error that `needs_restart`, `load` starts
/// it anew.
pub trait Pipeline: Send {
    /// Starts the worker if need be, loads weights and opens the stream.
    fn load(
        &mut self,
        params: &Map<String, Value>,
        on_progress: &mut dyn FnMut(Progress),
    ) -> Result<(), PipelineError>;

    /// Applies hot params. The next processed frame uses them.
    fn update(&mut self, params: &Map<String, Value>) -> Result<(), PipelineError>;

    /// One frame through the pipeline; none when the pipeline skipped it and the last output still stands.
    fn process(&mut self, frame: Frame) -> Result<Option<Frame>, PipelineError>;

    /// What the plugin measured while it made the last picture.
    fn metrics(&self) -> &[Metric] {
        &[]
    }

    /// The image processors that failed, as long as the params name them.
    fn switched_off(&self) -> &[SwitchedOff] {
        &[]
    }

    /// What holds now.
    fn notices(&self) -> &[Notice] {
        &[]
    }

    /// Another thread's way to end a call that is under way, when the stream is deleted.
    fn canceller(&self) -> Arc<dyn Fn() + Send + Sync>;

    /// The worker process, for operators and measurements; none while none runs.
    fn worker_pid(&self) -> Option<u32>;
}

/// Why a call of a pipeline failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PipelineError {
    /// The plugin answered with an error; it goes on working.
    #[error("{message}")]
    Failed { message: String },
    /// The plugin cannot load with these params, and trying again would not help.
    #[error("{message}")]
    CannotLoad { message: String },
    #[error("plugin {plugin} ended its worker: {how}")]
    Died { plugin: String, how: String },
    #[error("plugin {plugin} did not answer for {seconds} s while {doing}")]
    Hung { plugin: String, seconds: u64, doing: &'static str },
    #[error("plugin {plugin} broke the protocol: {what}")]
    Protocol { plugin: String, what: String },
    #[error("cancelled")]
    Cancelled,
}

impl PipelineError {
    /// Whether the pipeline must be loaded again before it can be used.
    pub fn needs_restart(&self) -> bool {
        matches!(self, Self::Died { .. } | Self::Hung { .. } | Self::Protocol { .. })
    }

    /// The plugin that ended or hung, or broke the protocol, which may be one that the pipeline's was calling.
    pub fn plugin(&self) -> Option<&str> {
        match self {
            Self::Died { plugin, .. }
            | Self::Hung { plugin, .. }
            | Self::Protocol { plugin, .. } => Some(plugin),
            _ => None,
        }
    }

    /// The same by another plugin that the pipeline was calling.
    pub fn blamed_on(mut self, other: &str) -> Self {
        if let Self::Died { plugin, .. } | Self::Hung { plugin, .. } = &mut self {
            other.clone_into(plugin);
        }
        self
    }
}
