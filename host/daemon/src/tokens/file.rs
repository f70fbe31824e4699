//! The file of tokens: who edits it, edits it alone and leaves it whole; only its owner may read it.

use super::list::{Digest, TokenList, hex};
use host_api::Scopes;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

const NAME: &str = "tokens.toml";
/// Taken while the file is edited.
const LOCK: &str = "tokens.lock";
const OWNER_ONLY: u32 = 0o600;
const LONGEST_NAME: usize = 64;

#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    #[error("cannot read or write the tokens in {}; `paths.state` says where they are kept", path.display())]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} is no list of tokens: {why}; correct it, or remove it to start without tokens", path.display())]
    Broken { path: PathBuf, why: String },
    #[error("there is a token `{name}` already; revoke it first, or choose another name")]
    Exists { name: String },
    #[error("there is no token `{name}`; `streamdiffusion-host token list` shows all")]
    Unknown { name: String },
    #[error("a token's name must be 1 to {LONGEST_NAME} letters, digits, - and _, not `{name}`")]
    Name { name: String },
    #[error("the system has no random numbers")]
    Random(#[source] getrandom::Error),
}

/// Where the tokens are kept.
#[derive(Clone, Debug)]
pub struct TokenFile {
    folder: PathBuf,
    path: PathBuf,
}

impl TokenFile {
    pub fn in_folder(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), path: folder.join(NAME) }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// No file holds no tokens.
    pub fn read(&self) -> Result<TokenList, TokenError> {
        let text = match fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(TokenList::default());
            }
            Err(error) => return Err(self.trouble(error)),
        };
        TokenList::parse(&text).map_err(|why| TokenError::Broken { path: self.path.clone(), why })
    }

    /// Makes a token and gives it, for this one time.
    pub fn add(&self, name: &str, scopes: Scopes) -> Result<String, TokenError> {
        if !is_name(name) {
            return Err(TokenError::Name { name: name.chars().take(200).collect() });
        }
        let token = draw()?;
        self.edit(|list| {
            if list.has(name) {
                return Err(TokenError::Exists { name: name.to_owned() });
            }
            list.insert(name, scopes, Digest::of(&token));
            Ok(())
        })?;
        Ok(token)
    }

    pub fn revoke(&self, name: &str) -> Result<(), TokenError> {
        self.edit(|list| {
            if !list.has(name) {
                return Err(TokenError::Unknown { name: name.to_owned() });
            }
            list.remove(name);
            Ok(())
        })
    }

    fn edit(
        &self,
        change: impl FnOnce(&mut TokenList) -> Result<(), TokenError>,
    ) -> Result<(), TokenError> {
        let _locked = self.lock().map_err(|error| self.trouble(error))?;
        let mut list = self.read()?;
        change(&mut list)?;
        self.write(&list.to_text()).map_err(|error| self.trouble(error))
    }

    /// Held until the file that this gives is closed.
    fn lock(&self) -> io::Result<File> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true).mode(OWNER_ONLY);
        let lock = options.open(self.folder.join(LOCK))?;
        lock.lock()?;
        Ok(lock)
    }

    /// Whoever reads meanwhile finds the old file or the new one, never half of it.
    fn write(&self, text: &str) -> io::Result<()> {
        let staged = self.folder.join(".tokens.toml.new");
        match fs::remove_file(&staged) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut options = OpenOptions::new();
        let mut file = options.create_new(true).write(true).mode(OWNER_ONLY).open(&staged)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&staged, &self.path)?;
        File::open(&self.folder)?.sync_all()
    }

    fn trouble(&self, source: io::Error) -> TokenError {
        TokenError::File { path: self.path.clone(), source }
    }
}

/// 256 random bits. The prefix tells people, and programs that look for leaked secrets, what it is.
fn draw() -> Result<String, TokenError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(TokenError::Random)?;
    Ok(format!("sdh_{}", hex(&bytes)))
}

fn is_name(name: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    (1..=LONGEST_NAME).contains(&name.len()) && name.chars().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_name_is_given_once_and_revoked_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = TokenFile::in_folder(&folder.path().join("new"));
        let token = file.add("wall", Scopes::ALL).expect("a new name");
        let refused = file.add("wall", Scopes::ALL).expect_err("it is taken");
        assert!(matches!(refused, TokenError::Exists { .. }));
        assert!(matches!(file.add("a b", Scopes::ALL), Err(TokenError::Name { .. })));
        let text = fs::read_to_string(file.path()).expect("written");
        assert!(!text.contains(&token), "{text}");
        file.revoke("wall").expect("it is there");
        assert!(matches!(file.revoke("wall"), Err(TokenError::Unknown { .. })));
    }

    #[test]
    fn only_the_owner_may_read_the_tokens() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = TokenFile::in_folder(&folder.path().join("state"));
        let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode();
        for name in ["one", "two"] {
            file.add(name, Scopes::ALL).expect("a new name");
            assert_eq!(mode(file.path()) & 0o777, OWNER_ONLY);
        }
        assert_eq!(mode(&folder.path().join("state")) & 0o777, 0o700);
    }

    #[test]
    fn tokens_added_at_once_are_all_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = TokenFile::in_folder(folder.path());
        std::thread::scope(|scope| {
            for index in 0..8 {
                let file = &file;
                scope.spawn(move || file.add(&format!("t{index}"), Scopes::ALL).expect("added"));
            }
        });
        assert_eq!(file.read().expect("a list").names().count(), 8);
    }

    #[test]
    fn a_file_that_is_no_list_is_left_as_it_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = TokenFile::in_folder(folder.path());
        fs::write(file.path(), "[half").expect("a file");
        assert!(matches!(file.add("wall", Scopes::ALL), Err(TokenError::Broken { .. })));
        assert_eq!(fs::read_to_string(file.path()).expect("still there"), "[half");
    }
}
