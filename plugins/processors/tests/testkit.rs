//! The plugin passes the checks that any plugin has to pass, with each of its processors; the neural ones with small
//! networks in the places of the real ones.
#![allow(clippy::unwrap_used)] // A test may stop where it stands.

#[path = "neural/hed_weights.rs"]
mod hed_weights;

use plugin_processors::neural::named::ALL;
use plugin_processors::plugin::CLASSICAL;
use plugin_testkit::Kit;
use serde_json::json;
use std::path::Path;
use std::process::Command;

/// The testkit takes its folders from the environment, which only a new process can be given.
#[test]
fn processors_passes_the_testkit() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("TESTKIT_MODELS_DIR").is_none() {
        let models = tempfile::tempdir().unwrap();
        for entry in folder.join("tests/models").read_dir().unwrap() {
            let entry = entry.unwrap();
            std::os::unix::fs::symlink(entry.path(), models.path().join(entry.file_name()))
                .unwrap();
        }
        hed_weights::write(&models.path().join("lllyasviel/Annotators/ControlNetHED.pth"));
        let mut again = Command::new(std::env::current_exe().unwrap());
        again.args(["--exact", "processors_passes_the_testkit", "--nocapture"]);
        again.env("TESTKIT_MODELS_DIR", models.path());
        again.env("TESTKIT_ENGINES_DIR", folder.join("../../engines"));
        assert!(again.status().unwrap().success());
        return;
    }
    // Beside the test, where cargo puts what a test could link; `cargo test` alone copies it no further.
    let library = std::env::current_exe().unwrap().with_file_name("libplugin_processors.so");
    let names: Vec<_> = CLASSICAL.into_iter().chain(ALL.iter().map(|one| one.name)).collect();
    // Small pictures for the networks, as the test is not for how quick they are.
    let kit = Kit::new(&library).with_processors(&names);
    let report = kit.with_param("detect_resolution", json!(70)).run();
    report.assert_passed();
    for name in names {
        let check = format!("{name}: frames of any stride pass, and only the picture is written");
        assert!(report.passed.contains(&check), "{:?}", report.passed);
    }
}
