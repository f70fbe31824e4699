//! For the build scripts of plugins whose claims take StreamDiffusion's params: lays what a claim says of its `params`
//! over `params.json`, which says the rest once for all of them.
//!
//! A claim's `params` are a JSON merge patch (RFC 7386): objects are merged, null takes a key away, all else replaces.

use serde_json::{Map, Value};
use std::path::Path;

/// Writes the plugin's `manifest.json`, made whole, to the folder for what is built.
pub fn write() {
    let shared = Path::new("../diffusion/schema/params.json");
    for source in [Path::new("manifest.json"), shared] {
        println!("cargo::rerun-if-changed={}", source.display());
    }
    let manifest = complete(read(Path::new("manifest.json")), &read(shared));
    let out = std::env::var_os("OUT_DIR").expect("cargo names a folder for what is built");
    let text = serde_json::to_string_pretty(&manifest).expect("JSON is written as text");
    std::fs::write(Path::new(&out).join("manifest.json"), text).expect("that folder takes a file");
}

/// A manifest whose claims' `params` say all of it.
pub fn complete(mut manifest: Value, shared: &Value) -> Value {
    let claims = manifest["claims"].as_array_mut().expect("`claims` is a list");
    for claim in claims {
        let patch = claim["params"].take();
        claim["params"] = shared.clone();
        merge(&mut claim["params"], patch);
    }
    manifest
}

fn read(path: &Path) -> Value {
    let text = std::fs::read_to_string(path);
    let text = text.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn merge(target: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let object = target.as_object_mut().expect("it was made one");
    for (key, value) in patch {
        match value {
            Value::Null => drop(object.shift_remove(&key)),
            value => merge(object.entry(key).or_insert(Value::Null), value),
        }
    }
}
