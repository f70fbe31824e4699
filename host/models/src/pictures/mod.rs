//! Fetches the pictures that params point to, from wherever a client says, and keeps them as PNG files for plugins.
//!
//! Neither the client nor the server that it names is trusted: nothing that is not public is reached, unless the settings
//! allow it (`address`, `source`, `fetch`); what comes is bounded in bytes and time; and of it only pixels are kept
//! (`decode`, `cache`). When to fetch, and who is told, is for whoever calls.

mod address;
mod cache;
mod connection;
pub(crate) mod decode;
mod error;
mod fetch;
mod network;
pub(crate) mod source;
mod tls;

pub use cache::{CacheError, Room};
pub use decode::DecodeError;
pub use error::{FetchError, PictureError};
pub use network::{Doing, Network, SystemNetwork};
pub use source::SourceError;
pub use tls::AuthoritiesError;

use cache::Cache;
use fetch::Fetcher;
use host_ports::{Picture, PictureFetch, PictureStore};
use source::Source;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tracing::{debug, warn};

/// Fetches of all streams at once; more wait.
const MOST_FETCHES: usize = 8;
/// Pictures that are decoded at once: each takes memory, and a core that frames need too.
const MOST_DECODES: usize = 1;

/// What an operator may set.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where pictures are kept.
    pub folder: PathBuf,
    pub room: Room,
    pub rules: Rules,
    pub limits: Limits,
    /// A file of certificates in PEM that are believed beside the built-in authorities.
    pub authorities: Option<PathBuf>,
}

/// Which URLs are taken.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Data URIs alone are taken.
    pub is_offline: bool,
    pub allow_http: bool,
    /// Beside the scheme's own.
    pub ports: Vec<u16>,
    /// Loopback and private networks may be reached.
    pub allow_private: bool,
}

/// How much is taken, and for how long is waited.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Of a file, as it comes.
    pub bytes: usize,
    /// From the first question to the last byte, all redirects included.
    pub total: Duration,
    /// Of one attempt at one address.
    pub connect: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 10 << 20, total: Duration::from_secs(10), connect: Duration::from_secs(3) }
    }
}

/// Why no picture can be fetched at all.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Cache(#[from] CacheError),
    #[error(transparent)]
    Authorities(#[from] AuthoritiesError),
}

/// The pictures of all streams. Clones share them.
#[derive(Clone)]
pub struct Pictures {
    shared: Arc<Shared>,
}

struct Shared {
    rules: Rules,
    limits: Limits,
    fetcher: Fetcher,
    cache: Cache,
    fetches: Semaphore,
    decodes: Arc<Semaphore>,
}

impl Pictures {
    /// Reads the folder, which may take a moment.
    pub fn open(settings: Settings) -> Result<Self, OpenError> {
        Self::open_with(settings, Arc::new(SystemNetwork::default()))
    }

    /// The same in another network.
    pub fn open_with(settings: Settings, network: Arc<dyn Network>) -> Result<Self, OpenError> {
        let Settings { folder, room, rules, limits, authorities } = settings;
        let tls = tls::client_config(authorities.as_deref())?;
        let fetcher = Fetcher { rules: rules.clone(), limits, network, tls };
        let shared = Shared {
            rules,
            limits,
            fetcher,
            cache: Cache::open(&folder, room)?,
            fetches: Semaphore::new(MOST_FETCHES),
            decodes: Arc::new(Semaphore::new(MOST_DECODES)),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The same as [`PictureStore::check`], with the reason as a value.
    pub fn judge(&self, text: &str) -> Result<(), SourceError> {
        let Shared { rules, limits, .. } = &*self.shared;
        match source::read(text, rules, limits.bytes)? {
            Source::Url(_) => Ok(()),
            Source::Data(bytes) => decode::look(&bytes).map_err(SourceError::Data),
        }
    }

    /// The same as [`PictureStore::fetch`], with the reason as a value.
    pub async fn take(&self, text: &str, recall: bool) -> Result<Picture, PictureError> {
        let shared = &*self.shared;
        let source = source::read(text, &shared.rules, shared.limits.bytes)?;
        if recall && let Some(picture) = shared.cache.recall(text) {
            return Ok(picture);
        }
        let bytes = match source {
            Source::Data(bytes) => bytes,
            Source::Url(url) => {
                // Never closed.
                let _permit = shared.fetches.acquire().await.map_err(|_| PictureError::Ended)?;
                shared.fetcher.fetch(url).await?
            }
        };
        let permit = shared.decodes.clone().acquire_owned().await;
        let permit = permit.map_err(|_| PictureError::Ended)?;
        let (pictures, text) = (self.clone(), text.to_owned());
        let kept = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let png = decode::to_png(&bytes)?;
            Ok(pictures.shared.cache.keep(&text, &png)?)
        });
        kept.await.unwrap_or(Err(PictureError::Ended))
    }
}

impl PictureStore for Pictures {
    fn check(&self, source: &str) -> Result<(), host_ports::PictureError> {
        let told = |error: SourceError| host_ports::PictureError { message: error.to_string() };
        self.judge(source).map_err(told)
    }

    fn fetch(&self, source: Arc<str>, recall: bool) -> PictureFetch {
        let pictures = self.clone();
        Box::pin(async move { pictures.take(&source, recall).await.map_err(|error| tell(&error)) })
    }
}

/// The log has the causes, which may name what only the operator is to know.
fn tell(error: &PictureError) -> host_ports::PictureError {
    match error {
        PictureError::Cache(_) | PictureError::Ended => {
            warn!(error = error as &dyn std::error::Error, "picture not kept");
        }
        _ => debug!(error = error as &dyn std::error::Error, "picture not fetched"),
    }
    host_ports::PictureError { message: error.to_string() }
}
