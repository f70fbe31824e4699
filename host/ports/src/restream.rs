//! Streams that go to an RTMP server too: where to, and how it stands. The address holds a secret, which neither logs nor
//! errors may show.

use std::fmt;
use std::time::SystemTime;

/// What is shorter stands in ordinary words too; hiding it would only garble them.
const SHORTEST_SECRET: usize = 4;

/// As much of what a server says as is passed on.
const LONGEST_SAYING: usize = 300;

/// A wish to send a stream to an RTMP server.
pub struct Restream {
    /// `rtmp://` or `rtmps://`, with the key: a secret.
    pub url: String,
    /// Hears of every change of state. Must not block.
    pub told: Box<dyn Fn(&RestreamStats) + Send + Sync>,
}

/// How it stands with a restream. Shows nothing of the URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestreamStats {
    pub state: RestreamState,
    /// When it came to this state.
    pub since: SystemTime,
    /// Why the server was left or not reached last, until it takes the stream again.
    pub error: Option<String>,
    pub bytes_sent: u64,
    /// Attempts after the first.
    pub reconnects: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestreamState {
    Connecting,
    /// The server takes the stream.
    Live,
    /// For a first frame, or for the next attempt.
    Waiting,
}

impl RestreamState {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Live => "live",
            Self::Waiting => "waiting",
        }
    }
}

/// An RTMP server's address, taken apart.
#[derive(Clone, PartialEq, Eq)]
pub struct RestreamTarget {
    pub is_tls: bool,
    /// Without brackets.
    pub host: String,
    pub port: u16,
    pub app: String,
    /// The stream's name there, which usually is the secret.
    pub key: String,
    /// As the server is told that it was called: without the key.
    pub address: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestreamTargetError {
    #[error("must start with rtmp:// or rtmps://")]
    Scheme,
    #[error("must name a host, and a port from 1 to 65535 if any")]
    Host,
    #[error(
        "must not have a user and password; where a platform wants them, they are part of the key"
    )]
    User,
    #[error("must name an application and a key, as in rtmps://host/app/key")]
    App,
}

impl RestreamTarget {
    pub fn parse(url: &str) -> Result<Self, RestreamTargetError> {
        let (is_tls, rest) = match (url.strip_prefix("rtmps://"), url.strip_prefix("rtmp://")) {
            (Some(rest), _) => (true, rest),
            (_, Some(rest)) => (false, rest),
            _ => return Err(RestreamTargetError::Scheme),
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        if authority.contains('@') {
            return Err(RestreamTargetError::User);
        }
        let default_port = if is_tls { 443 } else { 1935 };
        let (host, port) =
            host_and_port(authority, default_port).ok_or(RestreamTargetError::Host)?;
        let (app, key) =
            app_and_key(path.trim_start_matches('/')).ok_or(RestreamTargetError::App)?;
        let scheme = if is_tls { "rtmps" } else { "rtmp" };
        let address = format!("{scheme}://{authority}/{app}");
        Ok(Self { is_tls, host, port, app, key, address })
    }

    /// What a server or the system says, as it may be shown: in one line, bounded, without what is secret.
    pub fn redacted(&self, saying: &str) -> String {
        let mut shown = saying.to_owned();
        let (name, query) = self.key.split_once('?').unwrap_or((&self.key, ""));
        let values = query.split('&').filter_map(|pair| pair.split_once('=')).map(|(_, v)| v);
        let parts = self.app.split(['/', '?']).skip(1);
        for secret in [&self.key[..], name, query].into_iter().chain(values).chain(parts) {
            if secret.len() >= SHORTEST_SECRET {
                shown = shown.replace(secret, "***");
            }
        }
        let shown = shown.chars().map(|c| if c.is_control() { ' ' } else { c });
        shown.take(LONGEST_SAYING).collect()
    }
}

fn host_and_port(authority: &str, default_port: u16) -> Option<(String, u16)> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            host.parse::<std::net::Ipv6Addr>().ok()?;
            (host, port.strip_prefix(':').or(port.is_empty().then_some(""))?)
        }
        None => authority.split_once(':').unwrap_or((authority, "")),
    };
    let is_plain = |c: char| c.is_ascii_graphic() && !"/?#@\\[]".contains(c);
    if host.is_empty() || host.len() > 253 || !host.chars().all(is_plain) {
        return None;
    }
    let port = if port.is_empty() { default_port } else { port.parse().ok()? };
    (port > 0).then(|| (host.to_owned(), port))
}

/// The key is what stands behind the last slash, and what follows a question mark.
fn app_and_key(path: &str) -> Option<(String, String)> {
    let (names, query) = match path.find('?') {
        Some(at) => path.split_at(at),
        None => (path, ""),
    };
    let (app, key) = names.rsplit_once('/').unwrap_or((names, ""));
    (!app.is_empty()).then(|| (app.to_owned(), format!("{key}{query}")))
}

impl fmt::Debug for RestreamTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_platforms_are_taken_apart() {
        let parts = |url: &str| {
            let target = RestreamTarget::parse(url).unwrap();
            (target.host, target.port, target.app, target.key, target.address)
        };
        let own = |host: &str, port, app: &str, key: &str, address: &str| {
            (host.to_owned(), port, app.to_owned(), key.to_owned(), address.to_owned())
        };
        assert_eq!(
            parts("rtmps://live-api.example.com:443/rtmp/FB-1-2?s_bl=1&a=x/y"),
            own(
                "live-api.example.com",
                443,
                "rtmp",
                "FB-1-2?s_bl=1&a=x/y",
                "rtmps://live-api.example.com:443/rtmp"
            )
        );
        assert_eq!(parts("rtmp://[::1]/a/b/c"), own("::1", 1935, "a/b", "c", "rtmp://[::1]/a/b"));
        assert_eq!(parts("rtmp://h/live"), own("h", 1935, "live", "", "rtmp://h/live"));
        assert_eq!(RestreamTarget::parse("rtmps://h/a/b").unwrap().port, 443);
    }

    #[test]
    fn what_is_no_address_is_refused() {
        let refused = |url: &str| RestreamTarget::parse(url).unwrap_err();
        assert_eq!(refused("http://h/a/b"), RestreamTargetError::Scheme);
        for url in ["rtmp://", "rtmp:///a/b", "rtmp://h:0/a/b", "rtmp://h:x/a/b", "rtmp://[h]/a/b"]
        {
            assert_eq!(refused(url), RestreamTargetError::Host, "{url}");
        }
        assert_eq!(refused("rtmp://h\r\n/a/b"), RestreamTargetError::Host);
        assert_eq!(refused("rtmp://u:p@h/a/b"), RestreamTargetError::User);
        assert_eq!(refused("rtmp://h"), RestreamTargetError::App);
        assert_eq!(refused("rtmp://h/?key"), RestreamTargetError::App);
    }

    #[test]
    fn what_a_server_says_of_the_key_is_not_passed_on() {
        let target = RestreamTarget::parse("rtmp://h/app/topsecret?sign=abcdef&n=1").unwrap();
        let said = "topsecret?sign=abcdef&n=1: bad 'topsecret'\r\nfor abcdef in app";
        assert_eq!(target.redacted(said), "***: bad '***'  for *** in app");
        assert_eq!(target.redacted(&"x".repeat(1000)).len(), LONGEST_SAYING);
        assert_eq!(format!("{target:?}"), "h:1935");
    }
}
