//! The tokens as they are written down: names, scopes and hashes. Nobody can read a token out of it.

use host_api::{Scope, Scopes, is_same};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;

/// SHA-256 of a token. A hash made to be slow would protect nothing more: tokens are 256 random bits, which nobody finds by
/// trying, and every request would pay for it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Digest([u8; 32]);

#[derive(Clone, Default, PartialEq, Eq)]
pub struct TokenList(BTreeMap<String, (Scopes, Digest)>);

/// One section of the file, named as the token.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Written {
    scopes: Vec<String>,
    sha256: String,
}

const HEAD: &str = "# Tokens of streamdiffusion-host, hashed. `streamdiffusion-host token` adds and revokes them.\n";

impl Digest {
    pub fn of(token: &str) -> Self {
        Self(Sha256::digest(token).into())
    }

    /// Takes equally long wherever the first difference is.
    pub fn is(&self, other: &Self) -> bool {
        is_same(&self.0, &other.0)
    }

    fn from_hex(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        if text.len() != 64 || !text.bytes().all(|c| c.is_ascii_hexdigit()) {
            return None;
        }
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).ok()?;
        }
        Some(Self(bytes))
    }
}

impl TokenList {
    pub fn parse(text: &str) -> Result<Self, String> {
        let written: BTreeMap<String, Written> =
            toml::from_str(text).map_err(|error| error.message().to_owned())?;
        let mut tokens = BTreeMap::new();
        for (name, Written { scopes, sha256 }) in written {
            let of_token = |problem: String| format!("[{name}]: {problem}");
            let scopes: Result<Scopes, _> =
                scopes.iter().map(|text| text.parse::<Scope>()).collect();
            let scopes = scopes.map_err(|error| of_token(error.to_string()))?;
            let digest = Digest::from_hex(&sha256)
                .ok_or_else(|| of_token("`sha256` must be 64 hexadecimal digits".into()))?;
            tokens.insert(name, (scopes, digest));
        }
        Ok(Self(tokens))
    }

    pub fn to_text(&self) -> String {
        let written = self.0.iter().map(|(name, (scopes, digest))| {
            let scopes = scopes.names().into_iter().map(String::from).collect();
            (name, Written { scopes, sha256: hex(&digest.0) })
        });
        let tables = toml::to_string(&written.collect::<BTreeMap<_, _>>())
            .expect("tables of texts can be written as TOML");
        format!("{HEAD}{tables}")
    }

    /// Compares with every token, so that the time tells nothing about which one it was.
    pub fn scopes_of(&self, sent: &Digest) -> Option<Scopes> {
        let found = self.0.values().filter(|(_, digest)| digest.is(sent));
        found.fold(None, |_, (scopes, _)| Some(*scopes))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    pub fn insert(&mut self, name: &str, scopes: Scopes, digest: Digest) {
        self.0.insert(name.to_owned(), (scopes, digest));
    }

    pub fn remove(&mut self, name: &str) {
        self.0.remove(name);
    }

    /// Names and scopes, in the names' order.
    pub fn names(&self) -> impl Iterator<Item = (&str, Scopes)> {
        self.0.iter().map(|(name, (scopes, _))| (name.as_str(), *scopes))
    }
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_as_it_was_written_and_holds_no_token() {
        let mut list = TokenList::default();
        list.insert("wall", [Scope::View].into_iter().collect(), Digest::of("s3cret"));
        list.insert("admin", Scopes::ALL, Digest::of("other"));
        let text = list.to_text();
        assert!(!text.contains("s3cret") && text.contains("[wall]"), "{text}");
        assert!(TokenList::parse(&text).is_ok_and(|read| read == list));
        assert!(TokenList::parse("").is_ok_and(|list| list.is_empty()));
    }

    #[test]
    fn what_is_wrong_in_a_list_is_named() {
        for (text, problem) in [
            ("[a]\nscopes = ['see']\nsha256 = ''", "[a]: there is no scope `see`"),
            ("[a]\nscopes = []\nsha256 = 'ä'", "[a]: `sha256` must be 64"),
            ("[a]\nscopes = []", "missing field `sha256`"),
        ] {
            let error = TokenList::parse(text).err().expect("it is wrong");
            assert!(error.contains(problem), "{error}");
        }
    }
}
