//! Where the hub is, who asks and where its cache lies: the variables that the hub's own tools know.

use crate::patience::Timing;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use ureq::tls::{Certificate, PemItem, parse_pem};

const DEFAULT_ENDPOINT: &str = "https://huggingface.co";

/// The hub and its cache on this machine.
#[derive(Clone, Debug)]
pub struct Hub {
    /// Without a slash at its end.
    pub(crate) endpoint: String,
    pub(crate) token: Option<Token>,
    pub(crate) cache: PathBuf,
    pub(crate) is_offline: bool,
    /// Who is believed in place of the authorities that are built in.
    pub(crate) authorities: Option<Vec<Certificate<'static>>>,
    pub timing: Timing,
}

/// Prints as `***`.
#[derive(Clone)]
pub(crate) struct Token(String);

#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    #[error(
        "HF_ENDPOINT is `{0}`; it must be http:// or https:// with a host, and without a query"
    )]
    Endpoint(String),
    #[error("the token in {place} cannot be sent; it must be one line of visible ASCII characters")]
    Token { place: String },
    #[error("cannot read {}, which {variable} names", path.display())]
    Read {
        variable: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("SSL_CERT_FILE names {}, which has no certificate; it must be a file in PEM", .0.display())]
    Certificates(PathBuf),
    #[error("no place for the hub's cache: set HF_HUB_CACHE, HF_HOME or HOME")]
    NoCache,
}

impl Hub {
    pub fn from_environment(
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, SettingsError> {
        let set: BTreeMap<_, _> =
            environment.into_iter().filter(|(_, value)| !value.is_empty()).collect();
        let variable = |name: &str| set.get(OsStr::new(name));
        let path = |name: &str| variable(name).map(PathBuf::from);
        let home = path("HF_HOME").or_else(|| Some(path("HOME")?.join(".cache/huggingface")));
        let in_home = |name: &str| home.as_ref().map(|home| home.join(name));
        let cache =
            path("HF_HUB_CACHE").or_else(|| in_home("hub")).ok_or(SettingsError::NoCache)?;
        let token = match variable("HF_TOKEN") {
            Some(token) => Token::parse(&token.to_string_lossy(), "HF_TOKEN")?,
            None => read_token(path("HF_TOKEN_PATH").or_else(|| in_home("token")))?,
        };
        Ok(Self {
            endpoint: endpoint(variable("HF_ENDPOINT"))?,
            token,
            cache,
            is_offline: variable("HF_HUB_OFFLINE").is_some_and(|value| is_on(value)),
            authorities: path("SSL_CERT_FILE").map(|path| authorities(&path)).transpose()?,
            timing: Timing::default(),
        })
    }

    /// Whether HF_HUB_OFFLINE is set: nothing is fetched then.
    pub fn is_offline(&self) -> bool {
        self.is_offline
    }

    /// The folder with a folder for each model.
    pub fn cache(&self) -> &Path {
        &self.cache
    }
}

impl Token {
    /// Nothing but blanks is no token.
    fn parse(text: &str, place: &str) -> Result<Option<Self>, SettingsError> {
        let text = text.trim();
        match text.bytes().all(|byte| byte.is_ascii_graphic()) {
            true => Ok((!text.is_empty()).then(|| Self(text.to_owned()))),
            false => Err(SettingsError::Token { place: place.to_owned() }),
        }
    }

