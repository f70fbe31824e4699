//! `streamdiffusion-host engines`: builds what plugins compile for this machine's GPU before a stream needs it, lists what
//! there is, and deletes what nobody uses. `engines/README.md` says how plugins keep engines.

mod kept;

use crate::Config;
use crate::one_pipeline::{Choice, ChoiceError};
use crate::size::size;
use clap::{Args, Subcommand};
use host_ports::{OpenRequest, PipelineError, Progress};
use kept::{Kept, State};
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
    let before = kept::all(folder)?;
    let (catalog, draft) = choice.draft(config)?;
    for warning in draft.warnings() {
        eprintln!("warning: {warning}");
    }
    let request = OpenRequest { claim: draft.claim.id.clone(), formats: draft.plan.formats };
    let mut pipeline = catalog.open(request)?.pipeline;
    let mut last = String::new();
    pipeline.load(&draft.for_pipeline(), &mut |Progress { fraction, what }| {
        if what != last {
            eprintln!("{:3.0} % {what}", 100.0 * fraction);
            last = what;
        }
    })?;
    let built = built(&before, &kept::all(folder)?);
    Ok(match built.is_empty() {
        true => "no engine was built: all that this pipeline needs is there, or nothing is compiled for it here\n".into(),
        false => format!("{}\n", built.join("\n")),
    })
}

/// Which engines are there now and were not, or were others of the same id: a damaged one is built anew.
fn built(before: &[Kept], after: &[Kept]) -> Vec<String> {
    let was_there = |one: &Kept| {
        before.iter().any(|old| {
            (&old.id, &old.state, old.build_seconds) == (&one.id, &one.state, one.build_seconds)
        })
    };
    let new = after.iter().filter(|one| one.state == State::Whole && !was_there(one));
    new.map(|one| one.id.clone()).collect()
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn write(folder: &Path, id: &str, build_seconds: f64) {
        let engine = folder.join(id);
        fs::create_dir_all(&engine).unwrap();
        fs::write(engine.join("unet.engine"), "compiled").unwrap();
        let record = format!(
            r#"{{ "subject": "unet", "key": {{}}, "build_seconds": {build_seconds},
                "files": {{ "unet.engine": {{ "bytes": 8, "sha256": "of no matter here" }} }} }}"#
        );
        fs::write(engine.join("engine.json"), record).unwrap();
    }

    #[test]
    fn engines_built_anew_are_told_and_those_only_used_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        for id in ["cut", "damaged", "used"] {
            write(folder, id, 1.5);
        }
        fs::write(folder.join("cut/unet.engine"), "comp").unwrap();
        let before = kept::all(folder).unwrap();
        write(folder, "cut", 1.5);
        write(folder, "damaged", 1.75);
        write(folder, "new", 1.5);
        let used = fs::File::options().append(true).open(folder.join("used/engine.json")).unwrap();
        used.set_modified(SystemTime::now() + DAY).unwrap();
        let after = kept::all(folder).unwrap();
        assert_eq!(built(&before, &after), ["cut", "damaged", "new"]);
        assert_eq!(built(&after, &after), [""; 0]);
    }
}
