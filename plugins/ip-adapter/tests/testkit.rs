//! The plugin passes the checks that any plugin has to pass.

#[test]
fn ip_adapter_passes_the_testkit() {
    // Beside the test, where cargo puts what a test could link; `cargo test` alone copies it no further.
    let library = std::env::current_exe().unwrap().with_file_name("libplugin_ip_adapter.so");
    plugin_testkit::Kit::new(&library).run().assert_passed();
}
