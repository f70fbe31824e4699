//! The plugin passes the checks that any plugin has to pass.

use plugin_api::Feature;
use serde_json::json;
use std::path::Path;
use std::process::Command;

/// The testkit takes its folders from the environment, which only a new process can be given.
#[test]
fn ip_adapter_passes_the_testkit() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap();
    if std::env::var_os("TESTKIT_MODELS_DIR").is_none() {
        let mut again = Command::new(std::env::current_exe().unwrap());
        again.args(["--exact", "ip_adapter_passes_the_testkit", "--nocapture"]);
        again.env("TESTKIT_MODELS_DIR", root.join("models"));
        again.env("TESTKIT_ENGINES_DIR", root.join("engines"));
        assert!(again.status().unwrap().success());
        return;
    }
    // Beside the test, where cargo puts what a test could link; `cargo test` alone copies it no further.
    let library = std::env::current_exe().unwrap().with_file_name("libplugin_ip_adapter.so");
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("style.png");
    image::RgbImage::from_fn(40, 30, |x, y| image::Rgb([6 * x as u8, 8 * y as u8, 90]))
        .save(&image)
        .unwrap();
    let params = json!({
        "family": "sd15", "layers": 7, "scale": 0.8, "weight_type": "ease in", "image": image,
        "ipadapter_model_path": "test/ip-adapter-sd15-tiny/ip-adapter.safetensors",
        "image_encoder_path": "test/image-encoder-tiny",
    });
    let kit = plugin_testkit::Kit::new(&library);
    let report = kit.with_conditioner(Feature::TokenConditioner, "regular", params, vec![]).run();
    report.assert_passed();
    assert!(report.passed.len() >= 6, "{:?}", report.passed);
}
