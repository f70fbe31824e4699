//! The program `streamdiffusion-host`: serves until a signal ends it; its commands help to run such a server.

use anyhow::Context;
use clap::{Parser, Subcommand};
use host_daemon::{Config, ParamsHelp, logging, ready, signals, start};
use std::path::PathBuf;
use std::process::ExitCode;

/// Real-time video generation behind a Daydream-compatible API.
#[derive(Parser)]
#[command(
    version,
    after_help = "Every setting is also a variable: `port` of `[http]` is SDH_HTTP__PORT."
)]
struct Arguments {
    /// A TOML file of settings
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print all settings with their values as TOML, and end
    #[arg(long)]
    print_config: bool,
    /// Announce readiness as one line of JSON instead of text
    #[arg(long)]
    json_ready: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Runs plugins; started by the server itself, which talks to it over a socket
    #[command(hide = true)]
    Worker,
    /// Lists the params of a pipeline, as the installed plugins describe them
    Params(ParamsHelp),
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    if let Some(Command::Worker) = arguments.command {
        return Ok(host_plugins::run_worker());
    }
    let settings = Config::load(arguments.config.as_deref(), std::env::vars_os())?;
    if arguments.print_config {
        print!("{}", settings.written);
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(Command::Params(wish)) = arguments.command {
        print!("{}", wish.text(settings.config)?);
        return Ok(ExitCode::SUCCESS);
    }
    logging::start(&settings.config.log);
    let runtime = tokio::runtime::Runtime::new().context("cannot start the threads of tokio")?;
    runtime.block_on(serve(settings.config, arguments.json_ready))?;
    Ok(ExitCode::SUCCESS)
}

async fn serve(config: Config, is_json: bool) -> anyhow::Result<()> {
    let stop = signals::stop().context("cannot listen for signals")?;
    let running = start(config).await?;
    ready::announce(running.addresses(), is_json);
    stop.await;
    running.stop().await;
    Ok(())
}
