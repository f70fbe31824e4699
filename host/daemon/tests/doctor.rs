//! `streamdiffusion-host doctor`: runs, prints a remedy to each trouble, and fails where the server would.

mod support;

use serde_json::Value;
use std::net::TcpListener;
use std::process::{Command, Output};
use support::settings;
use tempfile::TempDir;

fn doctor(folder: &TempDir, port: u16, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_streamdiffusion-host"))
        .arg("doctor")
        .args(arguments)
        .env_remove("ORT_DYLIB_PATH")
        .envs(settings(folder))
        .env("SDH_HTTP__PORT", port.to_string())
        .output()
        .expect("the program starts")
}

/// Level and fix of the one finding whose text holds `part`.
fn find<'a>(findings: &'a Value, area: &str, part: &str) -> (&'a str, &'a str) {
    let of_area = findings.as_array().expect("a list").iter().filter(|f| f["area"] == area);
    let found = of_area.filter(|f| f["finding"].as_str().is_some_and(|text| text.contains(part)));
    let found: Vec<_> = found.collect();
    assert_eq!(found.len(), 1, "{area}, {part}: {findings:#}");
    (found[0]["level"].as_str().expect("a level"), found[0]["fix"].as_str().unwrap_or_default())
}

#[test]
fn a_port_in_use_and_missing_plugins_fail_with_their_remedy() {
    let folder = tempfile::tempdir().expect("a folder");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("bound").port();
    let output = doctor(&folder, port, &["--json"]);
    assert_eq!(output.status.code(), Some(1));
    let findings: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let (level, fix) = find(&findings, "ports", &format!("TCP port {port} of 127.0.0.1"));
    assert!(level == "fail" && fix.contains("`http.port`"), "{level} {fix}");
    assert_eq!(find(&findings, "ports", "UDP port 0"), ("ok", ""));
    assert_eq!(find(&findings, "ports", "`rtsp.port`"), ("ok", ""));
    assert_eq!(find(&findings, "codecs", "VP8 is encoded by").0, "ok");
    assert_eq!(find(&findings, "ice", "127.0.0.1").0, "warn");
    assert_eq!(find(&findings, "plugins", "no plugin").0, "fail");
    assert_eq!(find(&findings, "folders", "no model").0, "warn");
    for key in ["models", "engines", "cache", "state"] {
        find(&findings, "folders", &format!("`paths.{key}`"));
    }

    drop(taken);
    let output = doctor(&folder, port, &["--json"]);
    let findings: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(find(&findings, "ports", &format!("TCP port {port} of 127.0.0.1")), ("ok", ""));
}

#[test]
fn a_library_that_is_no_plugin_is_told_with_the_reason() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("plugins")).expect("a folder");
    std::fs::write(folder.path().join("plugins/libodd.so"), "no library").expect("a file");
    let output = doctor(&folder, 0, &[]);
    let text = String::from_utf8_lossy(&output.stdout);
    let (_, rest) = text.split_once("warn  plugins: libodd.so is refused: ").expect("it is told");
    assert!(rest.lines().nth(1).is_some_and(|line| line.starts_with("      fix: ")), "{text}");
}
