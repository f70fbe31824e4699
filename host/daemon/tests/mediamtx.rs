//! A MediaMTX beside the program, played by a stand-in: it runs with the program, ends with it however that ends, asks it
//! whom to let in, and is looked at by `doctor`.

mod support;

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(30);
/// How often a condition is looked at.
const GLANCE: Duration = Duration::from_millis(50);
const PORTS: [&str; 8] = ["", "API_", "RTSP_", "RTMP_", "HLS_", "WEBRTC_", "WEBRTC_MEDIA_", "SRT_"];

/// The stand-in as a program of this version.
fn stand_in(folder: &TempDir, version: &str) -> PathBuf {
    let binary = folder.path().join("mediamtx");
    std::fs::write(&binary, include_str!("../../mediamtx/tests/beside/stand_in.py"))
        .expect("a file");
    std::fs::set_permissions(&binary, PermissionsExt::from_mode(0o755)).expect("a mode");
    let behaviour = json!({ "version": version }).to_string();
    std::fs::write(folder.path().join("behaviour.json"), behaviour).expect("a file");
    binary
}

fn program(folder: &TempDir, mode: &str) -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_streamdiffusion-host"));
    program.envs(support::settings(folder)).env("SDH_MEDIAMTX__MODE", mode);
    program.env("SDH_MEDIAMTX__BINARY", folder.path().join("mediamtx"));
    program.envs(PORTS.map(|port| (format!("SDH_MEDIAMTX__{port}PORT"), "0")));
    program
}

/// Killed with the test.
struct Program {
    process: Child,
    authority: String,
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn start(folder: &TempDir) -> Program {
    let started = program(folder, "spawn").arg("--json-ready").stdout(Stdio::piped()).spawn();
    let mut process = started.expect("the program starts");
    let mut ready = String::new();
    let stdout = process.stdout.take().expect("piped");
    BufReader::new(stdout).read_line(&mut ready).expect("text");
    let ready: Value = serde_json::from_str(&ready).expect("a line of JSON");
    let url = ready["http"].as_str().expect("a URL");
    let authority = url.strip_prefix("http://").expect("a plain URL").to_owned();
    Program { process, authority }
}

/// Status and body.
fn ask(authority: &str, request: &str, body: &str) -> (u16, String) {
    let mut connection = TcpStream::connect(authority).expect("it listens");
    let length = body.len();
    let text = format!(
        "{request} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    );
    connection.write_all(text.as_bytes()).expect("it reads");
    let mut answer = String::new();
    connection.read_to_string(&mut answer).expect("it answers");
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    (status.expect("a status"), body.to_owned())
}

fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "not within {PATIENCE:?}: {what}");
        std::thread::park_timeout(GLANCE);
    }
}

fn connected(program: &Program) -> Value {
    until("MediaMTX is connected", || {
        let (_, health) = ask(&program.authority, "GET /health", "");
        let health: Value = serde_json::from_str(&health).expect("JSON");
        (health["mediamtx_connected"] == true).then(|| health["mediamtx"].clone())
    })
}

/// The settings that the program wrote for it.
fn written(folder: &TempDir, program: &Program) -> Value {
    let file = format!("cache/mediamtx/mediamtx-{}.yml", program.process.id());
    let text = std::fs::read_to_string(folder.path().join(file)).expect("it is there");
    serde_json::from_str(&text).expect("JSON")
}

#[test]
fn it_runs_beside_the_program_and_ends_when_that_is_killed() {
    let folder = tempfile::tempdir().expect("a folder");
    stand_in(&folder, "v1.20.1");
    let mut program = start(&folder);
    let told = connected(&program);
    assert_eq!((&told["mode"], &told["version"]), (&json!("spawn"), &json!("1.20.1")));
    let api = written(&folder, &program)["apiAddress"].as_str().expect("an address").to_owned();
    assert_eq!(ask(&api, "GET /v3/paths/list?itemsPerPage=1&page=0", "").0, 401);
    program.process.kill().expect("it runs");
    until("its API is gone", || TcpStream::connect(&api).is_err().then_some(()));
}

#[test]
fn it_may_ask_the_program_whom_to_let_in_and_nobody_else() {
    let folder = tempfile::tempdir().expect("a folder");
    stand_in(&folder, "v1.20.1");
    let program = start(&folder);
    connected(&program);
    let settings = written(&folder, &program);
    let hook = settings["authHTTPAddress"].as_str().and_then(|url| url.strip_prefix("http://"));
    let (authority, path) = hook.and_then(|url| url.split_once('/')).expect("a URL");
    let question = json!({"action": "read", "path": "nobody_out"}).to_string();
    assert_eq!(ask(authority, &format!("POST /{path}"), &question).0, 401);
    assert_eq!(ask(authority, "POST /mediamtx/guess", &question).0, 404);
    assert_eq!(ask(&program.authority, &format!("POST /{path}"), &question).0, 404);
    assert_eq!(ask(authority, "GET /v1/streams", "").0, 404);
}

#[test]
fn a_program_that_ends_in_order_takes_it_along() {
    let folder = tempfile::tempdir().expect("a folder");
    stand_in(&folder, "v1.5.1");
    let mut program = start(&folder);
    connected(&program);
    let api = written(&folder, &program)["apiAddress"].as_str().expect("an address").to_owned();
    let signal = Command::new("kill").args(["-TERM", &program.process.id().to_string()]).status();
    assert!(signal.expect("kill runs").success());
    assert!(program.process.wait().expect("it ends").success());
    assert!(TcpStream::connect(&api).is_err());
    assert_eq!(
        std::fs::read_dir(folder.path().join("cache/mediamtx")).expect("a folder").count(),
        0
    );
}

#[test]
fn doctor_looks_at_the_program_or_at_whoever_answers() {
    let folder = tempfile::tempdir().expect("a folder");
    let finding = |mode: &str, more: &[(&str, &str)]| {
        let output = program(&folder, mode).args(["doctor", "--json"]).envs(more.to_vec()).output();
        let findings = output.expect("the program starts").stdout;
        let findings: Value = serde_json::from_slice(&findings).expect("JSON");
        let findings = findings.as_array().expect("a list").iter();
        let of_mediamtx = findings.filter(|finding| finding["area"] == "mediamtx");
        let text = |finding: &Value| {
            format!("{} {} {}", finding["level"], finding["finding"], finding["fix"])
        };
        of_mediamtx.map(text).collect::<Vec<_>>().join("\n")
    };
    assert_eq!(finding("off", &[]), "");
    let missing = finding("spawn", &[]);
    assert!(missing.starts_with("\"fail\" \"there is no program"), "{missing}");
    stand_in(&folder, "v1.5.1");
    let old = finding("spawn", &[]);
    assert!(old.starts_with("\"warn\"") && old.contains("not published to"), "{old}");
    stand_in(&folder, "v1.20.1");
    let new = finding("spawn", &[]);
    assert!(new.starts_with("\"ok\"") && new.contains("MediaMTX 1.20.1"), "{new}");
    let unreachable = finding("attach", &[("SDH_MEDIAMTX__API_URL", "http://127.0.0.1:1")]);
    assert!(unreachable.starts_with("\"warn\" \"the API of MediaMTX"), "{unreachable}");
    assert!(unreachable.contains("mediamtx.api_url"), "{unreachable}");
}
