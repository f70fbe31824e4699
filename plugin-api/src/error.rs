//! How a plugin says that something went wrong.

use crate::abi;
use std::fmt;

/// What kind of failure it is; it decides what the host does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorCode {
    /// The call failed; the object goes on working.
    Failed,
    /// An argument or parameter is not acceptable; the same call will fail again.
    Invalid,
    /// Given up because the host asked for it.
    Cancelled,
    /// A panic that was caught.
    Panicked,
}

impl ErrorCode {
    /// The status of the C ABI.
    pub fn status(self) -> i32 {
        match self {
            Self::Failed => abi::SDH_FAILED,
            Self::Invalid => abi::SDH_INVALID,
            Self::Cancelled => abi::SDH_CANCELLED,
            Self::Panicked => abi::SDH_PANICKED,
        }
    }

    /// The code of a negative status; unknown ones count as `Failed`.
    pub fn from_status(status: i32) -> Self {
        match status {
            abi::SDH_INVALID => Self::Invalid,
            abi::SDH_CANCELLED => Self::Cancelled,
            abi::SDH_PANICKED => Self::Panicked,
            _ => Self::Failed,
        }
    }
}

/// A failure with a text for people. Any `std::error::Error` turns into one with `?`, its causes joined by `: `.
///
/// ```
/// fn read(path: &std::path::Path) -> Result<Vec<u8>, plugin_api::Error> {
///     if path.extension().is_none() {
///         return Err(plugin_api::Error::invalid(format!("{} has no extension", path.display())));
///     }
///     Ok(std::fs::read(path)?)
/// }
/// assert!(read(std::path::Path::new("/nowhere.txt")).unwrap_err().message.contains("No such file"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// What kind of failure it is.
    pub code: ErrorCode,
    /// What went wrong, where, and what would be right; lower case, no full stop.
    pub message: String,
}

impl Error {
    /// A failure after which the object goes on working.
    pub fn new(message: impl Into<String>) -> Self {
        Self { code: ErrorCode::Failed, message: message.into() }
    }

    /// An argument or parameter that is not acceptable.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self { code: ErrorCode::Invalid, message: message.into() }
    }

    /// Work given up because `Host::is_cancelled` said so.
    pub fn cancelled() -> Self {
        Self { code: ErrorCode::Cancelled, message: "cancelled".into() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

// `Error` itself is no `std::error::Error`, or this would collide with `From<T> for T`.
impl<E: std::error::Error> From<E> for Error {
    fn from(error: E) -> Self {
        let mut message = error.to_string();
        let mut cause = error.source();
        while let Some(inner) = cause {
            message.push_str(": ");
            message.push_str(&inner.to_string());
            cause = inner.source();
        }
        Self::new(message)
    }
}
