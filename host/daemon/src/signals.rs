//! What ends the host: Ctrl+C, and SIGTERM from whoever manages it. A second signal does not wait for the orderly end.

use std::io;
use tokio::signal::unix::{SignalKind, signal};

/// Resolves at the first signal; the handlers are in place when this returns.
pub fn stop() -> io::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        tokio::spawn(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            tracing::warn!("a second signal: ending at once");
            std::process::exit(130);
        });
    })
}
