//! Twilio's Network Traversal Service: one request, answered with servers and logins that hold for a while.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use host_api::{IceLogin, IceServer};
use serde::Deserialize;
use std::fmt;
use std::time::Duration;

const ENDPOINT: &str = "https://api.twilio.com";
/// For all of one request.
const PATIENCE: Duration = Duration::from_secs(20);
/// The answer has about a kilobyte.
const MAX_ANSWER: u64 = 64 << 10;
const MAX_SERVERS: usize = 16;
/// Shorter than any login holds: asked no more often than this.
const SHORTEST: Duration = Duration::from_secs(120);
const DAY: Duration = Duration::from_secs(24 * 3600);

#[derive(Clone, PartialEq, Eq)]
pub struct Account {
    pub sid: String,
    pub auth_token: String,
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account").field("sid", &self.sid).finish_non_exhaustive()
    }
}

#[derive(Debug, PartialEq, Eq)]
pub struct Told {
    pub servers: Vec<IceServer>,
    pub lifetime: Duration,
}

#[derive(Debug, thiserror::Error)]
pub enum TwilioError {
    #[error("it cannot be asked: {0}")]
    Http(#[from] Box<ureq::Error>),
    #[error("it answers {0}; are `ice.twilio_account_sid` and `ice.twilio_auth_token` right?")]
    Refused(u16),
    #[error("its answer cannot be read: {0}")]
    Answer(#[from] serde_json::Error),
}

#[derive(Deserialize)]
struct Answer {
    ice_servers: Vec<Server>,
    /// Seconds, as text or number.
    ttl: serde_json::Value,
}

#[derive(Deserialize)]
struct Server {
    urls: Option<String>,
    url: Option<String>,
    username: Option<String>,
    credential: Option<String>,
}

impl Account {
    pub fn ask(&self) -> Result<Told, TwilioError> {
        self.ask_at(ENDPOINT)
    }

    fn ask_at(&self, endpoint: &str) -> Result<Told, TwilioError> {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_global(Some(PATIENCE))
            .build()
            .into();
        let url = format!("{endpoint}/2010-04-01/Accounts/{}/Tokens.json", self.sid);
        let login = STANDARD.encode(format!("{}:{}", self.sid, self.auth_token));
        let asked = agent.post(&url).header("Authorization", format!("Basic {login}")).send_empty();
        let mut response = asked.map_err(Box::new)?;
        if !response.status().is_success() {
            return Err(TwilioError::Refused(response.status().as_u16()));
        }
        let body = response.body_mut().with_config().limit(MAX_ANSWER).read_to_vec();
        Ok(told(serde_json::from_slice(&body.map_err(Box::new)?)?))
    }
}

fn told(answer: Answer) -> Told {
    let seconds = match &answer.ttl {
        serde_json::Value::String(text) => text.parse().ok(),
        number => number.as_u64(),
    };
    let lifetime = seconds.map_or(DAY, Duration::from_secs).clamp(SHORTEST, DAY);
    let servers = answer.ice_servers.into_iter().take(MAX_SERVERS).filter_map(server).collect();
    Told { servers, lifetime }
}

fn server(told: Server) -> Option<IceServer> {
    let login = told
        .username
        .zip(told.credential)
        .map(|(username, credential)| IceLogin { username, credential });
    Some(IceServer { url: told.urls.or(told.url)?, login })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;

    /// A stand-in that answers one request; what it was asked comes back.
    fn stand_in(status: &str, body: &str) -> (String, std::thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let answer = format!(
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        let asked = std::thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            let lines = BufReader::new(socket.try_clone().unwrap()).lines();
            let head =
                lines.map(Result::unwrap).take_while(|line| !line.is_empty()).collect::<Vec<_>>();
            socket.write_all(answer.as_bytes()).unwrap();
            head.join("\n")
        });
        (endpoint, asked)
    }

    fn account() -> Account {
        Account { sid: "AC1".into(), auth_token: "secret".into() }
    }

    #[test]
    fn servers_and_logins_are_read_for_as_long_as_they_hold() {
        let body = r#"{"ttl": "3600", "username": "u", "password": "p", "ice_servers": [
            {"url": "stun:s.example:3478", "urls": "stun:s.example:3478"},
            {"url": "turn:t.example:3478?transport=udp", "username": "u", "credential": "c"}]}"#;
        let (endpoint, asked) = stand_in("201 Created", body);
        let told = account().ask_at(&endpoint).unwrap();
        assert_eq!(told.lifetime, Duration::from_secs(3600));
        let urls: Vec<_> = told.servers.iter().map(|server| server.url.as_str()).collect();
        assert_eq!(urls, ["stun:s.example:3478", "turn:t.example:3478?transport=udp"]);
        assert_eq!(told.servers[1].login.as_ref().unwrap().credential, "c");
        let asked = asked.join().unwrap();
        assert!(asked.starts_with("POST /2010-04-01/Accounts/AC1/Tokens.json "), "{asked}");
        assert!(asked.to_lowercase().contains("authorization: basic qumxonnly3jlda=="), "{asked}");
    }

    #[test]
    fn a_refusal_names_the_settings() {
        let (endpoint, _asked) = stand_in("401 Unauthorized", "{}");
        let error = account().ask_at(&endpoint).unwrap_err().to_string();
        assert!(error.contains("401") && error.contains("ice.twilio_auth_token"), "{error}");
        assert!(!format!("{:?}", account()).contains("secret"));
    }
}
