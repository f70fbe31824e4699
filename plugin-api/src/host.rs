//! The host as a plugin sees it.

use crate::Environment;
use crate::Error;
use crate::Feature;
use crate::ffi::{Callee, HostCalls, Lent};
use std::sync::Arc;

/// So many topics of one stream's have a notice at a time; see [`Host::notice`].
pub const MAX_NOTICES: usize = 24;
/// Greatest topic of a notice, in bytes.
pub const MAX_NOTICE_TOPIC: usize = 256;
/// Greatest text of a notice, in bytes.
pub const MAX_NOTICE_TEXT: usize = 500;

/// How important a log line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// Someone must act.
    Error,
    /// Degraded, still working.
    Warn,
    /// A few lines in a stream's whole life.
    Info,
    /// Decisions.
    Debug,
}

/// A handle on the host, cheap to clone and usable from any thread of the plugin, for as long as it likes. Once the
/// pipeline or stream that it was given for is closed, its calls do nothing and [`Host::is_cancelled`] is true.
///
/// ```
/// use plugin_api::{Error, Host};
///
/// fn load(host: &Host, files: &[std::path::PathBuf]) -> Result<Vec<Vec<u8>>, Error> {
///     let mut loaded = Vec::new();
///     for (done, file) in files.iter().enumerate() {
///         if host.is_cancelled() {
///             return Err(Error::cancelled());
///         }
///         host.progress(done as f32 / files.len() as f32, &format!("reading {}", file.display()));
///         loaded.push(std::fs::read(host.environment().models_dir.join(file))?);
///     }
///     host.metric("loaded_files", loaded.len() as f64);
///     Ok(loaded)
/// }
/// # assert!(load(&Host::detached(Default::default()), &[]).is_ok());
/// ```
#[derive(Clone, Debug)]
pub struct Host {
    calls: Option<HostCalls>,
    environment: Arc<Environment>,
}

impl Host {
    /// A host that hears nothing and never cancels: for a plugin's own unit tests.
    pub fn detached(environment: Environment) -> Self {
        Self { calls: None, environment: Arc::new(environment) }
    }

    pub(crate) fn new(calls: HostCalls, environment: Environment) -> Self {
        Self { calls: Some(calls), environment: Arc::new(environment) }
    }

    /// Writes a line to the host's log. No prompts and no other content of a user's.
    pub fn log(&self, level: LogLevel, text: &str) {
        if let Some(calls) = &self.calls {
            calls.log(level, text);
        }
    }

    /// Tells how far loading is (0 to 1) and what is being done. It is also the sign of life: loading is ended by the
    /// host when no call comes for a minute (configurable).
    pub fn progress(&self, fraction: f32, what: &str) {
        if let Some(calls) = &self.calls {
            calls.progress(fraction, what);
        }
    }

    /// Whether the current work is to be given up; then return [`crate::Error::cancelled`] soon.
    pub fn is_cancelled(&self) -> bool {
        self.calls.as_ref().is_some_and(HostCalls::is_cancelled)
    }

    /// Reports a measured value. The name carries its unit, as in `unet_ms`; up to 32 a frame, of names up to 64 bytes,
    /// reach the host, and `streamdiffusion-host bench` tells those in `_ms`.
    pub fn metric(&self, name: &str, value: f64) {
        if let Some(calls) = &self.calls {
            calls.metric(name, value);
        }
    }

    /// Tells the user of a stream that it works, but not as asked for, and why. `text` stands in the `warnings` of the stream's
    /// status, with the name of whoever says it, until the same `topic` is given another one, or none as it does not hold
    /// any more, or until the stream is closed. It is for the host that [`crate::Pipeline::open_stream`] is given; that of
    /// `plan` or `open` writes it to the log alone. What goes beyond [`MAX_NOTICES`] topics, [`MAX_NOTICE_TOPIC`] and
    /// [`MAX_NOTICE_TEXT`] is left out or cut. No prompts and no other content of a user's.
    ///
    /// ```
    /// # fn look(host: &plugin_api::Host, faces: usize) {
    /// host.notice("face", (faces == 0).then_some("no face was found in the style image, which adds nothing"));
    /// # }
    /// # look(&plugin_api::Host::detached(Default::default()), 0);
    /// ```
    pub fn notice(&self, topic: &str, text: Option<&str>) {
        if let Some(calls) = &self.calls {
            calls.notice(topic, text.unwrap_or_default());
        }
    }

    /// Folders and thread budget.
    pub fn environment(&self) -> &Environment {
        &self.environment
    }

    /// What other plugins offer.
    pub(crate) fn offered(&self, feature: Feature) -> Result<Callee, Error> {
        self.calls()?.offered(feature)
    }

    /// The same handle for what is called through the host.
    pub(crate) fn lent(&self) -> Result<Lent, Error> {
        Ok(Lent { calls: self.calls()?.clone(), environment: self.environment.clone() })
    }

    /// The number by which the host knows who calls.
    #[cfg(feature = "loader")]
    pub(crate) fn context(&self) -> Option<u64> {
        self.calls.as_ref().map(HostCalls::context)
    }

    fn calls(&self) -> Result<&HostCalls, Error> {
        self.calls.as_ref().ok_or_else(|| Error::new("a detached host offers nothing"))
    }
}

const _: () = {
    const fn is_send_and_sync<T: Send + Sync>() {}
    is_send_and_sync::<Host>();
};
