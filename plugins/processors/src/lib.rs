//! The plugin `processors`: which image processors streams may name, and what params those have that take any.
//!
//! It contributes names and schemas to the pipelines. The processors themselves are not in this version; the pipelines'
//! plans say so wherever one is enabled.

plugin_api::export_plugin!(manifest = include_str!("../manifest.json"));
