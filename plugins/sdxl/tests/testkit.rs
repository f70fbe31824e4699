//! The plugin passes the checks that any plugin has to pass, with the tiny test model.

use std::path::Path;
use std::process::Command;

use serde_json::json;

/// The testkit takes its folders from the environment, which only a new process can be given.
#[test]
fn sdxl_passes_the_testkit() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    if std::env::var_os("TESTKIT_MODELS_DIR").is_none() {
        let myself = std::env::current_exe().unwrap();
        let mut again = Command::new(myself);
        again.args(["--exact", "sdxl_passes_the_testkit", "--nocapture"]);
        again.env("TESTKIT_MODELS_DIR", root.join("models"));
        again.env("TESTKIT_ENGINES_DIR", root.join("engines"));
        assert!(again.status().unwrap().success());
        return;
    }
    // Beside the test, where cargo puts what a test could link; `cargo test` alone copies it no further.
    let library = std::env::current_exe().unwrap().with_file_name("libplugin_sdxl.so");
    plugin_testkit::Kit::new(&library)
        .with_param("model_id", json!("test/sdxl-tiny"))
        .with_param("vae_id", json!("test/taesdxl-tiny"))
        .with_param("width", json!(64))
        .with_param("height", json!(64))
        .with_param("t_index_list", json!([20, 40]))
        .run()
        .assert_passed();
}
