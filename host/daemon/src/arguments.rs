//! The command line.

use clap::{Args, Parser, Subcommand};
use host_api::Scope;
use host_daemon::{Bench, EnginesCommand, ModelsCommand, ParamsHelp};
use std::ffi::OsString;
use std::path::PathBuf;

/// Real-time video generation behind a Daydream-compatible API.
#[derive(Parser)]
#[command(
    version,
    after_help = "Every setting is also a variable: `port` of `[http]` is SDH_HTTP__PORT."
)]
pub struct Arguments {
    /// A TOML file of settings
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    #[command(flatten)]
    pub serving: Serving,
    #[command(subcommand)]
    pub command: Option<Command>,
}

#[derive(Args)]
pub struct Serving {
    /// Print all settings with their values as TOML, and end
    #[arg(long)]
    pub print_config: bool,
    /// Announce readiness as one line of JSON instead of text
    #[arg(long)]
    pub json_ready: bool,
    /// Serve anyone as long as there is no token, although others reach the host (`http.allow_without_token`)
    #[arg(long)]
    pub insecure: bool,
}

#[derive(Subcommand)]
pub enum Command {
    /// Make, list and revoke tokens; a running server follows at once
    Token {
        #[command(subcommand)]
        command: TokenCommand,
    },
    /// Look whether this machine can serve with these settings, and what to do where it cannot
    Doctor {
        /// Print a list in JSON
        #[arg(long)]
        json: bool,
    },
    /// List the params of a pipeline, as the installed plugins describe them
    Params(ParamsHelp),
    /// Measure a pipeline on this machine with a built-in clip: frames a second, time for a frame, memory
    Bench(Bench),
    /// Fetch, list and delete models
    Models {
        #[command(subcommand)]
        command: ModelsCommand,
    },
    /// Build, list and delete what was compiled for this machine's GPU
    Engines {
        #[command(subcommand)]
        command: EnginesCommand,
    },
    /// Runs plugins; started by the server itself, which talks to it over a socket
    #[command(hide = true)]
    Worker,
    /// Becomes another program, which ends with the server that started it
    #[command(hide = true)]
    Beside {
        /// The server's process
        parent: u32,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        command: Vec<OsString>,
    },
}

#[derive(Subcommand)]
pub enum TokenCommand {
    /// Make a token and print it; it cannot be shown again
    Add {
        name: String,
        /// create (make and delete streams), control (read and change them) or view (read them, without their keys);
        /// several by repeating or with commas
        #[arg(long = "scope", required = true, value_delimiter = ',')]
        scopes: Vec<Scope>,
    },
    /// List names and scopes
    List,
    /// Refuse a token from now on
    Revoke { name: String },
}
