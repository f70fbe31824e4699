//! The folder of pictures: `SHA256.png` each, by what is in it, so that equal ones are there once; and `sources/SHA256`,
//! by what a client wrote, with the name of the picture that it gave the last time. Bounded in number and bytes: what
//! nobody uses goes, least recently used first.

use host_ports::Picture;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::SystemTime;

const EXTENSION: &str = "png";
const SOURCES: &str = "sources";
/// What is being written.
const NEW: &str = "new";
/// Of one picture, on average: different URLs may lead to the same.
const MOST_SOURCES_EACH: usize = 4;

/// How much is kept.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    pub pictures: usize,
    pub bytes: u64,
}

impl Default for Room {
    fn default() -> Self {
        Self { pictures: 1000, bytes: 256 << 20 }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    #[error("cannot {what} {}", path.display())]
    Files {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the path {} is not UTF-8, as a plugin is told it", .0.display())]
    Path(PathBuf),
    #[error(
        "all {pictures} pictures that are kept are in use; `pictures.cache_mib` and `pictures.cache_pictures` make more room"
    )]
    Full { pictures: usize },
}

impl CacheError {
    fn files(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Files { what, path, source }
    }
}

pub struct Cache {
    folder: PathBuf,
    room: Room,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    pictures: HashMap<Name, Kept>,
    sources: HashMap<Name, Source>,
    bytes: u64,
    /// Grows with each use.
    clock: u64,
}

/// SHA-256, hexadecimal.
type Name = String;

struct Kept {
    bytes: u64,
    used: u64,
    /// Alive while a stream uses it.
    keep: Weak<()>,
}

struct Source {
    picture: Name,
    used: u64,
}

