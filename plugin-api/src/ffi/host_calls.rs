//! The plugin's end of the host's callbacks.

use super::calls::{self, Callee, HostTable};
use super::read::{bytes_of, read_text, read_versioned};
use crate::abi::{
    SDH_LOG_DEBUG, SDH_LOG_ERROR, SDH_LOG_INFO, SDH_LOG_WARN, SDH_OK, SdhHost, SdhText,
};
use crate::{Environment, Error, Feature, Host, LogLevel};
use std::mem::offset_of;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes that every host's table has.
const HOST_SIZE: usize = offset_of!(SdhHost, get_feature);

/// A copy of the host's functions, usable until the process ends.
#[derive(Clone, Debug)]
pub(crate) struct HostCalls {
    table: SdhHost,
}

// SAFETY: the ABI lets host functions be called with their context from any thread, and at the same time; the table's
// texts are read once, before the copy is made, and never through it.
unsafe impl Send for HostCalls {}
// SAFETY: as above.
unsafe impl Sync for HostCalls {}

impl HostCalls {
    pub(crate) fn log(&self, level: LogLevel, text: &str) {
        let level = match level {
            LogLevel::Error => SDH_LOG_ERROR,
            LogLevel::Warn => SDH_LOG_WARN,
            LogLevel::Info => SDH_LOG_INFO,
            LogLevel::Debug => SDH_LOG_DEBUG,
        };
        if let Some(log) = self.table.log {
            // SAFETY: the ABI lets host functions be called with their context from any thread at any time.
            unsafe { log(self.table.context, level, bytes_of(text.as_bytes())) }
        }
    }

    pub(crate) fn progress(&self, fraction: f32, what: &str) {
        if let Some(progress) = self.table.progress {
            let fraction = f64::from(fraction.clamp(0.0, 1.0));
            // SAFETY: as in `log`.
            unsafe { progress(self.table.context, fraction, bytes_of(what.as_bytes())) }
        }
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        // SAFETY: as in `log`.
        self.table
            .is_cancelled
            .is_some_and(|is_cancelled| unsafe { is_cancelled(self.table.context) } != 0)
    }

    pub(crate) fn metric(&self, name: &str, value: f64) {
        if let Some(metric) = self.table.metric {
            // SAFETY: as in `log`.
            unsafe { metric(self.table.context, bytes_of(name.as_bytes()), value) }
        }
    }

    pub(crate) fn notice(&self, topic: &str, text: &str) {
        match self.table.notice {
            Some(notice) => {
                let (topic, text) = (bytes_of(topic.as_bytes()), bytes_of(text.as_bytes()));
                // SAFETY: as in `log`.
                unsafe { notice(self.table.context, topic, text) }
            }
            // An older host, which has nothing but its log to tell the user by.
            None if text.is_empty() => {}
            None => self.log(LogLevel::Warn, text),
        }
    }

    /// What other plugins offer through the host.
    pub(crate) fn offered(&self, feature: Feature) -> Result<Callee, Error> {
        let found = Callee::find(self.table.get_feature, self.table.last_error, feature);
        let found = found.map_err(|what| Error::new(format!("the host's table of {what}")))?;
        found.ok_or_else(|| Error::new(format!("this host offers no {}", feature.id())))
    }

    /// The number by which the host knows who calls.
    #[cfg(feature = "loader")]
    pub(crate) fn context(&self) -> u64 {
        self.table.context
    }

    /// For those that this plugin calls through the host. Texts are written by the one who asks for them.
    fn table_with(&self, environment: &Environment) -> SdhHost {
        let text = |path: &Path| bytes_of(path.as_os_str().as_encoded_bytes());
        SdhHost {
            size: size_of::<SdhHost>() as u32,
            write_text: Some(calls::write_text),
            models_dir: text(&environment.models_dir),
            engines_dir: text(&environment.engines_dir),
            cache_dir: text(&environment.cache_dir),
            ..self.table
        }
    }
}

/// A plugin's handle on the host, given on to what it opens through the host.
pub(crate) struct Lent {
    pub(crate) calls: HostCalls,
    pub(crate) environment: Arc<Environment>,
}

impl HostTable for Lent {
    fn table(&self) -> SdhHost {
        self.calls.table_with(&self.environment)
    }
}

/// Reads the host table given to a call.
///
/// # Safety
/// `host` is null or points to a host table with valid texts.
pub(super) unsafe fn read_host(host: *const SdhHost) -> Result<Host, Error> {
    // SAFETY: the caller's promise.
    let table = unsafe { read_versioned(host, HOST_SIZE) }?;
    let environment = Environment {
        // SAFETY: the caller's promise.
        models_dir: PathBuf::from(unsafe { read_text(table.models_dir) }?),
        // SAFETY: the caller's promise.
        engines_dir: PathBuf::from(unsafe { read_text(table.engines_dir) }?),
        // SAFETY: the caller's promise.
        cache_dir: PathBuf::from(unsafe { read_text(table.cache_dir) }?),
        threads: table.threads.max(1),
    };
    Ok(Host::new(HostCalls { table }, environment))
}

/// Hands a text to the host.
///
/// # Safety
/// `host` is null or points to a host table, `text` came with the same call.
pub(super) unsafe fn write_text(
    host: *const SdhHost,
    text: *mut SdhText,
    content: &str,
) -> Result<(), Error> {
    // SAFETY: the caller's promise.
    let table = unsafe { read_versioned(host, HOST_SIZE) }?;
    let write = table.write_text.ok_or_else(|| Error::invalid("the host has no `write_text`"))?;
    // SAFETY: `text` belongs to this call, by the caller's promise.
    match unsafe { write(text, bytes_of(content.as_bytes())) } {
        SDH_OK => Ok(()),
        status => Err(Error::new(format!("the host did not take the text: status {status}"))),
    }
}
