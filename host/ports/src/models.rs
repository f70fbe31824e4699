//! Where the models come from that plugins need.

use std::fmt;
use std::time::Duration;

/// A model of the hub, or some files of one, that a plugin needs and does not find on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artefact {
    pub model: String,
    pub revision: String,
    /// None: what a pipeline needs of it.
    pub files: Vec<String>,
    /// Whether loading goes on without it.
    pub is_optional: bool,
    /// The warning, or the reason of an unsupported field, that holds only as long as it is missing.
    pub without: String,
}

impl Artefact {
    /// Whether one fetch serves both, though one of them may be needed and the other not.
    pub fn is_same(&self, other: &Self) -> bool {
        let Self { model, revision, files, is_optional: _, without: _ } = self;
        (model, revision, files) == (&other.model, &other.revision, &other.files)
    }
}

/// As people are told of it: the model, or the files and the model.
impl fmt::Display for Artefact {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.files[..] {
            [] => write!(formatter, "`{}`", self.model),
            files => write!(formatter, "`{}` of `{}`", files.join("`, `"), self.model),
        }
    }
}

/// Fetches models to where plugins look for them.
pub trait ModelStore: Send + Sync {
    /// Begins to fetch, or joins those who have the same fetched. Does not wait. `told` is called from another thread, the
    /// last time with [`FetchNews::Ended`]; it must neither block nor call back here. Who drops what is returned is not
    /// told any more, and what nobody waits for is given up; the next fetch goes on from there.
    fn fetch(
        &self,
        artefact: &Artefact,
        told: Box<dyn Fn(FetchNews) + Send + Sync>,
    ) -> Box<dyn Fetch>;

    /// Asks how large a fetch would be. Blocks, for about as long as `limit` at most.
    fn measure(&self, artefact: &Artefact, limit: Duration) -> Result<Size, FetchError>;

    /// What people know the hub by.
    fn hub(&self) -> String;
}

/// A fetch that somebody waits for.
pub trait Fetch: Send {}

#[derive(Clone, Debug, PartialEq)]
pub enum FetchNews {
    Progress(FetchProgress),
    /// The model is where plugins look, or will not be.
    Ended(Result<(), FetchError>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchProgress {
    pub model: String,
    /// What is fetched, or waited for.
    pub what: String,
    /// Of all files of the model.
    pub bytes_done: u64,
    /// 0 while it is not known.
    pub bytes_total: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    pub files: usize,
    /// None where the hub does not tell.
    pub bytes: Option<u64>,
}

/// Why a model was not fetched.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct FetchError {
    pub message: String,
    /// Whether the same may go well later, with nothing changed.
    pub may_pass: bool,
}