impl Cache {
    /// Makes the folder, or reads what an earlier run left there.
    pub fn open(folder: &Path, room: Room) -> Result<Self, CacheError> {
        let folder = std::path::absolute(folder).map_err(CacheError::files("find", folder))?;
        if folder.to_str().is_none() {
            return Err(CacheError::Path(folder));
        }
        let cache = Self { folder, room, state: Mutex::default() };
        let sources = cache.folder.join(SOURCES);
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&sources);
        made.map_err(CacheError::files("make the folder", &sources))?;
        let mut state = cache.state();
        cache.read_pictures(&mut state)?;
        cache.read_sources(&mut state)?;
        cache.make_room(&mut state, 0, 0)?;
        drop(state);
        Ok(cache)
    }

    /// Keeps a picture, and that `source` gave it.
    pub fn keep(&self, source: &str, png: &[u8]) -> Result<Picture, CacheError> {
        let name = name(png);
        let size = png.len() as u64;
        // Writing is under the lock too: it is rare, and nobody is shown half of it.
        let mut state = self.state();
        if !self.has(&state, &name, size) {
            self.forget(&mut state, &name);
            self.make_room(&mut state, 1, size)?;
            self.write(&self.picture_path(&name), png)?;
            state.bytes += size;
            state.pictures.insert(name.clone(), Kept { bytes: size, used: 0, keep: Weak::new() });
        }
        let picture = self.lend(&mut state, &name);
        self.note_source(&mut state, source, &name)?;
        Ok(picture)
    }

    /// What a source gave the last time, if that is still here.
    pub fn recall(&self, source: &str) -> Option<Picture> {
        let mut state = self.state();
        let picture = state.sources.get(&name(source.as_bytes()))?.picture.clone();
        let bytes = fs::read(self.picture_path(&picture)).ok()?;
        (name(&bytes) == picture).then(|| self.lend(&mut state, &picture))
    }

    fn lend(&self, state: &mut State, name: &str) -> Picture {
        let path = self.picture_path(name);
        let now = state.tick();
        let mut keep = None;
        if let Some(kept) = state.pictures.get_mut(name) {
            kept.used = now;
            keep = kept.keep.upgrade();
        }
        let keep = keep.unwrap_or_default();
        if let Some(kept) = state.pictures.get_mut(name) {
            kept.keep = Arc::downgrade(&keep);
        }
        touch(&path);
        // All of the folder's path was found to be UTF-8.
        Picture::new(path.to_string_lossy(), keep)
    }

    /// Whether it is known and its file still there.
    fn has(&self, state: &State, name: &str, size: u64) -> bool {
        let file = fs::metadata(self.picture_path(name));
        let is_whole = file.is_ok_and(|file| file.is_file() && file.len() == size);
        is_whole && state.pictures.get(name).is_some_and(|kept| kept.bytes == size)
    }

    fn note_source(&self, state: &mut State, text: &str, picture: &str) -> Result<(), CacheError> {
        let source = name(text.as_bytes());
        let used = state.tick();
        let is_known = state.sources.get(&source).is_some_and(|known| known.picture == picture);
        if !is_known {
            self.write(&self.source_path(&source), picture.as_bytes())?;
        }
        state.sources.insert(source, Source { picture: picture.to_owned(), used });
        let most = self.room.pictures.saturating_mul(MOST_SOURCES_EACH);
        while state.sources.len() > most {
            let oldest = state.sources.iter().min_by_key(|(_, source)| source.used);
            let Some(oldest) = oldest.map(|(name, _)| name.clone()) else { break };
            state.sources.remove(&oldest);
            discard(&self.source_path(&oldest));
        }
        Ok(())
    }

    /// Lets unused pictures go until so many more, of so many bytes, find room.
    fn make_room(&self, state: &mut State, more: usize, bytes: u64) -> Result<(), CacheError> {
        let is_full = |state: &State| {
            state.pictures.len() + more > self.room.pictures
                || state.bytes.saturating_add(bytes) > self.room.bytes
        };
        while is_full(state) {
            let unused = state.pictures.iter().filter(|(_, kept)| kept.keep.strong_count() == 0);
            let oldest = unused.min_by_key(|(_, kept)| kept.used).map(|(name, _)| name.clone());
            let pictures = state.pictures.len();
            self.forget(state, &oldest.ok_or(CacheError::Full { pictures })?);
        }
        Ok(())
    }

    fn forget(&self, state: &mut State, name: &str) {
        let Some(kept) = state.pictures.remove(name) else { return };
        state.bytes -= kept.bytes;
        discard(&self.picture_path(name));
        state.sources.retain(|source, known| {
            let stays = known.picture != name;
            if !stays {
                discard(&self.source_path(source));
            }
            stays
        });
    }

    fn read_pictures(&self, state: &mut State) -> Result<(), CacheError> {
        let mut found = Vec::new();
        for path in list(&self.folder)? {
            let Ok(file) = fs::symlink_metadata(&path) else { continue };
            if path.extension().is_some_and(|extension| extension == NEW) {
                discard(&path);
            } else if let Some(name) = stem(&path, EXTENSION).filter(|_| file.is_file()) {
                found.push((file.modified().unwrap_or(SystemTime::UNIX_EPOCH), name, file.len()));
            }
        }
        found.sort();
        for (_, name, bytes) in found {
            let used = state.tick();
            state.bytes += bytes;
            state.pictures.insert(name, Kept { bytes, used, keep: Weak::new() });
        }
        Ok(())
    }

    fn read_sources(&self, state: &mut State) -> Result<(), CacheError> {
        for path in list(&self.folder.join(SOURCES))? {
            let picture = fs::read_to_string(&path).ok();
            let picture = picture.filter(|picture| state.pictures.contains_key(picture));
            let source = stem(&path, "");
            match (source, picture) {
                (Some(source), Some(picture)) => {
                    let used = state.pictures.get(&picture).map_or(0, |kept| kept.used);
                    state.sources.insert(source, Source { picture, used });
                }
                _ => discard(&path),
            }
        }
        Ok(())
    }

    /// Whole or not at all, also when the machine stops.
    fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), CacheError> {
        let new = path.with_extension(NEW);
        let write = || {
            let mut file = File::options();
            let mut file = file.write(true).create(true).truncate(true).mode(0o600).open(&new)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&new, path)
        };
        write().map_err(CacheError::files("write", path))
    }

    fn picture_path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.{EXTENSION}"))
    }

    fn source_path(&self, name: &str) -> PathBuf {
        self.folder.join(SOURCES).join(name)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // What a panic leaves half noted is a file more or less, which is looked for before it is used.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }
}

