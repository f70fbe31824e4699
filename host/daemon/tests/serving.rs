//! The host as a whole, without plugins: it listens where it should, says so, and ends in order.

mod support;

use host_daemon::{Config, StartError, start};
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// With one alias, on a free port too.
fn settings(folder: &TempDir, more: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    let own = support::settings(folder).into_iter().chain([("SDH_HTTP__MEDIA_PORTS", "0".into())]);
    let more = more.iter().map(|(name, value)| (*name, OsString::from(value)));
    own.chain(more).map(|(name, value)| (name.into(), value)).collect()
}

fn config(folder: &TempDir, more: &[(&str, &str)]) -> Config {
    Config::load(None, settings(folder, more).into_iter()).expect("settings").config
}

/// The status line of a GET.
fn get(url: &str, path: &str) -> String {
    let authority = url.strip_prefix("http://").expect("a plain URL");
    let mut connection = TcpStream::connect(authority).expect("the host listens");
    let request = format!("GET {path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).expect("the host reads");
    let mut answer = String::new();
    connection.read_to_string(&mut answer).expect("the host answers");
    answer.lines().next().unwrap_or_default().to_owned()
}

/// The status line of the answer to OPTIONS.
fn ask_by_rtsp(port: u16) -> String {
    let mut connection = TcpStream::connect(("127.0.0.1", port)).expect("the host listens");
    connection.write_all(b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n").expect("the host reads");
    let mut status = String::new();
    BufReader::new(connection).read_line(&mut status).expect("the host answers");
    status.trim_end().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn rtsp_can_be_switched_off() {
    let folder = tempfile::tempdir().expect("a folder");
    let running = start(config(&folder, &[("SDH_RTSP__ENABLED", "false")])).await;
    let running = running.expect("the host starts");
    assert_eq!(running.addresses().rtsp_port, None);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_serves_on_all_its_ports_and_frees_them_at_the_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let running = start(config(&folder, &[])).await.expect("the host starts");
    let addresses = running.addresses().clone();
    assert_ne!(addresses.media_port, 0);
    assert_eq!(addresses.aliases.len(), 1);
    let rtmp = ("127.0.0.1", addresses.rtmp_port.expect("publishers may come by RTMP"));
    assert!(TcpStream::connect(rtmp).is_ok());
    for url in std::iter::once(&addresses.http).chain(&addresses.aliases) {
        assert_eq!(get(url, "/health"), "HTTP/1.1 200 OK");
        assert_eq!(get(url, "/nothing"), "HTTP/1.1 404 Not Found");
    }
    let rtsp_port = addresses.rtsp_port.expect("it is enabled");
    assert_eq!(ask_by_rtsp(rtsp_port), "RTSP/1.0 200 OK");
    running.stop().await;
    let authority = addresses.http.strip_prefix("http://").expect("a plain URL");
    assert!(TcpStream::connect(authority).is_err() && TcpStream::connect(rtmp).is_err());
    assert!(TcpStream::connect(("127.0.0.1", rtsp_port)).is_err());

    let off = [("SDH_RTMP__ENABLED", "false"), ("SDH_RTSP__ENABLED", "false")];
    let running = start(config(&folder, &off)).await.expect("the host starts");
    assert_eq!((running.addresses().rtmp_port, running.addresses().rtsp_port), (None, None));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_names_its_key_and_the_remedy() {
    let folder = tempfile::tempdir().expect("a folder");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("bound").port().to_string();
    for (key, variable) in [
        ("http.port", "SDH_HTTP__PORT"),
        ("http.media_ports", "SDH_HTTP__MEDIA_PORTS"),
        ("rtsp.port", "SDH_RTSP__PORT"),
        ("rtmp.port", "SDH_RTMP__PORT"),
    ] {
        let settings = [
            (variable, port.as_str()),
            ("SDH_RTMP__LISTEN", "127.0.0.1"),
            ("SDH_RTSP__LISTEN", "127.0.0.1"),
        ];
        let error = start(config(&folder, &settings)).await.err();
        let error = error.expect("the port is in use");
        assert!(matches!(error, StartError::Listen(_)), "{error:?}");
        let text = error.to_string();
        assert!(
            text.starts_with(&format!("`{key}`: port {port} of 127.0.0.1 is in use")),
            "{text}"
        );
        assert!(text.contains("choose another"), "{text}");
    }
}

/// Ends the program if the test does not.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        // Both fail when it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_program_announces_itself_and_ends_at_sigterm() {
    let folder = tempfile::tempdir().expect("a folder");
    let program = Command::new(env!("CARGO_BIN_EXE_streamdiffusion-host"))
        .arg("--json-ready")
        .envs(settings(&folder, &[]))
        .stdout(Stdio::piped())
        .spawn();
    let mut program = Program(program.expect("the program starts"));
    let stdout = program.0.stdout.take().expect("piped");
    let mut ready = String::new();
    BufReader::new(stdout).read_line(&mut ready).expect("text");
    let ready: serde_json::Value = serde_json::from_str(&ready).expect("a line of JSON");
    assert_eq!(ready["event"], "ready");
    assert_eq!(ready["pid"], program.0.id());
    assert_eq!(get(ready["http"].as_str().expect("a URL"), "/health"), "HTTP/1.1 200 OK");

    let signal = Command::new("kill").args(["-TERM", &program.0.id().to_string()]).status();
    assert!(signal.expect("kill runs").success());
    assert!(program.0.wait().expect("it ends").success());
}

#[test]
fn wrong_settings_end_the_program_with_all_of_them_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = Command::new(env!("CARGO_BIN_EXE_streamdiffusion-host"))
        .envs(settings(&folder, &[("SDH_HTTP__PORT", "eighty"), ("SDH_HTTP__PROT", "1")]))
        .output()
        .expect("the program starts");
    assert!(!output.status.success());
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(
        text.contains("`http.port`: must be a whole number") && text.contains("`http.prot`"),
        "{text}"
    );
}
