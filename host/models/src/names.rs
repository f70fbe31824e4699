//! Names that come from people and from the hub, checked before they become paths or addresses.

use std::fmt;

const MAX_ID_BYTES: usize = 96;
const MAX_REVISION_BYTES: usize = 128;
const MAX_FILE_NAME_BYTES: usize = 1000;
/// What file systems take.
const MAX_PART_BYTES: usize = 255;

/// Why a name is not taken.
#[derive(Debug, thiserror::Error)]
pub enum NameError {
    #[error(
        "`{text}` is not a model id: wanted is ORG/NAME or NAME of letters, digits, `.`, `_` and `-`, at most 96 in all, \
         without `--` and `..`"
    )]
    Id { text: String },
    #[error(
        "`{text}` is not a revision: wanted is a branch, a tag or a commit of letters, digits, `.`, `_`, `-` and `/`"
    )]
    Revision { text: String },
    #[error(
        "`{text}` is not a file of a repository: wanted is a relative path without `..`, backslashes and control characters"
    )]
    File { text: String },
}

/// `org/name`, or `name` for the few models without an organisation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ModelId(String);

/// A branch, a tag or a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revision(String);

/// A file of a repository: a relative path that stays inside of the folder it is put into.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileName(String);

impl ModelId {
    pub fn parse(text: &str) -> Result<Self, NameError> {
        // The cache writes `--` for the slash, so that a name with it could stand for two models.
        let is_good = text.len() <= MAX_ID_BYTES
            && text.split('/').count() <= 2
            && text.split('/').all(is_plain)
            && !text.contains("--")
            && !text.contains("..");
        let id = is_good.then(|| Self(text.to_owned()));
        id.ok_or_else(|| NameError::Id { text: shortened(text) })
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The model's folder in the hub's cache.
    pub(crate) fn folder_name(&self) -> String {
        format!("models--{}", self.0.replace('/', "--"))
    }

    /// The model of a folder in the hub's cache.
    pub(crate) fn of_folder_name(name: &str) -> Option<Self> {
        Self::parse(&name.strip_prefix("models--")?.replace("--", "/")).ok()
    }
}

impl Revision {
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let is_good = text.len() <= MAX_REVISION_BYTES
            && text.split('/').all(is_plain)
            && !text.contains("..");
        let revision = is_good.then(|| Self(text.to_owned()));
        revision.ok_or_else(|| NameError::Revision { text: shortened(text) })
    }

    /// The branch that is taken where none is named.
    pub fn main() -> Self {
        Self("main".to_owned())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FileName {
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let is_good_part = |part: &str| {
            !part.is_empty() && part != "." && part != ".." && part.len() <= MAX_PART_BYTES
        };
        let is_good = text.len() <= MAX_FILE_NAME_BYTES
            && text.split('/').all(is_good_part)
            && !text.contains(|c: char| c == '\\' || c.is_control());
        let name = is_good.then(|| Self(text.to_owned()));
        name.ok_or_else(|| NameError::File { text: shortened(text) })
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ModelId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

fn is_plain(part: &str) -> bool {
    !part.is_empty()
        && !part.starts_with(['.', '-'])
        && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

/// For messages: what is hostile is long and has control characters.
pub(crate) fn shortened(text: &str) -> String {
    text.chars().take(MAX_ID_BYTES).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_one_or_two_plain_parts_and_name_one_folder() {
        for (id, folder) in [
            ("stabilityai/sd-turbo", "models--stabilityai--sd-turbo"),
            ("gpt2", "models--gpt2"),
            ("a_b/C.d-1.0", "models--a_b--C.d-1.0"),
        ] {
            let id = ModelId::parse(id).expect(id);
            assert_eq!(id.folder_name(), folder);
            assert_eq!(ModelId::of_folder_name(folder), Some(id));
        }
        let long = "a".repeat(97);
        for id in [
            "", "/", "a/", "/a", "a/b/c", "..", "a/..", "a/.b", "a--b", "a b", "a\\b", "a\0", &long,
        ] {
            assert!(ModelId::parse(id).is_err(), "{id:?}");
        }
    }

    #[test]
    fn revisions_do_not_lead_outside_of_refs() {
        for revision in ["main", "v1.0", "refs/pr/1", "fp16"] {
            assert!(Revision::parse(revision).is_ok(), "{revision}");
        }
        for revision in ["", "/main", "a//b", "../x", "a/../b", ".hidden", "a b", "a\n", "a?b"] {
            assert!(Revision::parse(revision).is_err(), "{revision:?}");
        }
    }

    #[test]
    fn files_stay_inside_of_their_folder() {
        for name in ["config.json", "unet/a b.safetensors", ".gitattributes", "ä/b.json", "a..b"] {
            assert!(FileName::parse(name).is_ok(), "{name}");
        }
        let long = "a/".repeat(600) + "a";
        let long_part = "a".repeat(256);
        for name in [
            "",
            "/etc/passwd",
            "..",
            "a/../b",
            "a//b",
            "a/",
            "./a",
            "a\\b",
            "a\0",
            "a\n",
            &long,
            &long_part,
        ] {
            assert!(FileName::parse(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn a_refused_name_does_not_flood_the_message() {
        let error = FileName::parse(&("\u{1b}[2J/../".to_owned() + &"x".repeat(5000)));
        let message = error.expect_err("it leads outside").to_string();
        assert!(message.len() < 400 && !message.contains('\u{1b}'), "{message}");
    }
}
