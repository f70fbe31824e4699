//! The plugin passes the checks that any plugin has to pass, with each of its processors.

use plugin_processors::plugin::NAMES;
use plugin_testkit::Kit;

#[test]
fn processors_passes_the_testkit() {
    // Beside the test, where cargo puts what a test could link; `cargo test` alone copies it no further.
    let library = std::env::current_exe().unwrap().with_file_name("libplugin_processors.so");
    let report = Kit::new(&library).with_processors(&NAMES).run();
    report.assert_passed();
    for name in NAMES {
        let check = format!("{name}: frames of any stride pass, and only the picture is written");
        assert!(report.passed.contains(&check), "{:?}", report.passed);
    }
}
