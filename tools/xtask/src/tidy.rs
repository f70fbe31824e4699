//! Rules of the house that no compiler checks: which crate may use which, how long a file may be, what may not stand in it.

use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// Who may use whom among our crates, tests included. `docs/architecture.md` draws it.
const MAY_USE: &[(&str, &[&str])] = &[
    (
        "host-daemon",
        &[
            "host-api",
            "host-runtime",
            "host-media",
            "host-mediamtx",
            "host-models",
            "host-plugins",
            "host-store",
            "host-ports",
            "test-hub",
        ],
    ),
    ("host-api", &["host-runtime", "host-stream", "host-ports"]),
    ("host-runtime", &["host-stream", "host-ports"]),
    ("host-media", &["host-ports", "test-peer"]),
    ("host-mediamtx", &[]),
    ("host-store", &["host-ports"]),
    ("host-models", &["host-ports", "test-hub"]),
    ("host-plugins", &["host-ports", "plugin-api"]),
    ("host-ports", &[]),
    ("host-stream", &[]),
    ("plugin-api", &[]),
    ("plugin-testkit", &["plugin-api"]),
    ("plugins-diffusion", &["plugin-api"]),
    ("plugin-passthrough", &["plugin-api", "plugin-testkit"]),
    ("plugin-controlnet", &["plugin-api", "plugin-testkit", "plugins-diffusion"]),
    ("plugin-ip-adapter", &["plugin-api", "plugin-testkit", "plugins-diffusion"]),
    ("plugin-processors", &["plugin-api", "plugin-testkit", "plugins-diffusion"]),
    ("plugin-sd15", &["plugin-api", "plugin-testkit", "plugins-diffusion"]),
    ("plugin-sdxl", &["plugin-api", "plugin-testkit", "plugins-diffusion"]),
    ("plugin-faulty", &["plugin-api", "plugin-testkit"]),
    // Each target calls the crate whose parser it tries.
    (
        "test-fuzz",
        &[
            "host-api",
            "host-media",
            "host-models",
            "host-plugins",
            "host-ports",
            "host-runtime",
            "host-stream",
            "plugin-api",
        ],
    ),
    ("test-hub", &[]),
    ("test-peer", &[]),
    // It measures the processors beside OpenCV's.
    ("tests", &["plugin-api", "plugin-processors", "test-hub", "test-peer"]),
    ("xtask", &[]),
];

const LONGEST_FILE: usize = 500;

/// Words that mark unfinished work, written apart so that this file does not find itself.
const UNFINISHED: &[&str] = &[
    concat!("todo", "!("),
    concat!("unimplemented", "!("),
    concat!("#[", "ignore"),
    concat!("FIX", "ME"),
];

/// Runs all rules and reports every breach at once.
pub fn run() -> Result<()> {
    let mut breaches = edges()?;
    breaches.extend(files()?);
    breaches.extend(contract()?);
    if !breaches.is_empty() {
        bail!("{} breaches of the house rules:\n  {}", breaches.len(), breaches.join("\n  "));
    }
    Ok(())
}

fn edges() -> Result<Vec<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .output()
        .context("cannot start cargo")?;
    let metadata: Value = serde_json::from_slice(&output.stdout).context("cargo metadata")?;
    let allowed: BTreeMap<_, _> = MAY_USE.iter().copied().collect();
    let workspace = std::fs::read_to_string("Cargo.toml").context("Cargo.toml")?;
    let mut breaches = vec![];
    for package in metadata["packages"].as_array().context("no packages")? {
        let name = package["name"].as_str().context("a package without a name")?;
        let Some(may_use) = allowed.get(name) else {
            breaches.push(format!("crate {name} is not in MAY_USE of tools/xtask/src/tidy.rs"));
            continue;
        };
        if !workspace.contains(&format!("\n{name} = {{ opt-level")) {
            breaches.push(format!("crate {name} is not in [profile.dev.package] of Cargo.toml"));
        }
        for dependency in package["dependencies"].as_array().context("no dependencies")? {
            let used = dependency["name"].as_str().unwrap_or_default();
            if allowed.contains_key(used) && !may_use.contains(&used) {
                breaches.push(format!("{name} must not use {used}; it may use {may_use:?}"));
            }
        }
    }
    Ok(breaches)
}

/// Whether each test that `docs/contract.md` names is where it says, as `name` in `file`.
fn contract() -> Result<Vec<String>> {
    let document = std::fs::read_to_string("docs/contract.md").context("docs/contract.md")?;
    let mut breaches = vec![];
    for (before, after) in document.split("` in `").zip(document.split("` in `").skip(1)) {
        let name = before.rsplit('`').next().unwrap_or_default();
        let file = after.split('`').next().unwrap_or_default();
        let text = std::fs::read_to_string(file).unwrap_or_default();
        if !text.contains(&format!("fn {name}()")) {
            breaches.push(format!("docs/contract.md: there is no test {name} in {file}"));
        }
    }
    Ok(breaches)
}

fn files() -> Result<Vec<String>> {
    let output = Command::new("git").args(["ls-files", "*.rs"]).output().context("git ls-files")?;
    let mut breaches = vec![];
    for path in String::from_utf8(output.stdout)?.lines().filter(|path| Path::new(path).exists()) {
        let text = std::fs::read_to_string(path).with_context(|| path.to_owned())?;
        let lines = text.lines().count();
        if lines > LONGEST_FILE {
            breaches.push(format!(
                "{path} has {lines} lines; {LONGEST_FILE} is the limit: find the second idea"
            ));
        }
        let is_crate_code = !path.contains("/build.rs");
        if is_crate_code && !text.starts_with("//!") && !text.starts_with("#!") {
            breaches.push(format!("{path} does not open with what it is for (//!)"));
        }
        for (index, line) in text.lines().enumerate() {
            if let Some(word) = UNFINISHED.iter().find(|word| line.contains(**word)) {
                breaches.push(format!("{path}:{}: `{word}` marks unfinished work", index + 1));
            }
        }
    }
    Ok(breaches)
}
