//! Library files and their copies: named by content, made at once, never changed.

use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// SHA-256 in hexadecimal.
pub(crate) fn hash_bytes(bytes: &[u8]) -> String {
    to_hex(&Sha256::digest(bytes))
}

/// Copies a library into the cache unless it is there; gives its hash and the copy's path.
pub(crate) fn copy_to_cache(file: &Path, cache_dir: &Path) -> io::Result<(String, PathBuf)> {
    let hash = hash_while_copying(File::open(file)?, io::sink())?;
    let copy = cache_dir.join(format!("{hash}.so"));
    if is_complete(&copy, file) {
        return Ok((hash, copy));
    }
    let unfinished = cache_dir.join(format!("{hash}.tmp-{}", std::process::id()));
    let copied = hash_while_copying(File::open(file)?, File::create(&unfinished)?);
    let outcome = copied.and_then(|copied| match copied == hash {
        true => std::fs::rename(&unfinished, &copy),
        false => Err(io::Error::other("it changed while it was read")),
    });
    if outcome.is_err() {
        // Best effort: the failure itself is what counts.
        let _ = std::fs::remove_file(&unfinished);
    }
    outcome.map(|()| (hash, copy))
}

/// Removes what lies in the cache for libraries that are gone.
pub(crate) fn clean_cache(cache_dir: &Path, is_wanted: impl Fn(&str) -> bool) -> io::Result<()> {
    for entry in std::fs::read_dir(cache_dir)? {
        let entry = entry?;
        let name = entry.file_name();
        // Only what we made: names that begin with a hash.
        let hash =
            name.to_str().and_then(|name| name.split('.').next()).filter(|hash| is_hash(hash));
        if hash.is_some_and(|hash| !is_wanted(hash)) {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn is_complete(copy: &Path, file: &Path) -> bool {
    let size = |path: &Path| std::fs::metadata(path).ok().map(|metadata| metadata.len());
    size(copy).is_some() && size(copy) == size(file)
}

fn is_hash(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn hash_while_copying(mut from: impl Read, mut to: impl Write) -> io::Result<String> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        let length = from.read(&mut buffer)?;
        if length == 0 {
            to.flush()?;
            return Ok(to_hex(&hasher.finalize()));
        }
        hasher.update(&buffer[..length]);
        to.write_all(&buffer[..length])?;
    }
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_named_by_content_and_made_once() {
        let folder = tempfile::tempdir().unwrap();
        let cache = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.so");
        std::fs::write(&file, "abc").unwrap();
        let (hash, copy) = copy_to_cache(&file, cache.path()).unwrap();
        assert_eq!(hash, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(std::fs::read(&copy).unwrap(), b"abc");
        std::fs::write(&file, "new").unwrap();
        assert_ne!(copy_to_cache(&file, cache.path()).unwrap().1, copy);
        assert_eq!(std::fs::read(&copy).unwrap(), b"abc", "replacing a file leaves its copy alone");
    }

    #[test]
    fn cleaning_removes_only_what_the_cache_made() {
        let cache = tempfile::tempdir().unwrap();
        let (old, new) = ("0".repeat(64), "1".repeat(64));
        for name in [
            format!("{old}.so"),
            format!("{old}.0.1.0.verdict.json"),
            format!("{new}.so"),
            "mine.so".into(),
        ] {
            std::fs::write(cache.path().join(name), "").unwrap();
        }
        clean_cache(cache.path(), |hash| hash == new).unwrap();
        let mut left: Vec<_> = std::fs::read_dir(cache.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, [format!("{new}.so"), "mine.so".into()]);
    }
}
