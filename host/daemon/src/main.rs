//! The program `streamdiffusion-host`: serves until a signal ends it; its commands help to run such a server.

mod arguments;

use anyhow::Context;
use arguments::{Arguments, Command, Serving, TokenCommand};
use clap::Parser;
use host_daemon::{Config, Loaded, TokenError, TokenFile, doctor, logging, ready, signals, start};
use std::path::Path;
use std::process::ExitCode;

fn main() -> anyhow::Result<ExitCode> {
    let Arguments { config, serving, command } = Arguments::parse();
    match command {
        Some(Command::Worker) => return Ok(host_plugins::run_worker()),
        Some(Command::Beside { parent, command }) => {
            let error = host_mediamtx::run_beside(parent, &command);
            return Err(error).with_context(|| format!("cannot run {command:?}"));
        }
        _ => {}
    }
    host_plugins::bound_allocator();
    let loaded = load(config.as_deref(), &serving)?;
    match command {
        Some(Command::Doctor { json }) => return Ok(examine(loaded.config, json)),
        Some(Command::Bench(bench)) => print!("{}", bench.run(loaded.config)?),
        Some(Command::Params(wish)) => print!("{}", wish.text(loaded.config)?),
        Some(Command::Engines { command }) => print!("{}", command.run(loaded.config)?),
        Some(Command::Models { command }) => print!("{}", command.run(&loaded.config)?),
        Some(Command::Token { command }) => token(command, loaded.config.token_file())?,
        _ if serving.print_config => print!("{}", loaded.written),
        _ => serve(loaded.config, serving.json_ready)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The flag is the setting under another name.
fn load(file: Option<&Path>, serving: &Serving) -> anyhow::Result<Loaded> {
    let insecure = ("SDH_HTTP__ALLOW_WITHOUT_TOKEN".into(), "true".into());
    let insecure = serving.insecure.then_some(insecure);
    Ok(Config::load(file, std::env::vars_os().chain(insecure))?)
}

fn serve(config: Config, is_json: bool) -> anyhow::Result<()> {
    logging::start(&config.log);
    let runtime = tokio::runtime::Runtime::new().context("cannot start the threads of tokio")?;
    runtime.block_on(async {
        let stop = signals::stop().context("cannot listen for signals")?;
        let running = start(config).await?;
        ready::announce(running.addresses(), running.new_token(), is_json);
        stop.await;
        running.stop().await;
        Ok(())
    })
}

/// Fails where a finding does, so that a script can ask before it starts the server.
fn examine(config: Config, is_json: bool) -> ExitCode {
    let findings = doctor::examine(config);
    let json = || format!("{:#}\n", doctor::to_json(&findings));
    print!("{}", if is_json { json() } else { doctor::to_text(&findings) });
    if doctor::has_failed(&findings) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// The token alone goes to stdout, so that a script can take it from there.
fn token(command: TokenCommand, file: TokenFile) -> Result<(), TokenError> {
    match command {
        TokenCommand::Add { name, scopes } => {
            println!("{}", file.add(&name, scopes.into_iter().collect())?);
            eprintln!("send it as `Authorization: Bearer <token>`; it is not shown again");
        }
        TokenCommand::List => {
            for (name, scopes) in file.read()?.names() {
                println!("{name}: {}", scopes.names().join(", "));
            }
        }
        TokenCommand::Revoke { name } => file.revoke(&name)?,
    }
    Ok(())
}