fn name(bytes: &[u8]) -> Name {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The name in a path that we could have written.
fn stem(path: &Path, extension: &str) -> Option<Name> {
    let has_it = path.extension().unwrap_or_default() == extension;
    let name = path.file_stem()?.to_str()?;
    let is_name = name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    (has_it && is_name).then(|| name.to_owned())
}

fn list(folder: &Path) -> Result<Vec<PathBuf>, CacheError> {
    let entries = fs::read_dir(folder).map_err(CacheError::files("read the folder", folder))?;
    Ok(entries.flatten().map(|entry| entry.path()).collect())
}

/// What stays is found again by the next run.
fn discard(path: &Path) {
    let _ = fs::remove_file(path);
}

/// So that the next run knows what was used last; without it, it lets others go first.
fn touch(path: &Path) {
    let _ = File::options()
        .write(true)
        .open(path)
        .and_then(|file| file.set_modified(SystemTime::now()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    const ROOM: Room = Room { pictures: 3, bytes: 100 };

    fn cache(folder: &TempDir) -> Cache {
        Cache::open(folder.path(), ROOM).expect("a folder")
    }

    fn files(folder: &TempDir) -> usize {
        list(folder.path()).expect("a folder").len() - 1
    }

    #[test]
    fn equal_pictures_are_there_once_and_found_by_every_source() {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = cache(&folder);
        let first = cache.keep("a", b"picture").expect("room");
        let second = cache.keep("b", b"picture").expect("room");
        assert_eq!((first.path(), files(&folder)), (second.path(), 1));
        assert!(Path::new(first.path()).is_absolute() && first.path().ends_with(".png"));
        assert_eq!(fs::read(first.path()).expect("a file"), b"picture");
        let recalled = ["a", "b"].map(|source| cache.recall(source).expect("kept"));
        assert!(recalled.iter().all(|picture| picture.path() == first.path()));
        assert!(cache.recall("c").is_none());
    }

    #[test]
    fn what_was_used_longest_ago_goes_first_and_what_is_in_use_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = cache(&folder);
        let held = cache.keep("held", b"0").expect("room");
        for source in ["a", "b"] {
            drop(cache.keep(source, source.as_bytes()).expect("room"));
        }
        drop(cache.recall("a").expect("kept"));
        drop(cache.keep("c", b"c").expect("room"));
        let has = |source| cache.recall(source).is_some();
        assert_eq!(["held", "a", "b", "c"].map(has), [true, true, false, true]);
        assert!(Path::new(held.path()).exists());
        assert_eq!(files(&folder), ROOM.pictures);
        // In bytes too: nearly all room for one.
        drop(cache.keep("large", &[1; 99]).expect("room"));
        assert_eq!((files(&folder), cache.recall("held").is_some()), (2, true));
        let full = cache.keep("larger", &[1; 100]).err().expect("no room");
        assert!(matches!(full, CacheError::Full { pictures: 1 }), "{full}");
        assert!(Path::new(held.path()).exists());
    }

    #[test]
    fn the_next_run_finds_what_is_whole() {
        let folder = tempfile::tempdir().expect("a folder");
        let kept = ["a", "b", "c"].map(|source| {
            let picture = cache(&folder).keep(source, source.as_bytes()).expect("room");
            picture.path().to_owned()
        });
        fs::write(folder.path().join("x.new"), "half").expect("written");
        fs::write(&kept[1], "").expect("written");
        fs::remove_file(&kept[2]).expect("removed");
        let cache = cache(&folder);
        let has = |source| cache.recall(source).is_some();
        assert!(has("a") && !has("c"));
        assert!(!folder.path().join("x.new").exists());
        let again = cache.keep("b", b"b").expect("room");
        assert_eq!(fs::read(again.path()).expect("a file"), b"b");
        // Deleted under our hands.
        fs::remove_file(again.path()).expect("removed");
        assert!(!has("b"));
        let again = cache.keep("b", b"b").expect("room");
        assert_eq!(fs::read(again.path()).expect("a file"), b"b");
    }

    #[test]
    fn sources_are_bounded_too() {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = cache(&folder);
        for source in 0..50 {
            drop(cache.keep(&source.to_string(), b"picture").expect("room"));
        }
        let most = ROOM.pictures * MOST_SOURCES_EACH;
        assert_eq!(list(&folder.path().join(SOURCES)).expect("a folder").len(), most);
        assert!(cache.recall("49").is_some() && cache.recall("0").is_none());
    }
}
