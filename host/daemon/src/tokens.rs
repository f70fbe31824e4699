//! Tokens: made, listed and revoked by the operator, asked for at every request on `/v1/*`.
//!
//! They are kept in `tokens.toml` in the state folder (`file`), which a running host reads again when it changes.

mod file;
mod list;

use crate::watched::Watched;
use host_api::{Gate, Scopes};
use list::{Digest, TokenList};
use std::path::Path;

pub use file::{TokenError, TokenFile};

/// Name of the token that a host makes for itself.
const ADMIN: &str = "admin";

/// What the settings say about tokens.
#[derive(Clone)]
pub struct TokensConfig {
    /// Allows everything, beside those in the file.
    pub admin: Option<String>,
    /// Whether calls need no token as long as there is none. Otherwise the first start makes one.
    pub may_be_open: bool,
}

/// Knows who may call, from the settings and the file.
pub struct Tokens {
    admin: Option<Digest>,
    may_be_open: bool,
    file: Watched<TokenList, TokenError>,
}

impl Tokens {
    /// Reads the file in this folder; gives a token, too, if one was made.
    pub fn open(
        config: &TokensConfig,
        folder: &Path,
    ) -> Result<(Self, Option<String>), TokenError> {
        let file = TokenFile::in_folder(folder);
        let is_needed = !config.may_be_open && config.admin.is_none() && file.read()?.is_empty();
        let made = is_needed.then(|| file.add(ADMIN, Scopes::ALL)).transpose()?;
        let admin = config.admin.as_deref().map(Digest::of);
        let paths = vec![file.path().to_owned()];
        let file = Watched::new(paths, move || file.read())?;
        Ok((Self { admin, may_be_open: config.may_be_open, file }, made))
    }
}

impl Gate for Tokens {
    fn scopes_of(&self, token: Option<&str>) -> Option<Scopes> {
        let list = self.file.current();
        if self.may_be_open && self.admin.is_none() && list.is_empty() {
            return Some(Scopes::ALL);
        }
        let sent = Digest::of(token?);
        let of_file = list.scopes_of(&sent);
        let is_admin = self.admin.as_ref().is_some_and(|admin| admin.is(&sent));
        if is_admin { Some(Scopes::ALL) } else { of_file }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use host_api::Scope;

    const OPEN: TokensConfig = TokensConfig { admin: None, may_be_open: true };
    const BEYOND: TokensConfig = TokensConfig { admin: None, may_be_open: false };

    fn view() -> Scopes {
        [Scope::View].into_iter().collect()
    }

    #[test]
    fn tokens_added_and_revoked_while_it_runs_count_at_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let (tokens, made) = Tokens::open(&OPEN, folder.path()).expect("no file is no tokens");
        assert_eq!((made, tokens.scopes_of(None)), (None, Some(Scopes::ALL)));
        let file = TokenFile::in_folder(folder.path());
        let token = file.add("wall", view()).expect("a new name");
        assert_eq!(tokens.scopes_of(None), None);
        assert_eq!(tokens.scopes_of(Some("wrong")), None);
        assert_eq!(tokens.scopes_of(Some(&token)), Some(view()));
        file.revoke("wall").expect("it is there");
        assert_eq!(tokens.scopes_of(Some(&token)), Some(Scopes::ALL));
    }

    #[test]
    fn a_host_that_others_reach_makes_one_token_and_never_opens() {
        let folder = tempfile::tempdir().expect("a folder");
        let (tokens, made) = Tokens::open(&BEYOND, folder.path()).expect("a folder of our own");
        let made = made.expect("there was none");
        assert!(made.len() >= 48 && made.chars().all(|c| c.is_ascii_graphic()));
        assert_eq!(tokens.scopes_of(Some(&made)), Some(Scopes::ALL));
        let (_, again) = Tokens::open(&BEYOND, folder.path()).expect("the same file");
        assert_eq!(again, None);
        TokenFile::in_folder(folder.path()).revoke(ADMIN).expect("it is there");
        assert_eq!((tokens.scopes_of(None), tokens.scopes_of(Some(&made))), (None, None));
    }

    #[test]
    fn the_token_of_the_settings_allows_everything_and_makes_no_other() {
        let folder = tempfile::tempdir().expect("a folder");
        let config = TokensConfig { admin: Some("s3cret".into()), ..BEYOND };
        let (tokens, made) = Tokens::open(&config, folder.path()).expect("no file is no tokens");
        assert_eq!(made, None);
        assert_eq!(tokens.scopes_of(Some("s3cret")), Some(Scopes::ALL));
        assert_eq!((tokens.scopes_of(Some("s3cre")), tokens.scopes_of(None)), (None, None));
    }
}
