//! Programs of `tests/clients`: Daydream's own clients, a tester that reads the OpenAPI document, and media peers of other
//! makes. `./dev setup test` installs what they need.

use crate::browser::{Outcome, node};
use crate::libraries::root;
use std::path::Path;
use std::process::{Command, Stdio};

/// Runs `tests/clients/<folder>/conformance.mjs`, which finds its packages beside the path it is started by.
pub fn run_node(folder: &str, settings: &[(&str, String)]) -> Outcome {
    let folder = root().join("tests/clients").join(folder);
    let mut command = Command::new(node(&folder));
    command.args(["--preserve-symlinks", "--preserve-symlinks-main"]);
    command.arg(folder.join("conformance.mjs"));
    finish(command, &folder.join("node_modules"), settings)
}

/// Runs a program of a folder's Python environment.
pub fn run_python(folder: &str, arguments: &[&str], settings: &[(&str, String)]) -> Outcome {
    let folder = root().join("tests/clients").join(folder);
    let environment = folder.join(".venv");
    let mut command = Command::new(environment.join("bin/python"));
    command.args(arguments).current_dir(&folder);
    finish(command, &environment, settings)
}

/// Its complaints go where the test's do.
fn finish(mut command: Command, packages: &Path, settings: &[(&str, String)]) -> Outcome {
    assert!(packages.exists(), "{} is missing; `./dev setup test` installs it", packages.display());
    command.envs(settings.iter().map(|(name, value)| (name, value))).stderr(Stdio::inherit());
    Outcome::of(&command.output().expect("the program starts"))
}
