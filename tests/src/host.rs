//! A server of a test's own: the real program on free ports, with its own plugin folder, ended with the test.

use crate::http::{Answer, request};
use crate::libraries::{build_folder, install, root};
use serde_json::{Value, json};
use std::cell::RefCell;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Longest wait for anything: generous, since test machines are slow at times.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often a condition is looked at again when the server's log stays silent.
const GLANCE: Duration = Duration::from_millis(100);

/// A running server.
pub struct Host {
    process: Child,
    /// What it said when it was ready.
    ready: Value,
    base: String,
    folder: TempDir,
    extra: Vec<(String, String)>,
    log: Receiver<String>,
    /// Lines that were read while waiting.
    read: RefCell<Vec<String>>,
}

impl Host {
    /// Starts the program with these plugin libraries installed, and waits until it listens.
    pub fn start(plugins: &[PathBuf]) -> Self {
        Self::start_with(plugins, &[])
    }

    /// The same with further settings, as variables.
    pub fn start_with(plugins: &[PathBuf], extra: &[(&str, String)]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let plugin_folder = folder.path().join("plugins");
        std::fs::create_dir(&plugin_folder).expect("an empty folder takes a folder");
        for plugin in plugins {
            install(plugin, &plugin_folder);
        }
        let owned = |(name, value): &(&str, String)| (name.to_string(), value.clone());
        let extra: Vec<_> = extra.iter().map(owned).collect();
        let (mut process, log) = launch(&folder, &extra);
        let ready = wait_until_ready(&mut process, &log);
        let base = url_of(&ready);
        Self { process, ready, base, folder, extra, log, read: RefCell::default() }
    }

    /// Ends the program as a crash would, at once. Its folder stays.
    pub fn kill(&mut self) {
        self.process.kill().expect("it can be killed, even if it has ended");
        self.process.wait().expect("it has ended");
    }

    /// Starts the program again on the folder and with the settings of the one that was killed.
    pub fn start_again(&mut self) {
        (self.process, self.log) = launch(&self.folder, &self.extra);
        self.ready = wait_until_ready(&mut self.process, &self.log);
        self.base = url_of(&self.ready);
    }

    /// The same, but it is killed after so many lines of its log, or a glance later.
    pub fn start_and_kill(&mut self, lines: usize) {
        (self.process, self.log) = launch(&self.folder, &self.extra);
        for _ in 0..lines {
            if self.log.recv_timeout(GLANCE).is_err() {
                break;
            }
        }
        self.kill();
    }

    /// What a second program on the same folder says, which is meant not to start.
    pub fn second_start_error(&self) -> String {
        let (mut process, log) = launch(&self.folder, &self.extra);
        let mut ready = String::new();
        let stdout = process.stdout.take().expect("stdout is piped");
        BufReader::new(stdout).read_line(&mut ready).expect("stdout is text");
        // Both fail when it has ended, as it should.
        let _ = (process.kill(), process.wait());
        assert_eq!(ready, "", "it listens");
        log.iter().collect::<Vec<_>>().join("\n")
    }

