//! What is made of a path's output beside WebRTC: HLS, single pictures, recordings.

use crate::OfferError;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// What an edge answers later.
pub type Pending<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A client of HLS asks for a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HlsRequest {
    /// The last part of its URL.
    pub file: String,
    /// `_HLS_msn`: the answer may wait for this segment,
    pub segment: Option<u64>,
    /// `_HLS_part`: or for this part of it.
    pub part: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HlsFile {
    Playlist(String),
    /// Part of an MP4 file. What is behind one name never changes.
    Media(Arc<[u8]>),
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HlsError {
    #[error("there is no `{file}` in this stream now; its playlist is `index.m3u8`")]
    NoFile { file: String },
    #[error("{reason}")]
    Invalid { reason: &'static str },
    #[error(transparent)]
    Offer(#[from] OfferError),
}

/// How a recording stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recording {
    pub name: String,
    pub started_at: SystemTime,
    /// How much of the output is in it.
    pub length: Duration,
    pub bytes: u64,
    /// Whole files that it left, in order: one, and another whenever the picture's size or the audio changed.
    pub files: Vec<String>,
    /// None while it goes on.
    pub ended: Option<RecordingEnd>,
}

/// Why a recording ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordingEnd {
    /// It was asked to, or the stream was deleted.
    Stopped,
    /// As long or as large as recordings may become.
    Limit(String),
    Failed(String),
}

/// A finished file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedFile {
    pub name: String,
    pub bytes: u64,
    pub modified_at: SystemTime,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    #[error("this stream is being recorded already, as {name}; DELETE the recording first")]
    Already { name: String },
    #[error("this stream is not being recorded")]
    NotRecording,
    #[error("there is no recording of this name; GET …/recordings lists those there are")]
    NoFile,
    #[error("{reason}")]
    NoRoom { reason: String },
    #[error("the files of recordings cannot be reached: {reason}")]
    Files { reason: String },
    #[error(transparent)]
    Offer(#[from] OfferError),
}
