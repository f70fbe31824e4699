//! `streamdiffusion-host models`: fetches models from the hub, lists what is there, and deletes what was fetched.

mod progress;

use crate::Config;
use crate::size::size;
use clap::{Args, Subcommand};
use host_models::{
    Cancel, FileName, Hub, Installed, ModelId, Place, Precision, PullError, Pulled, RemoveError,
    Revision, Selection, SettingsError, State, Wish, installed,
};
use progress::Progress;
use std::fmt::Write;
use std::io::{self, IsTerminal};

#[derive(Subcommand)]
pub enum ModelsCommand {
    /// Fetch what a pipeline needs of a model; what was broken off goes on where it ended
    #[command(
        after_help = "HF_TOKEN, HF_HOME, HF_HUB_CACHE, HF_ENDPOINT and HF_HUB_OFFLINE mean what they mean to the hub's own tools."
    )]
    Pull(Pull),
    /// List the models in the folder `paths.models` and in the hub's cache
    List,
    /// Delete a model from the hub's cache
    Rm {
        #[arg(value_parser = ModelId::parse)]
        id: ModelId,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

/// What to fetch.
#[derive(Args)]
pub struct Pull {
    /// As on the hub: ORG/NAME
    #[arg(value_parser = ModelId::parse)]
    id: ModelId,
    /// A branch, a tag or a commit
    #[arg(long, default_value = "main", value_parser = Revision::parse)]
    revision: Revision,
    /// Weights in full precision where there are both; half of the bytes otherwise
    #[arg(long)]
    full: bool,
    /// Nothing but this file of the repository, such as one LoRA of many; several by repeating
    #[arg(long = "file", value_name = "PATH", value_parser = FileName::parse, conflicts_with = "full")]
    files: Vec<FileName>,
}

#[derive(Debug, thiserror::Error)]
pub enum ModelsError {
    #[error("cannot tell where the hub is")]
    Settings(#[from] SettingsError),
    #[error(transparent)]
    Pull(#[from] PullError),
    #[error(transparent)]
    Remove(#[from] RemoveError),
    #[error("nobody is there to ask whether `{id}` may be deleted; `--yes` says so")]
    NobodyToAsk { id: ModelId },
    #[error("cannot read the answer")]
    Answer(#[source] io::Error),
}

impl ModelsCommand {
    /// Runs to the end and gives what is to be printed. Blocks; a pull tells on stderr how far it is.
    pub fn run(self, config: &Config) -> Result<String, ModelsError> {
        let hub = Hub::from_environment(std::env::vars_os())?;
        match self {
            Self::Pull(pull) => pull.run(&hub),
            Self::List => Ok(list(config, &hub)),
            Self::Rm { id, yes } => remove(config, &hub, &id, yes),
        }
    }
}

impl Pull {
    /// The folder alone is printed, so that a script can take it from there.
    fn run(self, hub: &Hub) -> Result<String, ModelsError> {
        let selection = match self.files {
            files if !files.is_empty() => Selection::Files(files),
            _ if self.full => Selection::Pipeline(Precision::Full),
            _ => Selection::Pipeline(Precision::Half),
        };
        let wish = Wish { revision: self.revision, selection, ..Wish::new(self.id) };
        let mut progress = Progress::new(io::stderr().is_terminal());
        // Ctrl+C ends the process, and what is there by then is where the next pull goes on.
        let pulled = hub.pull(&wish, &Cancel::default(), &mut |event| progress.show(event));
        progress.end();
        let pulled = pulled?;
        eprint!("{}", summary(&wish, &pulled));
        Ok(format!("{}\n", pulled.folder.display()))
    }
}

fn summary(wish: &Wish, pulled: &Pulled) -> String {
    let (all, fetched) = (size(pulled.bytes), size(pulled.fetched));
    let mut text =
        format!("{}: {} files, {all}, of them {fetched} fetched now\n", wish.id, pulled.files);
    for component in &pulled.without_weights {
        text += &format!("warning: {component} has no .safetensors with a name that is read\n");
    }
    if wish.revision != Revision::main() {
        text += "a stream takes `main` where that is there, too; for this one its model_id is the folder\n";
    }
    text
}

fn list(config: &Config, hub: &Hub) -> String {
    let found = installed(&config.paths.models, hub.cache());
    if found.is_empty() {
        let (models, cache) = (config.paths.models.display(), hub.cache().display());
        return format!("no models in {models} and {cache}\n");
    }
    let width = found.iter().map(|model| model.id.len()).max().unwrap_or_default();
    let mut text = String::new();
    for Installed { id, place, bytes, state } in found {
        let place = match place {
            Place::Folder => "models",
            Place::Cache => "cache",
        };
        let state = match state {
            State::Complete => "complete".to_owned(),
            State::Incomplete(what) => format!("incomplete: {what}"),
        };
        // Writing to a text does not fail.
        let _ = writeln!(text, "{id:width$}  {:>8}  {place:6}  {state}", size(bytes));
    }
    text
}

fn remove(config: &Config, hub: &Hub, id: &ModelId, yes: bool) -> Result<String, ModelsError> {
    let folder = hub.cached(id)?;
    let found = installed(&config.paths.models, hub.cache());
    let is_it = |model: &&Installed| model.id == id.as_str() && model.place == Place::Cache;
    let bytes = found.iter().find(is_it).map_or(0, |model| model.bytes);
    let what = format!("{id}, {}, {}", size(bytes), folder.display());
    if !yes && !ask(id, &what)? {
        return Ok(format!("kept {what}\n"));
    }
    hub.remove(id)?;
    Ok(format!("deleted {what}\n"))
}

fn ask(id: &ModelId, what: &str) -> Result<bool, ModelsError> {
    if !io::stdin().is_terminal() {
        return Err(ModelsError::NobodyToAsk { id: id.clone() });
    }
    eprint!("delete {what}? [y/N] ");
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).map_err(ModelsError::Answer)?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}
