//! The plugin passes the checks that any plugin has to pass.

#[test]
fn passthrough_passes_the_testkit() {
    let library = plugin_testkit::built_library("plugin_passthrough");
    plugin_testkit::Kit::new(&library).run().assert_passed();
}
