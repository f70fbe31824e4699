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

static CONTEXTS: RwLock<Option<HashMap<u64, Context>>> = RwLock::new(None);
static NEXT_CONTEXT: AtomicU64 = AtomicU64::new(1);

#[derive(Clone)]
struct Context {
    callbacks: Arc<dyn Callbacks>,
    /// None for a plan, or what streams share.
    speaker: Option<Speaker>,
}

/// A stream that may tell its user something.
#[derive(Clone)]
struct Speaker {
    part: Option<Arc<str>>,
}

/// What a stream has to tell its user, or no longer has.
#[derive(Clone, Copy, Debug)]
pub struct Said<'a> {
    /// The number of the table that it was said with. When that goes, so does what was said.
    pub by: u64,
    /// By which name the pipeline opened the one that says it; none for the pipeline itself.
    pub part: Option<&'a str>,
    /// Which notice of that one it is.
    pub topic: &'a str,
    /// Of any length and content; empty when it does not hold any more.
    pub text: &'a str,
}

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

    /// What a stream has to tell its user.
    fn notice(&self, _said: Said<'_>) {}

    /// The table of this number is gone, and nothing that was said with it holds any more.
    fn gone(&self, _by: u64) {}

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
    /// For a plan, or what streams share. Directs a plugin's calls to `callbacks`. Folders must be UTF-8; others are passed
    /// with replacement characters.
    pub fn new(callbacks: Arc<dyn Callbacks>, environment: &Environment) -> Self {
        Self::of(Context { callbacks, speaker: None }, environment)
    }

    /// The same for one stream, which may tell its user something. `part` is the name by which a pipeline opens it.
    pub fn of_stream(
        callbacks: Arc<dyn Callbacks>,
        environment: &Environment,
        part: Option<&str>,
    ) -> Self {
        let speaker = Some(Speaker { part: part.map(Arc::from) });
        Self::of(Context { callbacks, speaker }, environment)
    }

    fn of(context: Context, environment: &Environment) -> Self {
        let id = NEXT_CONTEXT.fetch_add(1, Ordering::Relaxed);
        let mut contexts = CONTEXTS.write().unwrap_or_else(PoisonError::into_inner);
        contexts.get_or_insert_default().insert(id, context);
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
            notice: Some(notice),
        }
    }
}

impl Drop for HostContext {
    fn drop(&mut self) {
        let mut contexts = CONTEXTS.write().unwrap_or_else(PoisonError::into_inner);
        let context = contexts.get_or_insert_default().remove(&self.id);
        // Whatever the callbacks do, they may look for others.
        drop(contexts);
        if let Some(Context { callbacks, speaker: Some(_) }) = context {
            callbacks.gone(self.id);
        }
    }
}

/// Whom the calls of a plugin with this context end in; none when the context is gone.
pub(super) fn find(context: u64) -> Option<Arc<dyn Callbacks>> {
    find_context(context).map(|context| context.callbacks)
}

fn find_context(context: u64) -> Option<Context> {
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

unsafe extern "C" fn notice(context: u64, topic: SdhBytes, text: SdhBytes) {
    let Some(Context { callbacks, speaker }) = find_context(context) else { return };
    // SAFETY: the plugin's promise (abi.rs).
    let (Some(topic), Some(text)) = (unsafe { line(topic) }, unsafe { line(text) }) else { return };
    match speaker {
        Some(Speaker { part }) => {
            callbacks.notice(Said { by: context, part: part.as_deref(), topic, text });
            if find_context(context).is_none() {
                // It was closed meanwhile, which may have been told before.
                callbacks.gone(context);
            }
        }
        None if text.is_empty() => {}
        None => callbacks.log(LogLevel::Warn, text),
    }
}
