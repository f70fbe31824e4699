//! What host and worker say to each other: postcard in packets, checked on arrival.

use plugin_api::ErrorCode;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Host to worker, on the control socket.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ToWorker {
    /// The first message: which library to open. Comes with the memory for the worker's notes. Answered by `Started` or
    /// `Failed`.
    Start(Start),
    /// Comes with a stream's socket and its frame memory. Answered on that socket.
    OpenStream(OpenStream),
    /// Answered by `Planned` or `Failed`.
    Plan {
        pipeline: String,
        values: String,
        previous: Option<String>,
        /// That either of the params names.
        processors: Vec<Offered>,
    },
}

/// An image processor that a pipeline may ask for, and the library that has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Offered {
    pub name: String,
    /// The plugin's id.
    pub plugin: String,
    pub library: LibraryFile,
}

/// A library to open.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct LibraryFile {
    pub path: String,
    /// SHA-256 of the manifest in the library's section, hexadecimal.
    pub manifest_hash: String,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Start {
    pub library: LibraryFile,
    pub models_dir: String,
    pub engines_dir: String,
    pub cache_dir: String,
    pub threads: u32,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct OpenStream {
    /// Index of the claim in the manifest.
    pub claim: u32,
    pub values: String,
    pub layout: MemoryLayout,
    /// Its place in the worker's notes.
    pub seat: u32,
    pub processors: Vec<Offered>,
    /// Those that ended a worker before: names and reasons.
    pub switched_off: Vec<(String, String)>,
}

/// Worker to host, on the control socket.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum FromWorker {
    Started,
    Planned(String),
    Failed { message: String },
}

/// Host to worker, on a stream's socket. Closing the socket closes the stream, also while it is opened.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ToStream {
    Update { values: String, processors: Vec<Offered> },
    Process { input: u32, output: u32, id: u64, captured_ns: u64 },
}

/// Worker to host, on a stream's socket.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum FromStream {
    Progress {
        fraction: f32,
        what: String,
    },
    Opened {
        input: (u32, u32),
        output: (u32, u32),
    },
    Updated,
    /// Comes before the answer: this image processor is not called any more.
    SwitchedOff {
        name: String,
        reason: String,
    },
    /// Comes before the answer where they have changed: all that hold.
    Notices(Vec<Notice>),
    /// The output slot is filled; the picture is that of the input frame `id`.
    Produced {
        id: u64,
        /// What the plugin measured meanwhile: names and values.
        metrics: Vec<(String, f64)>,
    },
    Skipped,
    Failed {
        code: Code,
        message: String,
    },
}

/// What a plugin tells the stream's user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Notice {
    /// The name of the one that says it; none for the pipeline itself.
    pub part: Option<String>,
    pub text: String,
}

/// `plugin_api::ErrorCode` on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Code {
    Failed,
    Invalid,
    Cancelled,
    Panicked,
}

impl From<ErrorCode> for Code {
    fn from(code: ErrorCode) -> Self {
        match code {
            ErrorCode::Invalid => Self::Invalid,
            ErrorCode::Cancelled => Self::Cancelled,
            ErrorCode::Panicked => Self::Panicked,
            _ => Self::Failed,
        }
    }
}

/// Where the slots of a stream's memory lie.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct MemoryLayout {
    pub input: SlotLayout,
    pub output: SlotLayout,
}

impl MemoryLayout {
    pub(crate) fn total_bytes(&self) -> u64 {
        self.output.end()
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct SlotLayout {
    pub count: u32,
    /// Of the first slot, in bytes.
    pub offset: u64,
    /// From one slot to the next, in bytes.
    pub distance: u64,
    pub width: u32,
    pub height: u32,
    pub stride: u64,
    /// Of one picture.
    pub bytes: u64,
}

impl SlotLayout {
    pub(crate) fn end(&self) -> u64 {
        self.offset + self.distance * u64::from(self.count)
    }

    pub(crate) fn range(&self, index: u32) -> Range<usize> {
        let start = (self.offset + self.distance * u64::from(index)) as usize;
        start..start + self.bytes as usize
    }
}
