//! A MediaMTX beside the host, for what the embedded media server leaves to it: many viewers, recording, SRT. Either the
//! host runs it ([`Place::Spawn`]), or somebody else does ([`Place::Attach`]).
//!
//! Each stream has a path `{id}_out` there, which fetches the host's output by WHEP while somebody watches it; and, from
//! version 1.20 on, a path `{id}` that takes a publisher and forwards him to the host by WHIP. What streams there are, and
//! who may publish, is told by others.

mod attach;
mod backoff;
mod beside;
mod binary;
mod child;
mod client;
mod figures;
mod keeper;
mod lines;
mod listeners;
mod paths;
mod spawn;
mod version;
mod written;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use beside::run_beside;
pub use binary::{BinaryError, installed_version};
pub use client::{Access, CallError, Client};
pub use figures::PathFigures;
pub use lines::Chain;
pub use listeners::Ports;
pub use paths::{Forward, PathConfig};
pub use spawn::{API_USER, Spawn};
pub use version::Version;

/// A stream, as far as its paths need it.
#[derive(Clone)]
pub struct Stream {
    pub id: String,
    pub playback_id: String,
    pub stream_key: String,
    /// There is something to watch, and will be from now on.
    pub has_output: bool,
}

/// The host's streams.
pub struct Streams {
    pub list: Box<dyn Fn() -> Vec<Stream> + Send + Sync>,
    /// Wakes whenever one came or went.
    pub news: watch::Receiver<()>,
}

pub struct Config {
    /// Where MediaMTX finds the host: `http://host:port` or `https://host`, without a slash at the end. By it the host knows
    /// its own paths again.
    pub host_url: String,
    /// Below `host_url`, where MediaMTX asks whom to let in; none where the host is not to be asked.
    pub hook_path: Option<String>,
    pub place: Place,
}

pub enum Place {
    Attach(Access),
    Spawn(Spawn),
}

/// Where something is served, by protocol.
pub type Urls = BTreeMap<&'static str, String>;

/// How it does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// It answered when it was last asked.
    pub is_connected: bool,
    pub version: Option<Version>,
    /// By protocol, where the host decides.
    pub urls: Urls,
    /// Of our streams there.
    pub publishers: usize,
    pub readers: usize,
    /// Why it does not answer, or what it does not take.
    pub error: Option<String>,
}

/// A MediaMTX that is kept in step with the host's streams. Dropping it ends one that the host runs.
pub struct MediaMtx {
    report: watch::Receiver<Report>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl MediaMtx {
    /// Must be called inside a tokio runtime, once the host answers at its URL.
    pub fn start(config: Config, streams: Streams) -> Self {
        let (told, report) = watch::channel(Report::default());
        let (stop, stopping) = watch::channel(false);
        let Config { host_url, hook_path, place } = config;
        let host = Arc::new(keeper::Host { url: host_url, hook_path, list: streams.list });
        let wake = Wake { news: streams.news, stopping };
        let task = match place {
            Place::Attach(access) => tokio::spawn(attach::run(access, host, wake, told)),
            Place::Spawn(spawn) => tokio::spawn(spawn::run(spawn, host, wake, told)),
        };
        Self { report, stop, task }
    }

    pub fn report(&self) -> watch::Receiver<Report> {
        self.report.clone()
    }

    /// Takes our paths away, or ends the process.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        if let Err(error) = self.task.await {
            tracing::error!(%error, "what steers MediaMTX ended with a panic");
        }
    }
}

/// What the tasks wait for beside time.
struct Wake {
    news: watch::Receiver<()>,
    stopping: watch::Receiver<bool>,
}

impl Wake {
    fn is_stopping(&self) -> bool {
        // A handle that is gone wants nothing more.
        *self.stopping.borrow() || self.stopping.has_changed().is_err()
    }

    /// Whoever holds the handle wants an end.
    async fn stop(&mut self) {
        // An error means that the handle was dropped.
        let _ = self.stopping.wait_for(|stop| *stop).await;
    }

    /// Waits so long, or until streams come or go, or for an end.
    async fn rest(&mut self, pause: Duration) {
        let Self { news, stopping } = self;
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            // Where nobody tells any more nothing comes or goes.
            Ok(()) = news.changed() => {}
            _ = stopping.wait_for(|stop| *stop) => {}
        }
    }
}
