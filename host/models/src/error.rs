//! Why a pull did not come to its end.

use crate::checksum::Checksum;
use crate::names::{FileName, ModelId, Revision};
use std::io;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Debug, thiserror::Error)]
pub enum PullError {
    #[error(
        "`{id}` is not fetched while HF_HUB_OFFLINE is set; unset it, or copy the model to this machine"
    )]
    Offline { id: ModelId },
    #[error(
        "{endpoint} has no public model `{id}`; look at the name{}", if *has_token {
            ", and whether the token may read it"
        } else {
            ", and set HF_TOKEN to a token that may read it if it is private"
        }
    )]
    NotPublic { id: ModelId, endpoint: String, has_token: bool },
    #[error(
        "{endpoint} does not give `{id}` to {}; accept its licence at {endpoint}/{id}, and set HF_TOKEN to a token that \
         may read it", if *has_token { "this token" } else { "callers without a token" }
    )]
    Gated { id: ModelId, endpoint: String, has_token: bool },
    #[error("{endpoint} has no model `{id}`; look at the name")]
    NoModel { id: ModelId, endpoint: String },
    #[error("`{id}` has no revision `{revision}`; wanted is a branch, a tag or a commit of it")]
    NoRevision { id: ModelId, revision: Revision },
    #[error("`{id}` has no file `{file}` at revision `{revision}`")]
    NoFile { id: ModelId, revision: Revision, file: FileName },
    #[error("{url} asks to come back in {} s, which is longer than is waited; try again then", wait.as_secs())]
    RateLimited { url: String, wait: Duration },
    #[error("{url} answers with status {status}, where 200 was expected")]
    Status { url: String, status: u16 },
    #[error("cannot use the answer of {url}: {why}")]
    Answer { url: String, why: String },
    #[error("`{id}` lists {count} files, more than the {limit} that are taken")]
    TooManyFiles { id: ModelId, count: usize, limit: usize },
    #[error(
        "`{id}` has nothing that a pipeline reads: neither a model_index.json nor .safetensors in its root; name files to \
         have them all the same"
    )]
    NothingChosen { id: ModelId },
    #[error(
        "`{id}` has no .safetensors with a name that is read for `{}`; a folder with `.bin` weights is not fetched, and \
         works where it was copied to `{id}` below the models folder", components.join("`, `")
    )]
    NoWeights { id: ModelId, components: Vec<String> },
    #[error("`{file}` has {got} bytes, but the hub announced {announced}; what came is deleted")]
    WrongSize { file: FileName, announced: u64, got: String },
    #[error(
        "`{file}` has the checksum {got}, but the hub announced {announced}; what came is deleted"
    )]
    WrongChecksum { file: FileName, announced: Checksum, got: Checksum },
    #[error("gave up on {url} after {tries} tries without progress")]
    GaveUp {
        url: String,
        tries: u32,
        #[source]
        source: TransferError,
    },
    #[error("{needed} bytes are still to come, but {} has room for {free}; make room there", folder.display())]
    NoSpace { folder: PathBuf, needed: u64, free: u64 },
    #[error("the disk of {} is full; make room, and the next try goes on from here", path.display())]
    DiskFull { path: PathBuf },
    #[error("cannot {what} {}", path.display())]
    Files {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cancelled; the next try goes on from here")]
    Cancelled,
}

/// What went wrong with one try, and may go well with the next.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    #[error("no answer came")]
    Http(#[source] Box<ureq::Error>),
    #[error("no more bytes came")]
    Read(#[source] io::Error),
    #[error("the connection ended after {got} of {size} bytes")]
    Cut { got: u64, size: u64 },
    #[error("the server answers with status {0}")]
    Status(u16),
    #[error("the server does not go on at byte {from}, as it was asked to: its range is `{range}`")]
    Range { from: u64, range: String },
}

impl PullError {
    /// A full disk is told apart from everything else that can happen to a file.
    pub(crate) fn files(
        what: &'static str,
        path: &std::path::Path,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull { path },
            _ => Self::Files { what, path, source },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn a_full_disk_is_told_apart() {
        // ENOSPC, as a write to /dev/full gives it.
        let full = std::fs::write("/dev/full", "x").expect_err("it takes nothing");
        let error = PullError::files("write", Path::new("/models/x"))(full);
        assert!(matches!(&error, PullError::DiskFull { path } if path == Path::new("/models/x")));
        let other = io::Error::from(io::ErrorKind::PermissionDenied);
        let error = PullError::files("write", Path::new("/models/x"))(other);
        assert_eq!(error.to_string(), "cannot write /models/x");
    }
}
