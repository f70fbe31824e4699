//! Plugin files as an operator handles them.

use serde_json::{Value, json};
use tests::host::Host;
use tests::libraries::{build_folder, install, library};

fn listed(host: &Host, file: &str) -> Option<Value> {
    let list = host.get("/v1/plugins").json();
    let plugins = list["data"]["plugins"].as_array()?.clone();
    plugins.into_iter().find(|plugin| plugin["file"] == file)
}

#[test]
fn a_file_dropped_in_while_the_server_runs_can_be_named_by_the_next_stream() {
    let host = Host::start(&[library("passthrough")]);
    let body = json!({"pipeline": "faulty", "params": {}});
    assert_eq!(host.send("POST", "/v1/streams", &body).status, 400);
    let file = install(&library("faulty"), &host.plugin_folder());
    let name = file.file_name().expect("a file has a name").to_string_lossy().into_owned();
    let plugin = host.wait_for("the plugin is listed", || listed(&host, &name));
    assert_eq!(plugin["state"], "accepted", "{plugin}");
    let stream = host.create("faulty", json!({}));
    stream.wait_until("its pipeline runs", |status| status["status"] == "running");
    std::fs::remove_file(file).expect("the file is there");
    host.wait_for("the plugin is gone", || listed(&host, &name).is_none().then_some(()));
    assert_eq!(host.send("POST", "/v1/streams", &body).status, 400);
    assert_eq!(stream.status()["status"], "running", "a running stream keeps its copy");
}

#[test]
fn files_that_are_no_plugins_are_listed_with_the_reason() {
    let host = Host::start(&[library("passthrough")]);
    let folder = host.plugin_folder();
    std::fs::write(folder.join("libtext.so"), "not a library").expect("the folder takes a file");
    let whole = std::fs::read(library("faulty")).expect("the library is readable");
    std::fs::write(folder.join("libhalf.so"), &whole[..whole.len() / 2])
        .expect("the folder takes a file");
    let other = build_folder().join("libplugin_faulty.so");
    assert!(other.exists());
    for (file, word) in [("libtext.so", "ELF"), ("libhalf.so", "")] {
        let plugin = host.wait_for(file, || listed(&host, file));
        assert_eq!(plugin["state"], "refused", "{plugin}");
        let reason = plugin["reason"].as_str().unwrap_or_default();
        assert!(!reason.is_empty() && reason.contains(word), "{plugin}");
    }
    host.create("passthrough", json!({}))
        .wait_until("the server is unharmed", |s| s["status"] == "running");
}

#[test]
fn a_pipeline_is_measured_from_the_command_line() {
    let host = Host::start(&[library("passthrough")]);
    let size = r#"{"width": 96, "height": 64}"#;
    let arguments = ["bench", "--pipeline", "passthrough", "--params", size, "--seconds", "1"];
    let text = host.run(&arguments);
    assert!(text.starts_with("passthrough of plugin passthrough, 96x64 to 96x64\n"), "{text}");
    let figures = host.run(&[&arguments[..], &["--json"]].concat());
    let figures: Value = serde_json::from_str(&figures).expect("a line of JSON");
    for key in ["fps", "frames", "load_seconds", "first_frame_ms", "memory_mb"] {
        assert!(figures[key].as_f64() > Some(0.0), "{key}: {figures}");
    }
    assert_eq!(figures["stages_ms"], json!({}), "passthrough measures none");
}

#[test]
fn the_stages_that_a_pipeline_measures_itself_are_told_too() {
    let host = Host::start(&[library("sd15")]);
    let params =
        r#"{"vae_id": "test/taesd-tiny", "t_index_list": [32], "width": 128, "height": 128}"#;
    let pipeline = ["bench", "--pipeline", "streamdiffusion-sd15", "--model", "test/sd15-tiny"];
    let arguments = [&pipeline[..], &["--params", params, "--seconds", "1"]].concat();
    let text = host.run(&arguments);
    let figures = host.run(&[&arguments[..], &["--json"]].concat());
    let figures: Value = serde_json::from_str(&figures).expect("a line of JSON");
    let mut stages = 0.0;
    for stage in ["encode", "unet", "decode"] {
        assert!(text.contains(&format!("\n  {stage:<8}p50 ")), "{text}");
        let [p50, p95] = ["p50", "p95"].map(|key| figures["stages_ms"][stage][key].as_f64());
        assert!(p50 > Some(0.0) && p95 >= p50, "{stage}: {figures}");
        stages += p50.unwrap_or_default();
    }
    assert!(figures["process_ms"]["p95"].as_f64() >= Some(stages), "parts of a whole: {figures}");
}

#[test]
fn a_pipeline_that_compiles_nothing_has_no_engines_to_build() {
    let host = Host::start(&[library("passthrough")]);
    let text = host.run(&["engines", "build", "--pipeline", "passthrough"]);
    assert!(text.starts_with("no engine was built"), "{text}");
}
