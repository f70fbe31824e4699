//! Plugins in C pass the same checks as ours in Rust.

// Only functions marked as tests are let off by the lint's own setting; all of this is test.
#![allow(clippy::unwrap_used)]

use plugin_api::{Feature, Tensor};
use plugin_testkit::{Kit, Report};
use serde_json::json;
use std::path::Path;
use std::process::Command;

fn report_on(source: &str) -> Report {
    report_with(source, &[], |kit| kit)
}

/// With macros like `-DID="name"`.
fn report_with(source: &str, macros: &[&str], with: impl FnOnce(Kit) -> Kit) -> Report {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join("libplugin.so");
    let compiled = Command::new("gcc")
        .args(["-Wall", "-Wextra", "-Werror", "-O2", "-shared", "-fPIC", "-I"])
        .arg(root.join("plugin-api/include"))
        .args(macros)
        .arg(root.join("tests/plugins/c").join(source))
        .arg("-o")
        .arg(&library)
        .status()
        .unwrap();
    assert!(compiled.success());
    with(Kit::new(&library)).run()
}

#[test]
fn a_pipeline_that_knows_only_the_header_passes() {
    let report = report_on("invert.c");
    report.assert_passed();
    assert!(report.passed.len() > 10, "{:?}", report.passed);
}

#[test]
fn so_does_a_conditioner() {
    let latents = Tensor::new("sample", [2, 4, 8, 6], vec![0.5; 2 * 4 * 8 * 6]).unwrap();
    let feature = Feature::ResidualConditioner;
    let report = report_with("nudge.c", &[], |kit| {
        kit.with_conditioner(feature, "nudge", json!({}), vec![latents])
    });
    report.assert_passed();
    assert_eq!(report.passed.iter().filter(|check| check.starts_with("nudge: ")).count(), 9);
}

#[test]
fn so_does_an_image_processor_at_every_size() {
    let report = report_on("swap.c");
    report.assert_passed();
    let sizes = report.passed.iter().filter(|check| check.starts_with("swap: it takes pictures"));
    assert_eq!(sizes.count(), 3, "{:?}", report.passed);
}

#[test]
fn what_a_stream_tells_its_user_has_to_be_short_text() {
    let faults = |notice: &str| {
        let notice = format!("-DNOTICE=\"{notice}\"");
        let report =
            report_with("invert.c", &[&notice], |kit| kit.with_param("strength", 0.into()));
        report.failed
    };
    assert_eq!(faults("pictures stay as they are"), [""; 0]);
    let long = "pictures stay as they are; ".repeat(20);
    for (notice, fault) in [("two\\nlines", "is no line of text"), (&long, "more than 500 bytes")] {
        let faults = faults(notice);
        assert!(faults.len() == 1 && faults[0].contains(fault), "{notice}: {faults:?}");
    }
}
