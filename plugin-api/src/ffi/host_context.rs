//! The host's end of its callbacks: C functions that find a Rust object by number.
//!
//! A plugin may keep the table and call it at any time, so the context is a number and not a pointer: once the object is
//! gone, calls find nothing.

use super::read::{bytes_of, read_bytes, read_text};
use crate::abi::{
    SDH_ABI_MINOR, SDH_INVALID, SDH_LOG_DEBUG, SDH_LOG_ERROR, SDH_LOG_INFO, SDH_LOG_WARN, SDH_OK,
    SdhBytes, SdhHost, SdhText,
};
use crate::{Environment, LogLevel};
use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

/// Greatest text that a plugin may write with `write_text`, in bytes.
const MAX_TEXT: usize = 64 << 10;
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

    /// The table; its texts live as long as `self`.
    pub(super) fn table(&self) -> SdhHost {
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
        }
    }
}

impl Drop for HostContext {
    fn drop(&mut self) {
        let mut contexts = CONTEXTS.write().unwrap_or_else(PoisonError::into_inner);
        contexts.get_or_insert_default().remove(&self.id);
    }
}

/// What a plugin writes with `write_text`.
#[derive(Default)]
pub(super) struct TextBuffer {
    bytes: Vec<u8>,
}

impl TextBuffer {
    /// The handle for the plugin, valid as long as `self` is not touched otherwise.
    pub(super) fn handle(&mut self) -> *mut SdhText {
        std::ptr::from_mut(self).cast()
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

fn find(context: u64) -> Option<Arc<dyn Callbacks>> {
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

unsafe extern "C" fn write_text(text: *mut SdhText, bytes: SdhBytes) -> i32 {
    // SAFETY: the plugin's promise (abi.rs).
    let Ok(bytes) = (unsafe { read_bytes(bytes) }) else { return SDH_INVALID };
    if text.is_null() {
        return SDH_INVALID;
    }
    // SAFETY: by its promise the plugin hands back the handle that the current call gave it, made by `TextBuffer::handle`.
    let buffer = unsafe { &mut *text.cast::<TextBuffer>() };
    if buffer.bytes.len().saturating_add(bytes.len()) > MAX_TEXT {
        return SDH_INVALID;
    }
    buffer.bytes.extend_from_slice(bytes);
    SDH_OK
}
