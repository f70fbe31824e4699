//! The two checksums of the hub: SHA-256 of large files, and git's SHA-1 of small ones. Both are names of blobs, too.

use sha1::Sha1;
use sha2::{Digest, Sha256};
use std::fmt;

/// Lower-case hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Checksum(String);

/// Takes the bytes of a file in their order.
pub enum Hasher {
    Sha256(Sha256),
    Git(Sha1),
}

impl Checksum {
    /// From an `ETag`, strong or weak. Nothing where it is no checksum.
    pub fn of_etag(etag: &str) -> Option<Self> {
        let plain = etag.trim().trim_start_matches("W/").trim_matches('"');
        let is_checksum =
            [40, 64].contains(&plain.len()) && plain.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_checksum.then(|| Self(plain.to_ascii_lowercase()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Git hashes the size before the bytes.
    pub fn hasher(&self, size: u64) -> Hasher {
        match self.0.len() {
            64 => Hasher::Sha256(Sha256::new()),
            _ => Hasher::Git(Sha1::new_with_prefix(format!("blob {size}\0"))),
        }
    }
}

impl Hasher {
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::Git(hasher) => hasher.update(bytes),
        }
    }

    pub fn finish(self) -> Checksum {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        Checksum(match self {
            Self::Sha256(hasher) => hex(&hasher.finalize()),
            Self::Git(hasher) => hex(&hasher.finalize()),
        })
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(etag: &str, bytes: &[u8]) -> Option<String> {
        let checksum = Checksum::of_etag(etag)?;
        let mut hasher = checksum.hasher(bytes.len() as u64);
        bytes.chunks(3).for_each(|chunk| hasher.update(chunk));
        Some(hasher.finish().to_string())
    }

    #[test]
    fn they_are_those_of_git_and_of_lfs() {
        // As `git hash-object` and `sha256sum` say.
        let git = "ce013625030ba8dba906f756967f9e9ca394464a";
        assert_eq!(hash(&format!("\"{git}\""), b"hello\n").as_deref(), Some(git));
        let lfs = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
        assert_eq!(hash(&format!("W/\"{lfs}\""), b"hello\n").as_deref(), Some(lfs));
        assert_eq!(
            Checksum::of_etag(&lfs.to_uppercase()).map(|c| c.to_string()).as_deref(),
            Some(lfs)
        );
    }

    #[test]
    fn an_etag_that_is_no_checksum_names_no_blob() {
        for etag in ["", "\"../../x\"", "abc", &"g".repeat(40), &"a".repeat(41)] {
            assert_eq!(Checksum::of_etag(etag), None, "{etag}");
        }
    }
}
