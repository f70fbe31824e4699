//! Where the pictures come from that params point to.

use std::any::Any;
use std::pin::Pin;
use std::sync::Arc;

/// Fetches pictures to where plugins can read them, and lets nothing through that is not a plain picture.
pub trait PictureStore: Send + Sync {
    /// What is wrong with a source, an HTTPS URL or a data URI, as far as its text alone tells. Takes as long as reading it.
    fn check(&self, source: &str) -> Result<(), PictureError>;

    /// Fetches the picture. `recall` is for a stream that had it before: what the same source gave then will do. To be
    /// polled on tokio; dropping it gives the fetch up.
    fn fetch(&self, source: Arc<str>, recall: bool) -> PictureFetch;
}

/// A fetch under way.
pub type PictureFetch = Pin<Box<dyn Future<Output = Result<Picture, PictureError>> + Send>>;

/// A picture that is on this machine for as long as somebody has this.
#[derive(Clone)]
pub struct Picture {
    path: Arc<str>,
    _keep: Arc<dyn Any + Send + Sync>,
}

impl Picture {
    /// `keep` is what the store knows its use by.
    pub fn new(path: impl Into<Arc<str>>, keep: Arc<dyn Any + Send + Sync>) -> Self {
        Self { path: path.into(), _keep: keep }
    }

    /// Absolute path of a PNG.
    pub fn path(&self) -> &str {
        &self.path
    }
}

/// Why a picture was not fetched, or will not be: for whoever named it. Says nothing of what an answer contained.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct PictureError {
    pub message: String,
}
