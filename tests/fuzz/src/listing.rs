//! What the hub lists of a model: what would be fetched stays inside of the model's folder, and refusals are short.
//!
//! The input is the listing; where it has `index`, that is the pipeline's index.

use host_models::fuzzing;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Component, Path};

pub const WORDS: &[&str] = &[
    r#""sha":"0123456789abcdef0123456789abcdef01234567""#,
    r#""siblings":["#,
    r#""rfilename":""#,
    r#""index":{"#,
    r#""unet":["a","b"]"#,
    r#""..":["a","b"]"#,
    "../",
    "/etc/",
    r"\\",
    r"\u0000",
    "unet/",
    "model_index.json",
    "config.json",
    "model.safetensors",
    ".fp16.safetensors",
    "null",
    "1e400",
];

/// In characters. They are shown and logged.
const LONGEST_REFUSAL: usize = 1000;
const MOST_FILES: usize = 2000;

pub fn listing(data: &[u8]) -> bool {
    let whole = serde_json::from_slice::<Value>(data).ok();
    let index = whole.as_ref().and_then(|whole| whole.get("index")?.as_object());
    match fuzzing::chosen(data, index) {
        Ok(files) => {
            let names: BTreeSet<_> = files.iter().map(|file| file.as_str()).collect();
            assert!(names.len() == files.len() && names.len() <= MOST_FILES, "{names:?}");
            names.iter().for_each(|name| assert_inside(name));
            !names.is_empty()
        }
        Err(error) => {
            let length = error.to_string().chars().count();
            assert!(length <= LONGEST_REFUSAL, "a refusal of {length} characters");
            false
        }
    }
}

fn assert_inside(name: &str) {
    let is_plain = |part: Component<'_>| matches!(part, Component::Normal(_));
    assert!(Path::new(name).components().all(is_plain), "{name:?}");
    assert!(!name.contains(|c: char| c.is_control() || c == '\\'), "{name:?}");
}
