//! The plugin passes the checks that any plugin has to pass.
#![allow(clippy::unwrap_used)] // A test may stop where it stands.

use plugin_api::{Feature, Tensor};
use serde_json::json;
use std::path::Path;
use std::process::Command;

const ROWS: usize = 2;

/// The inputs of a tiny UNet, and a picture of which every row is given the same.
fn given() -> Vec<Tensor<'static>> {
    let tensor = |name: &'static str, shape: &[usize]| {
        let count = shape.iter().product();
        let values: Vec<f32> = (0..count).map(|index: usize| (index % 17) as f32 / 17.0).collect();
        Tensor::new(name, shape, values).unwrap()
    };
    vec![
        tensor("sample", &[ROWS, 4, 8, 8]),
        tensor("timestep", &[ROWS]),
        tensor("encoder_hidden_states", &[ROWS, 77, 32]),
        tensor("controlnet_cond", &[1, 3, 64, 64]),
        tensor("previous_frame", &[1, 3, 64, 64]),
    ]
}

/// The testkit takes its folders from the environment, which only a new process can be given.
#[test]
fn controlnet_passes_the_testkit() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    if std::env::var_os("TESTKIT_MODELS_DIR").is_none() {
        let mut again = Command::new(std::env::current_exe().unwrap());
        again.args(["--exact", "controlnet_passes_the_testkit", "--nocapture"]);
        again.env("TESTKIT_MODELS_DIR", root.join("models"));
        again.env("TESTKIT_ENGINES_DIR", root.join("engines"));
        assert!(again.status().unwrap().success());
        return;
    }
    // Beside the test, where cargo puts what a test could link; `cargo test` alone copies it no further.
    let library = std::env::current_exe().unwrap().with_file_name("libplugin_controlnet.so");
    let kit = plugin_testkit::Kit::new(&library);
    let (feature, name) = (Feature::ResidualConditioner, "test/controlnet-sd15-a-tiny");
    let report = kit.with_conditioner(feature, name, json!({}), given()).run();
    report.assert_passed();
    assert!(report.passed.len() >= 8, "{:?}", report.passed);
}
