//! The plugin `ip-adapter`: which kinds of IP-Adapter streams may name, and how an adapter's weight is spread over layers.
//!
//! It contributes names to the schemas of the pipelines. Its networks are not in this version; the pipelines' plans say
//! so wherever an adapter is enabled.

plugin_api::export_plugin!(manifest = include_str!("../manifest.json"));
