//! STUN and TURN servers that clients are told of: those of the settings, and Twilio's, whose logins are short-lived.

mod twilio;

use host_api::{IceLogin, IceServer};
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use tokio::sync::watch;

pub use twilio::Account;

/// How long after a refusal Twilio is asked again, at first and at most.
const RETRY: Duration = Duration::from_secs(5);
const MAX_RETRY: Duration = Duration::from_secs(300);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IceConfig {
    pub servers: Vec<IceServer>,
    pub twilio: Option<Account>,
}

/// The servers as they are now, for as long as somebody listens.
pub fn watch(config: IceConfig) -> watch::Receiver<Arc<[IceServer]>> {
    let (servers, newest) = watch::channel(config.servers.clone().into());
    if let Some(account) = config.twilio {
        let keep = move || keep_fresh(&account, &config.servers, &servers);
        if let Err(error) = thread::Builder::new().name("ice-servers".into()).spawn(keep) {
            tracing::warn!(%error, "no thread to ask Twilio for ICE servers");
        }
    }
    newest
}

/// Asks again when half of the logins' time is over. Those it has stay until new ones came.
fn keep_fresh(account: &Account, own: &[IceServer], servers: &watch::Sender<Arc<[IceServer]>>) {
    let mut retry = RETRY;
    while !servers.is_closed() {
        let pause = match account.ask() {
            Ok(told) => {
                servers.send_replace([own, &told.servers].concat().into());
                retry = RETRY;
                told.lifetime / 2
            }
            Err(error) => {
                tracing::warn!(%error, ?retry, "Twilio told no ICE servers");
                let pause = retry;
                retry = (retry * 2).min(MAX_RETRY);
                pause
            }
        };
        thread::sleep(pause);
    }
}

/// A server of the settings: `stun:HOST:PORT`, or `turn:HOST:PORT?transport=tcp USERNAME CREDENTIAL`.
pub fn parse(text: &str) -> Result<IceServer, &'static str> {
    let mut words = text.split_ascii_whitespace();
    let (url, username, credential) = (words.next().unwrap_or(""), words.next(), words.next());
    if words.next().is_some() {
        return Err(
            "is a URL, and for TURN a user name and a credential, with blanks between them",
        );
    }
    let (scheme, rest) = url.split_once(':').unwrap_or((url, ""));
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._~:[]?=".contains(c);
    if rest.is_empty() || rest.starts_with('/') || !rest.chars().all(is_plain) {
        return Err("must be such as stun:stun.example.org:3478 or turn:turn.example.org:3478");
    }
    let login = match (scheme, username, credential) {
        ("stun" | "stuns", None, None) => None,
        ("stun" | "stuns", ..) => return Err("is a STUN server, which asks for no login"),
        ("turn" | "turns", Some(username), Some(credential)) => {
            Some(IceLogin { username: username.to_owned(), credential: credential.to_owned() })
        }
        ("turn" | "turns", ..) => {
            return Err("is a TURN server: its user name and credential must follow the URL");
        }
        _ => return Err("must begin with stun:, stuns:, turn: or turns:"),
    };
    Ok(IceServer { url: url.to_owned(), login })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_of_the_settings_are_read() {
        assert_eq!(parse("stun:stun.example.org").unwrap().login, None);
        let turn = parse("turn:[2001:db8::1]:3478?transport=tcp ann secret").unwrap();
        assert_eq!(turn.url, "turn:[2001:db8::1]:3478?transport=tcp");
        assert_eq!(turn.login.unwrap().credential, "secret");
        assert!(!format!("{:?}", parse("turn:a u secret")).contains("secret"));
    }

    #[test]
    fn what_is_no_server_is_told_apart() {
        for (text, told) in [
            ("", "must be such as"),
            ("http://a", "must be such as"),
            ("ftp:a", "must begin with"),
            ("turn:a", "must follow"),
            ("turn:a b", "must follow"),
            ("stun:a b c", "no login"),
            ("turn:a b c d", "is a URL"),
        ] {
            assert!(parse(text).unwrap_err().contains(told), "{text}");
        }
    }
}
