//! `include/plugin.h` is what `src/abi.rs` says. `UPDATE_HEADER=1 cargo test -p plugin-api` writes it anew.
#![allow(clippy::unwrap_used)] // A test may stop where it stands.

use std::path::Path;

const BEGIN: &str = "\
/* The C contract between streamdiffusion-host and its plugins.
 *
 * Generated from plugin-api/src/abi.rs; docs/plugin-authors.md explains it. */";

const OPAQUE: &str = "\
/* Where a function writes a text of any length: made by the host, filled through SdhHost.write_text. */
typedef struct SdhText SdhText;
/* Weights and everything else that streams share: made by the plugin in `open`. */
typedef struct SdhPipeline SdhPipeline;
/* What one stream keeps from frame to frame: made by the plugin in `open_stream`. */
typedef struct SdhStream SdhStream;";

const ENTRY: &str = "\
#define SDH_EXPORT __attribute__((visibility(\"default\")))
/* Put before the definition of a static char array that holds the manifest (JSON). */
#define SDH_MANIFEST __attribute__((section(\".sdh_manifest\"), used))

#ifdef __cplusplus
extern \"C\"
#endif
/* The one symbol that a plugin exports. Never null. */
SDH_EXPORT const SdhPlugin *sdh_plugin_entry_0(void);";

#[test]
fn the_committed_header_is_what_the_source_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut header = Vec::new();
    generate(&folder.join("src/abi.rs")).write(&mut header);
    let header = String::from_utf8(header).unwrap();
    let committed = folder.join("include/plugin.h");
    if std::env::var_os("UPDATE_HEADER").is_some() {
        std::fs::write(&committed, &header).unwrap();
    }
    let found = std::fs::read_to_string(&committed).unwrap_or_default();
    assert!(found == header, "include/plugin.h is stale: UPDATE_HEADER=1 cargo test -p plugin-api");
}

fn generate(source: &Path) -> cbindgen::Bindings {
    let opaque = ["SdhText", "SdhPipeline", "SdhStream"].map(String::from);
    let config = cbindgen::Config {
        language: cbindgen::Language::C,
        cpp_compat: true,
        header: Some(BEGIN.into()),
        include_guard: Some("SDH_PLUGIN_H".into()),
        no_includes: true,
        sys_includes: vec!["stdint.h".into()],
        after_includes: Some(OPAQUE.into()),
        trailer: Some(ENTRY.into()),
        documentation_style: cbindgen::DocumentationStyle::C,
        line_length: 120,
        export: cbindgen::ExportConfig {
            // What they refer to comes along.
            include: ["SdhPlugin", "SdhPipelineTable"].map(String::from).into(),
            exclude: opaque.into(),
            ..Default::default()
        },
        ..Default::default()
    };
    cbindgen::Builder::new().with_src(source).with_config(config).generate().unwrap()
}
