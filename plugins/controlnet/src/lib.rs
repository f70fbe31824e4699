//! The plugin `controlnet`: which ControlNets streams may name, by model family.
//!
//! It contributes names to the schemas of the pipelines. Its networks are not in this version; the pipelines' plans say
//! so wherever a ControlNet is enabled.

plugin_api::export_plugin!(manifest = include_str!("../manifest.json"));
