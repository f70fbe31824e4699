//! STUN and TURN servers that clients are told of with each answer (RFC 9725, 4.6; WHEP alike): for those who reach this
//! host only through one. Which there are is the daemon's matter.

use axum::http::HeaderValue;
use std::fmt;

/// How a client reaches it, as in an `RTCIceServer` of a browser.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IceServer {
    /// `stun:`, `turn:` or `turns:`, with host, port and transport.
    pub url: String,
    pub login: Option<IceLogin>,
}

#[derive(Clone, PartialEq, Eq)]
pub struct IceLogin {
    pub username: String,
    pub credential: String,
}

impl fmt::Debug for IceLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IceLogin").finish_non_exhaustive()
    }
}

impl IceServer {
    /// The `Link` header that tells of it; none if it has characters that no header takes.
    pub fn link(&self) -> Option<HeaderValue> {
        let mut link = format!("<{}>; rel=\"ice-server\"", self.url);
        if let Some(IceLogin { username, credential }) = &self.login {
            let (username, credential) = (quoted(username), quoted(credential));
            link += &format!(
                "; username={username}; credential={credential}; credential-type=\"password\""
            );
        }
        HeaderValue::from_str(&link).ok()
    }
}

/// A quoted string of HTTP.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_has_the_login_quoted() {
        let login = IceLogin { username: "17:ann".into(), credential: "a\"b\\c".into() };
        let url = "turn:turn.example.org:3478?transport=tcp".to_owned();
        let link = IceServer { url, login: Some(login) }.link().unwrap();
        assert_eq!(
            link.to_str().unwrap(),
            "<turn:turn.example.org:3478?transport=tcp>; rel=\"ice-server\"; username=\"17:ann\"; \
             credential=\"a\\\"b\\\\c\"; credential-type=\"password\""
        );
    }

    #[test]
    fn nothing_splits_a_header() {
        let server = IceServer { url: "stun:a\r\nX: 1".into(), login: None };
        assert_eq!(server.link(), None);
    }
}
