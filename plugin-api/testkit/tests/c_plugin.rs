//! A plugin in C passes the same checks as ours in Rust.

use std::path::Path;
use std::process::Command;

#[test]
fn a_plugin_that_knows_only_the_header_passes() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join("libinvert.so");
    let compiled = Command::new("gcc")
        .args(["-Wall", "-Wextra", "-Werror", "-O2", "-shared", "-fPIC", "-I"])
        .arg(root.join("plugin-api/include"))
        .arg(root.join("tests/plugins/c/invert.c"))
        .arg("-o")
        .arg(&library)
        .status()
        .unwrap();
    assert!(compiled.success());
    let report = plugin_testkit::Kit::new(&library).run();
    report.assert_passed();
    assert!(report.passed.len() > 10, "{:?}", report.passed);
}
