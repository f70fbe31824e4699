//! Node scripts of `tests/browser`, which drive a real Chromium.

use crate::libraries::root;
use serde_json::Value;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// What a script said.
pub struct Outcome {
    pub is_success: bool,
    pub output: String,
}

impl Outcome {
    pub fn of(output: &Output) -> Self {
        Self {
            is_success: output.status.success(),
            output: String::from_utf8_lossy(&output.stdout).into_owned(),
        }
    }

    /// The JSON object that the script printed.
    pub fn json(&self) -> Value {
        let start = self.output.find('{').unwrap_or(0);
        serde_json::from_str(&self.output[start..])
            .unwrap_or_else(|error| panic!("no JSON ({error}) in: {}", self.output))
    }
}

/// Runs `tests/browser/<script>` with Node to its end; its complaints go where the test's do.
pub fn run(script: &str, settings: &[(&str, String)]) -> Outcome {
    let folder = root().join("tests/browser");
    assert!(
        folder.join("node_modules").exists(),
        "the browser tests' packages are missing; `./dev setup test` installs them"
    );
    let output = Command::new(node(&folder))
        .arg(folder.join(script))
        .envs(settings.iter().map(|(name, value)| (name, value)))
        .stderr(Stdio::inherit())
        .output()
        .expect("node runs");
    Outcome::of(&output)
}

/// Node of the machine, or the newer one that `./dev` put beside the packages where that is too old.
pub fn node(folder: &std::path::Path) -> PathBuf {
    let own = folder.join("node_modules/node/bin/node");
    if own.exists() { own } else { "node".into() }
}
