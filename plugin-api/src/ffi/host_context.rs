//! The host's end of its callbacks: C functions that find a Rust object by number.
//!
//! A plugin may keep the table and call it at any time, so the context is a number and not a pointer: once the object is
//! gone, calls find nothing.

use super::calls::{HostTable, write_text};
use super::export::last_error;
use super::lending;
use super::loader::Library;
use super::read::{bytes_of, read_text};
use crate::abi::{
    SDH_ABI_MINOR, SDH_LOG_DEBUG, SDH_LOG_ERROR, SDH_LOG_INFO, SDH_LOG_WARN, SdhBytes, SdhHost,
};
use crate::{Environment, Error, Feature, LogLevel};
use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

/// Greatest log line, progress text or metric name that is passed on, in bytes.
const MAX_LINE: usize = 2000;

static CONTEXTS: RwLock<Option<HashMap<u64, Arc<dyn Callbacks>>>> = RwLock::new(None);
static NEXT_CONTEXT: AtomicU64 = AtomicU64::new(1);

/// What a plugin's calls of the host end in. Called from any thread.
pub trait Callbacks: Send + Sync + 'static {
    /// A log line.
    fn log(&self, level: LogLevel, text: &str);
    /// How far loading is, 0 to 1, and what is being done.
    fn progress(&self, fraction: f32, what: &str);
    /// Whether the current work is to be given up.
    fn is_cancelled(&self) -> bool;
    /// A measured value.
    fn metric(&self, name: &str, value: f64);

    /// What the plugin asks for by name and another one has; an error says why it cannot have it.
    fn lent(&self, feature: Feature, name: &str) -> Result<Lendable, Error> {
        Err(Error::invalid(format!("the {} `{name}` cannot be opened here", feature.noun())))
    }

    /// A call of one that is lent begins, unless there is a reason that it must not.
    fn calls(&self, _name: &str) -> Result<(), Error> {
        Ok(())
    }

    /// The call that began last on this thread has ended.
    fn called(&self, _name: &str, _took: Duration, _error: Option<&Error>) {}
}

/// What is lent to another plugin.
pub struct Lendable {
    /// What has it.
    pub library: Arc<Library>,
    /// The params that its schema names; none where it has no schema, and takes any.
    pub params: Option<Vec<String>>,
}

/// A host table for one pipeline or stream. Dropping it ends the callbacks.
pub struct HostContext {
    id: u64,
    models_dir: String,
    engines_dir: String,
    cache_dir: String,
    threads: u32,
}

impl HostContext {
    /// Directs a plugin's calls to `callbacks`. Folders must be UTF-8; others are passed with replacement characters.
    pub fn new(callbacks: Arc<dyn Callbacks>, environment: &Environment) -> Self {
        let id = NEXT_CONTEXT.fetch_add(1, Ordering::Relaxed);
        let mut contexts = CONTEXTS.write().unwrap_or_else(PoisonError::into_inner);
        contexts.get_or_insert_default().insert(id, callbacks);
        let text = |path: &Path| path.to_string_lossy().into_owned();
        Self {
            id,
            models_dir: text(&environment.models_dir),
            engines_dir: text(&environment.engines_dir),
            cache_dir: text(&environment.cache_dir),
            threads: environment.threads.max(1),
        }
    }
}

impl HostTable for HostContext {
    fn table(&self) -> SdhHost {
        SdhHost {
            size: size_of::<SdhHost>() as u32,
            abi_minor: SDH_ABI_MINOR,
            context: self.id,
            log: Some(log),
            progress: Some(progress),
            is_cancelled: Some(is_cancelled),
            metric: Some(metric),
            write_text: Some(write_text),
            models_dir: bytes_of(self.models_dir.as_bytes()),
            engines_dir: bytes_of(self.engines_dir.as_bytes()),
            cache_dir: bytes_of(self.cache_dir.as_bytes()),
            threads: self.threads,
            reserved: 0,
            get_feature: Some(lending::get_feature),
            last_error: Some(last_error),
        }
    }
}

impl Drop for HostContext {
    fn drop(&mut self) {
        let mut contexts = CONTEXTS.write().unwrap_or_else(PoisonError::into_inner);
        contexts.get_or_insert_default().remove(&self.id);
    }
}

/// Whom the calls of a plugin with this context end in; none when the context is gone.
pub(super) fn find(context: u64) -> Option<Arc<dyn Callbacks>> {
    let contexts = CONTEXTS.read().unwrap_or_else(PoisonError::into_inner);
    contexts.as_ref()?.get(&context).cloned()
}

/// A plugin's line, cut to a bearable length; none when it is not UTF-8.
///
/// # Safety
/// `text` is valid during the call.
unsafe fn line<'a>(text: SdhBytes) -> Option<&'a str> {
    // SAFETY: the caller's promise.
    let text = unsafe { read_text(text) }.ok()?;
    Some(&text[..text.floor_char_boundary(MAX_LINE)])
}

unsafe extern "C" fn log(context: u64, level: u32, text: SdhBytes) {
    let level = match level {
        SDH_LOG_ERROR => LogLevel::Error,
        SDH_LOG_WARN => LogLevel::Warn,
        SDH_LOG_INFO => LogLevel::Info,
        SDH_LOG_DEBUG => LogLevel::Debug,
        _ => return,
    };
    // SAFETY: the plugin's promise (abi.rs).
    if let (Some(callbacks), Some(text)) = (find(context), unsafe { line(text) }) {
        callbacks.log(level, text);
    }
}

unsafe extern "C" fn progress(context: u64, fraction: f64, what: SdhBytes) {
    // SAFETY: the plugin's promise (abi.rs).
    if let (Some(callbacks), Some(what)) = (find(context), unsafe { line(what) }) {
        let fraction = if fraction.is_nan() { 0.0 } else { fraction.clamp(0.0, 1.0) };
        callbacks.progress(fraction as f32, what);
    }
}

unsafe extern "C" fn is_cancelled(context: u64) -> u32 {
    find(context).is_none_or(|callbacks| callbacks.is_cancelled()).into()
}

unsafe extern "C" fn metric(context: u64, name: SdhBytes, value: f64) {
    // SAFETY: the plugin's promise (abi.rs).
    if let (Some(callbacks), Some(name)) = (find(context), unsafe { line(name) }) {
        callbacks.metric(name, value);
    }
}
