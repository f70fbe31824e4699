//! `streamdiffusion-host engines`: builds what plugins compile for this machine's GPU before a stream needs it, lists what
//! there is, and deletes what nobody uses. `engines/README.md` says how plugins keep engines.

mod kept;

use crate::Config;
use crate::one_pipeline::{Choice, ChoiceError};
use crate::size::size;
use clap::{Args, Subcommand};
use host_ports::{OpenRequest, PipelineError, Progress};
use kept::{Kept, State};
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

#[derive(Subcommand)]
pub enum EnginesCommand {
    /// Load a pipeline once, so that its engines are there when a stream needs them
    Build {
        #[command(flatten)]
        choice: Choice,
    },
    /// List the engines in the folder `paths.engines`
    List,
    /// Delete engines that were not used for long, and what broken builds left
    Gc(Collection),
}

/// What to delete.
#[derive(Args)]
pub struct Collection {
    /// Those not used for so many days
    #[arg(long, value_name = "DAYS", default_value_t = 30, value_parser = clap::value_parser!(u32).range(0..=36500))]
    unused_for: u32,
    /// Only say what would be deleted
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum EnginesError {
    #[error(transparent)]
    Choice(#[from] ChoiceError),
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
    #[error("cannot read {}; `paths.engines` says where engines are", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot delete {}", path.display())]
    Delete { path: PathBuf, source: io::Error },
}

impl EnginesCommand {
    /// Runs to the end and gives what is to be printed. Blocks; a build tells on stderr how far it is.
    pub fn run(self, config: Config) -> Result<String, EnginesError> {
        let folder = config.paths.engines.clone();
        match self {
            Self::Build { choice } => build(&choice, config, &folder),
            Self::List => Ok(list(&folder, &kept::all(&folder)?)),
            Self::Gc(collection) => collection.run(&folder),
        }
    }
}

fn build(choice: &Choice, config: Config, folder: &Path) -> Result<String, EnginesError> {
    let ids = || kept::all(folder).map(|kept| kept.into_iter().map(|one| one.id).collect());
    let before: BTreeSet<String> = ids()?;
    let (catalog, draft) = choice.draft(config)?;
    for warning in draft.warnings() {
        eprintln!("warning: {warning}");
    }
    let request = OpenRequest { claim: draft.claim.id.clone(), formats: draft.plan.formats };
    let mut pipeline = catalog.open(request)?.pipeline;
    let mut last = String::new();
    pipeline.load(&draft.for_plugin(), &mut |Progress { fraction, what }| {
        if what != last {
            eprintln!("{:3.0} % {what}", 100.0 * fraction);
            last = what;
        }
    })?;
    let after: BTreeSet<String> = ids()?;
    let new: Vec<_> = after.difference(&before).cloned().collect();
    Ok(match new.len() {
        0 => "no engine was built: all that this pipeline needs is there, or nothing is compiled for it here\n".into(),
        _ => format!("{}\n", new.join("\n")),
    })
}

fn list(folder: &Path, kept: &[Kept]) -> String {
    if kept.is_empty() {
        return format!("no engines in {}\n", folder.display());
    }
    kept.iter().map(|one| format!("{}\n", describe(one))).collect()
}

fn describe(one: &Kept) -> String {
    let state = match &one.state {
        State::Whole => String::new(),
        State::Broken(why) => format!("  {why}"),
    };
    let age = SystemTime::now().duration_since(one.last_use).unwrap_or_default();
    let used = match age.as_secs() / DAY.as_secs() {
        0 => "used today".to_owned(),
        1 => "used yesterday".to_owned(),
        days => format!("used {days} days ago"),
    };
    let details: Vec<_> =
        one.key.iter().map(|(name, value)| format!("\n  {name}: {value}")).collect();
    format!(
        "{}  {:>8}  {used}  {}{state}{}",
        one.id,
        size(one.bytes),
        one.subject,
        details.concat()
    )
}

impl Collection {
    fn run(&self, folder: &Path) -> Result<String, EnginesError> {
        let limit = SystemTime::now() - DAY * self.unused_for;
        let is_garbage = |one: &Kept| one.last_use < limit || one.state != State::Whole;
        let mut text = String::new();
        for one in kept::all(folder)?.iter().filter(|one| is_garbage(one)) {
            let verb = match one.claim(folder) {
                None => "kept, as it is being built or opened:",
                Some(_) if self.dry_run => "would delete",
                Some(claim) => {
                    one.delete(folder, claim)?;
                    "deleted"
                }
            };
            text += &format!("{verb} {}\n", describe(one).lines().next().unwrap_or_default());
        }
        Ok(if text.is_empty() { "nothing to delete\n".into() } else { text })
    }
}
