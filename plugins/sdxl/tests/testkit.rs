//! The plugin passes the checks that any plugin has to pass, but for those that need its networks.

#[test]
fn sdxl_passes_the_testkit() {
    // Beside the test, where cargo puts what a test could link; `cargo test` alone copies it no further.
    let library = std::env::current_exe().unwrap().with_file_name("libplugin_sdxl.so");
    plugin_testkit::Kit::new(&library)
        .with_param("model_id", "stabilityai/sdxl-turbo".into())
        .that_refuses_to_load("not in this version")
        .run()
        .assert_passed();
}
