//! Room on the disks, the right to write, and whether there are weights.

use super::Finding;
use crate::config::Paths;
use rustix::fs::{Access, access, statvfs};
use std::fs;
use std::path::Path;

const AREA: &str = "folders";
const MIB: u64 = 1 << 20;
/// With less, not even the tokens or a plugin's copy may fit.
const LEAST: u64 = 100 * MIB;
/// A large model, or what is built from one.
const ROOM_FOR_WEIGHTS: u64 = 10 * 1024 * MIB;
const ROOM: u64 = 1024 * MIB;

pub fn check(paths: &Paths) -> Vec<Finding> {
    let mut findings = vec![
        disk("paths.models", &paths.models, ROOM_FOR_WEIGHTS),
        disk("paths.engines", &paths.engines, ROOM_FOR_WEIGHTS),
        disk("paths.cache", &paths.cache, ROOM),
        disk("paths.state", &paths.state, ROOM),
    ];
    findings.push(models(&paths.models));
    findings
}

fn disk(key: &str, folder: &Path, wanted: u64) -> Finding {
    let what = format!("{} (`{key}`)", folder.display());
    let Some(found) = existing(folder) else {
        return Finding::fail(AREA, format!("{what} cannot be made"), format!("set `{key}`"));
    };
    if access(found, Access::WRITE_OK | Access::EXEC_OK).is_err() {
        let text = format!("{what} cannot be written to");
        return Finding::fail(AREA, text, format!("give this user the right to, or set `{key}`"));
    }
    let free = match statvfs(found) {
        Ok(disk) => disk.f_bavail * disk.f_frsize,
        Err(error) => {
            let fix = format!("look at the disk, or set `{key}`");
            return Finding::fail(AREA, format!("{what} cannot be measured: {error}"), fix);
        }
    };
    let text = format!("{what} has {} MiB free", free / MIB);
    let fix = format!("make room, or set `{key}` to a folder of a larger disk");
    match free {
        free if free < LEAST => Finding::fail(AREA, text, fix),
        free if free < wanted => Finding::warn(AREA, text, fix),
        _ => Finding::ok(AREA, text),
    }
}

/// The folder, or what it would be made in.
fn existing(folder: &Path) -> Option<&Path> {
    let folder = folder.ancestors().find(|path| path.exists() || path.as_os_str().is_empty())?;
    let here = Path::new(".");
    Some(if folder.as_os_str().is_empty() { here } else { folder }).filter(|path| path.is_dir())
}

fn models(folder: &Path) -> Finding {
    let count = checkpoints(folder);
    if count == 0 {
        let fix = format!(
            "put a diffusers folder at {}, or fetch one by `streamdiffusion-host models pull ID`; a pipeline without a model needs none",
            folder.join("OWNER/NAME").display()
        );
        return Finding::warn(AREA, format!("no model in {}", folder.display()), fix);
    }
    Finding::ok(AREA, format!("{count} models in {}", folder.display()))
}

/// Folders of folders that hold a model's index or a configuration.
fn checkpoints(folder: &Path) -> usize {
    let folders_in = |folder: &Path| {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect::<Vec<_>>()
    };
    let is_model = |path: &std::path::PathBuf| {
        ["model_index.json", "config.json"].iter().any(|name| path.join(name).is_file())
    };
    folders_in(folder).iter().flat_map(|owner| folders_in(owner)).filter(is_model).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;

    #[test]
    fn a_folder_that_is_not_there_yet_is_judged_by_its_disk() {
        let folder = tempfile::tempdir().expect("a folder");
        let below = folder.path().join("a/b");
        assert!(matches!(disk("paths.state", &below, 0).level, Level::Ok | Level::Fail));
        assert_eq!(disk("paths.state", &below, u64::MAX).level, Level::Warn);
        fs::write(folder.path().join("file"), "").expect("a file");
        let inside = folder.path().join("file/b");
        assert_eq!(disk("paths.state", &inside, 0).level, Level::Fail);
        assert!(!below.exists(), "nothing is made");
    }

    #[test]
    fn models_are_counted_by_owner_and_name() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(models(folder.path()).level, Level::Warn);
        let model = folder.path().join("acme/small");
        fs::create_dir_all(&model).expect("a folder");
        assert_eq!(models(folder.path()).level, Level::Warn);
        fs::write(model.join("model_index.json"), "{}").expect("a file");
        assert_eq!(models(folder.path()).level, Level::Ok);
    }
}
