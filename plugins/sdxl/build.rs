//! Completes `manifest.json` with the params that all StreamDiffusion plugins share.

#[path = "../diffusion/schema/manifest.rs"]
mod manifest;

fn main() {
    manifest::write();
}
