//! The project's chores: `cargo xtask ci` is everything that is checked, `cargo xtask tidy` the checks of the house
//! itself, `cargo xtask gen` writes the files that are made from sources. `./dev` sets the machine up and calls this.

mod tidy;

use anyhow::{Context, Result, bail};
use std::process::Command;
use std::time::Instant;

fn main() -> Result<()> {
    match std::env::args().nth(1).as_deref() {
        Some("ci") => ci(),
        Some("gen") => generate(),
        Some("tidy") => tidy::run(),
        _ => bail!("usage: cargo xtask ci | gen | tidy"),
    }
}

/// The steps of CI in order of their cost: what is cheap to find is found first.
fn ci() -> Result<()> {
    step("tidy", tidy::run)?;
    cargo("formatting", &["fmt", "--all", "--check"])?;
    cargo("lints", &["clippy", "-q", "--workspace", "--all-targets", "--", "-D", "warnings"])?;
    // Plugins are libraries that the tests load from disk, and the server is a program that they start.
    cargo("build", &["build", "-q", "--workspace"])?;
    // To the end, so that one run shows every failure there is.
    cargo("tests", &["test", "-q", "--workspace", "--no-fail-fast"])?;
    cargo("docs", &["doc", "-q", "--workspace", "--no-deps"])
}

/// The tests that find such a file stale write it, too, when they are told.
fn generate() -> Result<()> {
    // With the features of the whole workspace, whose dependencies are built already.
    let header = ["test", "-q", "--workspace", "--test", "header"];
    cargo_with("plugin.h", &header, &[("UPDATE_HEADER", "1")])?;
    let settings = ["test", "-q", "--workspace", "--lib", "config::reference"];
    cargo_with("config.md", &settings, &[("UPDATE_EXPECT", "1")])
}

fn cargo(name: &str, arguments: &[&str]) -> Result<()> {
    cargo_with(name, arguments, &[("RUSTDOCFLAGS", "-D warnings")])
}

fn cargo_with(name: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Result<()> {
    step(name, || {
        let status = Command::new(env!("CARGO"))
            .args(arguments)
            .envs(variables.iter().copied())
            .status()
            .context("cannot start cargo")?;
        if !status.success() {
            bail!("{name} failed: cargo {}", arguments.join(" "));
        }
        Ok(())
    })
}

fn step(name: &str, run: impl FnOnce() -> Result<()>) -> Result<()> {
    eprintln!("==> {name}");
    let started = Instant::now();
    run()?;
    eprintln!("    {name}: {:.0} s", started.elapsed().as_secs_f32());
    Ok(())
}