    /// Runs a command of the program with the same settings, and gives what it prints.
    pub fn run(&self, arguments: &[&str]) -> String {
        let output = Command::new(build_folder().join("streamdiffusion-host"))
            .args(arguments)
            .envs(settings(&self.folder))
            .envs(self.extra.iter().map(|(name, value)| (name, value)))
            .output()
            .expect("the program starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// `rtsp://host:port/` with what follows.
    pub fn rtsp(&self, path: &str) -> String {
        format!("rtsp://127.0.0.1:{}/{path}", self.ready["rtsp_port"])
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    pub fn state_folder(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// Ends the server in order, and gives all that it logged.
    pub fn end(mut self) -> String {
        let signal = Command::new("kill").args(["-TERM", &self.pid().to_string()]).status();
        assert!(signal.expect("kill runs").success());
        let lines = self.read.take().into_iter().chain(self.log.iter());
        let log = lines.collect::<Vec<_>>().join("\n");
        assert!(self.process.wait().expect("it ends").success(), "{log}");
        log
    }

    pub fn plugin_folder(&self) -> PathBuf {
        self.folder.path().join("plugins")
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// Where a stream is published to by RTMP.
    pub fn rtmp_url(&self, stream_key: &str) -> String {
        format!("rtmp://127.0.0.1:{}/live/{stream_key}", self.ready["rtmp_port"])
    }

    /// `host:port`, for those who speak HTTP by hand.
    pub fn authority(&self) -> &str {
        self.base.strip_prefix("http://").expect("a plain URL")
    }

    pub fn get(&self, path: &str) -> Answer {
        request("GET", &self.url(path), None, b"")
    }

    pub fn send(&self, method: &str, path: &str, body: &Value) -> Answer {
        let body = body.to_string();
        request(method, &self.url(path), Some("application/json"), body.as_bytes())
    }

    /// Creates a stream and insists that it works.
    pub fn create(&self, pipeline: &str, params: Value) -> Stream<'_> {
        let body = json!({"pipeline": pipeline, "params": params});
        let answer = self.send("POST", "/v1/streams", &body);
        assert_eq!(answer.status, 201, "{}", answer.text);
        Stream { host: self, object: answer.json() }
    }

    /// Looks at a condition until it gives something, whenever the server logs a line and a few times a second.
    pub fn wait_for<T>(&self, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = look() {
                return found;
            }
            let mut lines = self.read.borrow_mut();
            assert!(Instant::now() < end, "not within {PATIENCE:?}: {what}\n{}", lines.join("\n"));
            lines.extend(self.log.recv_timeout(GLANCE));
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            eprintln!("the server's log:\n{}", self.log.try_iter().collect::<Vec<_>>().join("\n"));
        }
    }
}

/// A stream of a [`Host`].
pub struct Stream<'a> {
    host: &'a Host,
    /// As create answered.
    pub object: Value,
}

impl<'a> Stream<'a> {
    /// One that a host has already.
    pub fn of(host: &'a Host, object: Value) -> Self {
        Self { host, object }
    }

    pub fn text(&self, key: &str) -> String {
        self.object[key].as_str().unwrap_or_else(|| panic!("no {key}: {}", self.object)).to_owned()
    }

    pub fn path(&self) -> String {
        format!("/v1/streams/{}", self.text("id"))
    }

    pub fn status(&self) -> Value {
        self.host.get(&format!("{}/status", self.path())).json()
    }

    pub fn patch(&self, params: Value) -> Answer {
        self.host.send("PATCH", &self.path(), &json!({ "params": params }))
    }

    /// The same, answered after the first frame made with the new params.
    pub fn patch_and_wait(&self, params: Value) -> Answer {
        let path = format!("{}?wait=applied", self.path());
        self.host.send("PATCH", &path, &json!({ "params": params }))
    }

    pub fn delete(&self) -> Answer {
        self.host.send("DELETE", &self.path(), &Value::Null)
    }

    /// Waits until the status fulfils a condition, and gives it.
    pub fn wait_until(&self, what: &str, is_met: impl Fn(&Value) -> bool) -> Value {
        self.host.wait_for(what, || Some(self.status()).filter(|status| is_met(status)))
    }
}

fn launch(folder: &TempDir, extra: &[(String, String)]) -> (Child, Receiver<String>) {
    let mut process = Command::new(build_folder().join("streamdiffusion-host"))
        .args(["--json-ready"])
        .envs(settings(folder))
        .envs(extra.iter().map(|(name, value)| (name, value)))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the server starts; `cargo build --workspace` makes it");
    let log = follow(process.stderr.take().expect("stderr is piped"));
    (process, log)
}

fn wait_until_ready(process: &mut Child, log: &Receiver<String>) -> Value {
    let mut ready = String::new();
    let stdout = process.stdout.take().expect("stdout is piped");
    BufReader::new(stdout).read_line(&mut ready).expect("stdout is text");
    serde_json::from_str(&ready).unwrap_or_else(|error| {
        panic!("no ready line ({error}): {ready}{}", log.iter().collect::<Vec<_>>().join("\n"))
    })
}

/// The URL that the server then answers at.
fn url_of(ready: &Value) -> String {
    ready["http"].as_str().expect("the ready line names the URL").to_owned()
}

/// Free ports, folders of the test's own, the repository's models and ONNX Runtime.
fn settings(folder: &TempDir) -> Vec<(&'static str, String)> {
    let text = |path: PathBuf| path.to_string_lossy().into_owned();
    vec![
        ("SDH_HTTP__PORT", "0".into()),
        ("SDH_HTTP__MEDIA_PORTS", "[]".into()),
        ("SDH_MEDIA__PORT", "0".into()),
        ("SDH_RTSP__PORT", "0".into()),
        ("SDH_RTMP__PORT", "0".into()),
        ("SDH_PLUGINS__FOLDERS", format!("[{:?}]", folder.path().join("plugins"))),
        // What tests need is here; those that fetch say so.
        ("SDH_MODELS__FETCH", "false".into()),
        ("SDH_PATHS__CACHE", text(folder.path().join("cache"))),
        ("SDH_PATHS__STATE", text(folder.path().join("state"))),
        ("SDH_PATHS__MODELS", text(root().join("models"))),
        ("SDH_PATHS__ENGINES", text(root().join("engines"))),
    ]
}

/// Lines of the server's log, as they come.
fn follow(stderr: std::process::ChildStderr) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    receiver
}
