//! Without a fault the plugin is a good one; with one the testkit finds it.

use serde_json::json;

#[test]
fn faulty_passes_the_testkit_until_it_is_told_to_fail() {
    let library = plugin_testkit::built_library("plugin_faulty");
    plugin_testkit::Kit::new(&library).with_processors(&["faulty"]).run().assert_passed();
}

#[test]
fn the_testkit_finds_what_goes_wrong() {
    let library = plugin_testkit::built_library("plugin_faulty");
    for (fault, phase, found) in [
        ("panic", "process", "panicked: told to panic"),
        ("error", "open", "the pipeline opens: told to fail"),
        ("error", "plan", "plan accepts the params: told to fail"),
        ("wrong_size", "process", "has the planned formats"),
    ] {
        let kit = plugin_testkit::Kit::new(&library)
            .with_param("fault", json!(fault))
            .with_param("phase", json!(phase));
        let failed = kit.run().failed.join("; ");
        assert!(failed.contains(found), "{fault} in {phase}: {failed}");
    }
}
