//! The plugin `processors`: which image processors streams may name, what params they have, and the classical ones: plain
//! functions from pictures to pictures, and the [`neural`] ones, which load networks. [`plugin`] offers both by name.

pub mod blur;
pub mod canny;
pub mod feedback;
mod gaussian;
pub mod gray;
pub mod neural;
pub mod params;
pub mod picture;
pub mod plugin;
pub mod resize;
pub mod sharpen;
pub mod soft_edge;
pub mod standard_lineart;
pub mod upscale;

plugin_api::export_plugin!(
    image_processors = plugin::Processors,
    manifest = include_str!("../manifest.json")
);
