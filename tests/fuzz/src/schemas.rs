//! The schemas of our own plugins, as the host has them when all of them are there.

use host_plugins::fuzzing;
use plugin_api::Manifest;
use serde_json::Value;
use std::sync::OnceLock;

#[allow(dead_code, reason = "the build scripts of the plugins use all of it")]
#[path = "../../../plugins/diffusion/schema/manifest.rs"]
mod manifest;

const SHARED: &str = include_str!("../../../plugins/diffusion/schema/params.json");

/// Manifests that are whole as they stand.
const WHOLE: [&str; 4] = [
    include_str!("../../../plugins/controlnet/manifest.json"),
    include_str!("../../../plugins/ip-adapter/manifest.json"),
    include_str!("../../../plugins/passthrough/manifest.json"),
    include_str!("../../../plugins/processors/manifest.json"),
];

/// Manifests that the build lays over what they share.
const PARTIAL: [&str; 2] = [
    include_str!("../../../plugins/sd15/manifest.json"),
    include_str!("../../../plugins/sdxl/manifest.json"),
];

/// One for each claim.
pub fn own() -> &'static [Value] {
    static OWN: OnceLock<Vec<Value>> = OnceLock::new();
    OWN.get_or_init(|| {
        let claims = fuzzing::claims(&manifests());
        claims.into_iter().map(|claim| claim.params_schema).collect()
    })
}

fn manifests() -> Vec<Manifest> {
    let read = |text: &str| serde_json::from_str(text).expect("our manifests are JSON");
    let shared: Value = read(SHARED);
    let partial = PARTIAL.iter().map(|text| manifest::complete(read(text), &shared).to_string());
    let whole = WHOLE.iter().map(|text| (*text).to_owned());
    let parsed = whole.chain(partial).map(|text| fuzzing::manifest(text.as_bytes()));
    parsed.map(|manifest| manifest.expect("our plugins are accepted")).collect()
}
