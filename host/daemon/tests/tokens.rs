//! Tokens of the program as an operator meets them: made at the first start, managed by command, asked for at once.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Output, Stdio};
use support::settings;
use tempfile::TempDir;

/// A running program and its folder.
struct Host<'a> {
    process: Child,
    ready: serde_json::Value,
    folder: &'a TempDir,
}

fn command(folder: &TempDir) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_streamdiffusion-host"));
    command.envs(settings(folder));
    command
}

impl<'a> Host<'a> {
    fn start(folder: &'a TempDir, listen: &str, arguments: &[&str]) -> Self {
        let process = command(folder)
            .arg("--json-ready")
            .args(arguments)
            .env("SDH_HTTP__LISTEN", listen)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut process = process.expect("the program starts");
        let mut ready = String::new();
        let stdout = process.stdout.take().expect("piped");
        BufReader::new(stdout).read_line(&mut ready).expect("text");
        let ready = serde_json::from_str(&ready).expect("a line of JSON");
        Self { process, ready, folder }
    }

    fn new_token(&self) -> Option<&str> {
        self.ready["new_token"].as_str()
    }

    fn connect(&self) -> TcpStream {
        let url = self.ready["http"].as_str().expect("a URL");
        let authority = url.strip_prefix("http://").expect("a plain URL");
        TcpStream::connect(authority).expect("the host listens")
    }

    /// The status of `GET /v1/streams`.
    fn list(&self, token: Option<&str>) -> String {
        let mut connection = self.connect();
        connection.write_all(request(token, "close").as_bytes()).expect("the host reads");
        let mut answer = String::new();
        connection.read_to_string(&mut answer).expect("the host answers");
        answer.split(' ').nth(1).unwrap_or_default().to_owned()
    }

    fn token(&self, arguments: &[&str]) -> Output {
        let output = command(self.folder).arg("token").args(arguments).output();
        output.expect("the program starts")
    }

    /// Resident memory, in KiB.
    fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()));
        let status = status.expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    /// Ends it, and gives all that it logged.
    fn end(mut self) -> String {
        let signal = Command::new("kill").args(["-TERM", &self.process.id().to_string()]).status();
        assert!(signal.expect("kill runs").success());
        let mut log = String::new();
        let mut stderr = self.process.stderr.take().expect("piped");
        stderr.read_to_string(&mut log).expect("text");
        assert!(self.process.wait().expect("it ends").success());
        log
    }
}

impl Drop for Host<'_> {
    fn drop(&mut self) {
        // Both fail when it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn request(token: Option<&str>, connection: &str) -> String {
    let authorization = token.map(|token| format!("Authorization: Bearer {token}\r\n"));
    let authorization = authorization.unwrap_or_default();
    format!(
        "GET /v1/streams HTTP/1.1\r\nHost: h\r\nConnection: {connection}\r\n{authorization}\r\n"
    )
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim().to_owned()
}

#[test]
fn the_first_start_beyond_loopback_makes_a_token_and_tells_it_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let host = Host::start(&folder, "0.0.0.0", &[]);
    let token = host.new_token().expect("there was none").to_owned();
    assert_eq!((host.list(None), host.list(Some(&token))), ("401".into(), "200".into()));
    assert!(!host.end().contains(&token), "the log holds the token");

    let host = Host::start(&folder, "0.0.0.0", &[]);
    assert_eq!((host.new_token(), host.list(Some(&token)).as_str()), (None, "200"));
    let written = std::fs::read_to_string(folder.path().join("state/tokens.toml"));
    assert!(!written.expect("the tokens").contains(&token));
}

#[test]
fn insecure_refuses_the_token_knowingly() {
    let folder = tempfile::tempdir().expect("a folder");
    let host = Host::start(&folder, "0.0.0.0", &["--insecure"]);
    assert_eq!((host.new_token(), host.list(None).as_str()), (None, "200"));
    assert!(!folder.path().join("state/tokens.toml").exists());
}

#[test]
fn tokens_come_and_go_by_command_while_the_host_runs() {
    let folder = tempfile::tempdir().expect("a folder");
    let host = Host::start(&folder, "127.0.0.1", &[]);
    assert_eq!(host.list(None), "200");
    let made = host.token(&["add", "wall", "--scope", "view"]);
    assert!(made.status.success(), "{}", text(&made.stderr));
    let token = text(&made.stdout);
    assert_eq!((host.list(None), host.list(Some(&token))), ("401".into(), "200".into()));
    host.token(&["add", "desk", "--scope", "create,control"]);
    assert_eq!(text(&host.token(&["list"]).stdout), "desk: create, control\nwall: view");

    let twice = host.token(&["add", "wall", "--scope", "view"]);
    assert!(!twice.status.success() && text(&twice.stderr).contains("already"));
    let odd = host.token(&["add", "x", "--scope", "see"]);
    assert!(text(&odd.stderr).contains("create, control and view"), "{}", text(&odd.stderr));

    assert!(host.token(&["revoke", "wall"]).status.success());
    assert_eq!(host.list(Some(&token)), "401");
    assert!(!host.token(&["revoke", "wall"]).status.success());
}

#[test]
fn wrong_tokens_by_the_thousand_cost_neither_memory_nor_log() {
    const REQUESTS: usize = 3000;
    let folder = tempfile::tempdir().expect("a folder");
    let host = Host::start(&folder, "127.0.0.1", &[]);
    let token = text(&host.token(&["add", "wall", "--scope", "view"]).stdout);
    let flood = || {
        let mut connection = host.connect();
        let mut writer = connection.try_clone().expect("a second handle");
        let sender = std::thread::spawn(move || {
            for index in 0..REQUESTS {
                let connection = if index + 1 < REQUESTS { "keep-alive" } else { "close" };
                let request = request(Some(&format!("guess-{index}")), connection);
                writer.write_all(request.as_bytes()).expect("the host reads");
            }
        });
        let mut answers = String::new();
        connection.read_to_string(&mut answers).expect("the host answers");
        sender.join().expect("all is sent");
        assert_eq!(answers.matches("HTTP/1.1 401").count(), REQUESTS);
        host.memory()
    };
    // The first round fills what the allocator and the runtime keep.
    let before = flood();
    let after = flood();
    assert!(after < before + 4096, "{before} KiB became {after} KiB");
    assert_eq!(host.list(Some(&token)), "200");
    let log = host.end();
    assert!(!log.contains("guess-") && log.lines().count() < 20, "{log}");
}
