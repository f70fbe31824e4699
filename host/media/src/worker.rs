//! A codec thread and its end.

use std::thread::JoinHandle;

/// Joins its thread when dropped: on tokio's blocking threads if dropped by a task, which must not wait for a codec.
/// Whoever owns a worker closes what the thread waits on first.
pub(crate) struct Worker(Option<JoinHandle<()>>);

impl Worker {
    /// Starts a named thread; the kernel keeps 15 bytes of the name.
    pub fn start(name: &str, body: impl FnOnce() + Send + 'static) -> std::io::Result<Self> {
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(body)
            .map(|thread| Self(Some(thread)))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let Some(thread) = self.0.take() else { return };
        let join = move || {
            if thread.join().is_err() {
                tracing::error!("a codec thread panicked");
            }
        };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(join)),
            Err(_) => join(),
        }
    }
}
