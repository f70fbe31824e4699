//! The stand-in, as a program in a folder of its own, and streams for it.

use host_mediamtx::{Access, Client, Config, MediaMtx, Place, Report, Stream, Streams};
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::watch;

pub const OLD: &str = "v1.5.1";
pub const NEW: &str = "v1.20.1";
pub const HOST: &str = "http://127.0.0.1:8891";
pub const HOOK: &str = "/mediamtx/0123456789abcdef";
/// Longest wait for anything: generous, since test machines are slow at times.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A folder with the program, and what it is to do.
pub struct StandIn {
    folder: TempDir,
    process: Option<Child>,
    pub url: String,
}

impl StandIn {
    /// Not started.
    pub fn installed(behaviour: Value) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let stand_in = Self { folder, process: None, url: String::new() };
        fs::write(stand_in.binary(), include_str!("stand_in.py")).unwrap();
        fs::set_permissions(stand_in.binary(), fs::Permissions::from_mode(0o755)).unwrap();
        stand_in.behave(behaviour);
        stand_in
    }

    /// Answers at `url`.
    pub fn running(behaviour: Value) -> Self {
        let mut stand_in = Self::installed(behaviour);
        stand_in.start("127.0.0.1:0", json!({}));
        stand_in
    }

    pub fn binary(&self) -> PathBuf {
        self.folder.path().join("mediamtx")
    }

    pub fn folder(&self) -> PathBuf {
        self.folder.path().join("settings")
    }

    /// From now on, where it looks.
    pub fn behave(&self, behaviour: Value) {
        let new = self.folder.path().join("behaviour.json.new");
        fs::write(&new, behaviour.to_string()).unwrap();
        fs::rename(new, self.folder.path().join("behaviour.json")).unwrap();
    }

    fn start(&mut self, address: &str, paths: Value) {
        let settings = self.folder.path().join("mediamtx.yml");
        fs::write(&settings, json!({"apiAddress": address, "paths": paths}).to_string()).unwrap();
        let mut command = Command::new(self.binary());
        let mut process = command.arg(settings).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let port =
            lines.find_map(|line| line.unwrap().strip_prefix("ready on ").map(str::to_owned));
        self.url = format!("http://127.0.0.1:{}", port.unwrap());
        self.process = Some(process);
    }

    /// As after a restart: at the same place, with these paths and no others.
    pub fn start_again(&mut self, paths: Value) {
        self.stop();
        let address = self.url.strip_prefix("http://").unwrap().to_owned();
        self.start(&address, paths);
    }

    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    pub fn access(&self) -> Access {
        Access { url: self.url.clone(), user: String::new(), password: String::new() }
    }

    /// Names of its paths, as it tells them.
    pub async fn paths(&self) -> Vec<String> {
        let client = Client::new(&self.access());
        let paths = tokio::task::spawn_blocking(move || client.path_configs()).await.unwrap();
        paths.unwrap().into_iter().map(|path| path.name).collect()
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Streams that come and go as a test wishes.
#[derive(Clone, Default)]
pub struct FakeStreams {
    streams: Arc<Mutex<Vec<Stream>>>,
    news: watch::Sender<()>,
}

impl FakeStreams {
    pub fn set(&self, ids: &[&str]) {
        let stream = |id: &&str| Stream {
            id: (*id).to_owned(),
            playback_id: format!("play_{id}"),
            stream_key: format!("key_{id}"),
            has_output: true,
        };
        *self.streams.lock().unwrap() = ids.iter().map(stream).collect();
        self.news.send_replace(());
    }

    pub fn with(ids: &[&str]) -> Self {
        let streams = Self::default();
        streams.set(ids);
        streams
    }

    pub fn start(&self, place: Place, hook_path: Option<&str>) -> MediaMtx {
        let (streams, news) = (self.streams.clone(), self.news.subscribe());
        let list = Box::new(move || streams.lock().unwrap().clone());
        let hook_path = hook_path.map(str::to_owned);
        let config = Config { host_url: HOST.to_owned(), hook_path, place };
        MediaMtx::start(config, Streams { list, news })
    }
}

/// Waits until what is told of it is as it should be.
pub async fn until(mediamtx: &MediaMtx, what: &str, is_met: impl Fn(&Report) -> bool) -> Report {
    let mut reports = mediamtx.report();
    let met = tokio::time::timeout(PATIENCE, reports.wait_for(|report| is_met(report))).await;
    match met {
        Ok(report) => report.expect("it is told as long as somebody listens").clone(),
        Err(_) => panic!("not within {PATIENCE:?}: {what}; it is {:?}", mediamtx.report().borrow()),
    }
}

/// Waits until it has these paths and no others.
pub async fn has_paths(mediamtx: &MediaMtx, stand_in: &StandIn, wanted: &[&str]) {
    let mut reports = mediamtx.report();
    let met = async {
        while stand_in.paths().await != wanted {
            // Told after each look.
            reports.changed().await.unwrap();
        }
    };
    if tokio::time::timeout(PATIENCE, met).await.is_err() {
        panic!("it has {:?} and should have {wanted:?}", stand_in.paths().await);
    }
}
