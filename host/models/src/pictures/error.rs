//! Why a picture was not fetched. Told to the client that named it, who may be after what lies inside this network: no
//! address is in it that the client did not write, and nothing of an answer but its status.

use super::cache::CacheError;
use super::decode::DecodeError;
use super::source::SourceError;
use std::io;
use std::time::Duration;

#[derive(Debug, thiserror::Error)]
pub enum PictureError {
    #[error("it {0}")]
    Source(#[from] SourceError),
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error("it is no picture that can be used: {0}")]
    Decode(#[from] DecodeError),
    /// The path is for the log alone.
    #[error("this server could not keep it; its log says why")]
    Cache(#[from] CacheError),
    #[error("this server failed at it; its log says why")]
    Ended,
}

#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error("the name of its host is not known")]
    UnknownName(#[source] io::Error),
    #[error("the name of its host does not lead to public addresses alone")]
    NotPublic,
    #[error("its host takes no connection")]
    Connect(#[source] io::Error),
    #[error("its host took no connection within {} s", .0.as_secs_f32())]
    ConnectTooSlow(Duration),
    #[error("its host has no certificate for this name that this server trusts")]
    Tls(#[source] io::Error),
    #[error("it was not there within {} s (`pictures.timeout_seconds`)", .0.as_secs_f32())]
    TooSlow(Duration),
    #[error("its host does not answer in HTTP/1.1")]
    NotHttp(#[source] hyper::Error),
    #[error("the head of the answer is longer than {limit} bytes")]
    HeadTooLarge { limit: usize },
    #[error("the connection ended before the whole answer was there")]
    Broken(#[source] hyper::Error),
    #[error("it was answered with status {0}; 200 would be right")]
    Status(u16),
    #[error("it is sent compressed, which was not asked for")]
    Encoded,
    #[error("it is larger than {limit} bytes (`pictures.max_kib`)")]
    TooLarge { limit: usize },
    #[error("it redirects to nowhere")]
    NoTarget,
    #[error("it redirects from https:// to http://")]
    Downgrade,
    #[error("it redirects to somewhere else, which {0}")]
    Redirect(#[source] SourceError),
    #[error("it redirects more than {limit} times")]
    TooManyRedirects { limit: usize },
}