    pub fn header(&self) -> String {
        format!("Bearer {}", self.0)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("***")
    }
}

fn is_on(value: &OsStr) -> bool {
    let value = value.to_string_lossy().to_ascii_uppercase();
    ["1", "ON", "YES", "TRUE"].contains(&value.as_str())
}

fn endpoint(value: Option<&OsString>) -> Result<String, SettingsError> {
    let Some(value) = value else { return Ok(DEFAULT_ENDPOINT.to_owned()) };
    let value = value.to_string_lossy();
    let endpoint = value.trim().trim_end_matches('/');
    let rest = endpoint.strip_prefix("https://").or_else(|| endpoint.strip_prefix("http://"));
    let is_good = |rest: &str| {
        !rest.is_empty()
            && !rest.starts_with('/')
            && rest.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#@\\".contains(&byte))
    };
    match rest.is_some_and(is_good) {
        true => Ok(endpoint.to_owned()),
        false => Err(SettingsError::Endpoint(value.into_owned())),
    }
}

/// Who has never signed in has no such file.
fn read_token(path: Option<PathBuf>) -> Result<Option<Token>, SettingsError> {
    let Some(path) = path else { return Ok(None) };
    match std::fs::read_to_string(&path) {
        Ok(text) => Token::parse(&text, &path.display().to_string()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => {
            Err(SettingsError::Read { variable: "HF_TOKEN_PATH or HF_HOME", path, source })
        }
    }
}

fn authorities(path: &Path) -> Result<Vec<Certificate<'static>>, SettingsError> {
    let pem = std::fs::read(path).map_err(|source| SettingsError::Read {
        variable: "SSL_CERT_FILE",
        path: path.to_owned(),
        source,
    })?;
    let certificates: Vec<_> = parse_pem(&pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    match certificates.is_empty() {
        true => Err(SettingsError::Certificates(path.to_owned())),
        false => Ok(certificates),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hub(variables: &[(&str, &str)]) -> Result<Hub, SettingsError> {
        let owned = |(name, value): &(&str, &str)| (name.into(), value.into());
        Hub::from_environment(variables.iter().map(owned).collect::<Vec<_>>())
    }

    #[test]
    fn the_cache_lies_where_the_hubs_own_tools_have_it() {
        let cache = |variables: &[(&str, &str)]| hub(variables).map(|hub| hub.cache);
        let all = [("HF_HUB_CACHE", "/c"), ("HF_HOME", "/h"), ("HOME", "/home/a")];
        assert_eq!(cache(&all).expect("a place"), Path::new("/c"));
        assert_eq!(cache(&all[1..]).expect("a place"), Path::new("/h/hub"));
        let home = cache(&all[2..]).expect("a place");
        assert_eq!(home, Path::new("/home/a/.cache/huggingface/hub"));
        assert!(matches!(cache(&[("HOME", "")]), Err(SettingsError::NoCache)));
    }

    #[test]
    fn the_endpoint_is_an_address_without_a_query() {
        let endpoint = |value: &str| hub(&[("HOME", "/h"), ("HF_ENDPOINT", value)]);
        assert_eq!(hub(&[("HOME", "/h")]).expect("a hub").endpoint, "https://huggingface.co");
        assert_eq!(
            endpoint("http://mirror:80/hf/").expect("a hub").endpoint,
            "http://mirror:80/hf"
        );
        for bad in [
            "mirror",
            "ftp://mirror",
            "https://",
            "http:///x",
            "http://a?b",
            "http://a b",
            "http://u@h",
        ] {
            let error = endpoint(bad).expect_err(bad).to_string();
            assert!(error.contains(bad), "{error}");
        }
    }

    #[test]
    fn the_token_comes_from_the_variable_or_the_file_and_is_never_printed() {
        let home = tempfile::tempdir().expect("a folder");
        let place = home.path().to_str().expect("UTF-8");
        let header = |hub: Hub| hub.token.map(|token| token.header());
        let variables = [("HF_HOME", place), ("HF_TOKEN", "hf_a")];
        assert_eq!(header(hub(&variables[..1]).expect("no token")), None);
        std::fs::write(home.path().join("token"), "hf_b\n").expect("a file");
        assert_eq!(header(hub(&variables[..1]).expect("a file")).as_deref(), Some("Bearer hf_b"));
        let from_variable = hub(&variables).expect("a variable");
        assert!(!format!("{from_variable:?}").contains("hf_a"));
        assert_eq!(header(from_variable).as_deref(), Some("Bearer hf_a"));
        std::fs::write(home.path().join("token"), " \n").expect("a file");
        assert_eq!(header(hub(&variables[..1]).expect("an empty file")), None);
        std::fs::write(home.path().join("token"), "hf_b\nX: y").expect("a file");
        assert!(matches!(hub(&variables[..1]), Err(SettingsError::Token { .. })));
    }

    #[test]
    fn offline_is_what_the_hubs_own_tools_take_for_it() {
        for (value, is_offline) in [("1", true), ("yes", true), ("0", false), ("", false)] {
            let hub = hub(&[("HOME", "/h"), ("HF_HUB_OFFLINE", value)]).expect("a hub");
            assert_eq!(hub.is_offline, is_offline, "{value}");
        }
    }

    #[test]
    fn a_file_without_certificates_is_refused() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let path = file.path().to_str().expect("UTF-8");
        let error = hub(&[("HOME", "/h"), ("SSL_CERT_FILE", path)]).expect_err("it is empty");
        assert!(matches!(error, SettingsError::Certificates(_)), "{error}");
    }
}
