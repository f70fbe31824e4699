//! HTTP with the hub: who asks, for how long is waited, and where redirects may lead.
//!
//! Redirects are followed here and not by the HTTP library, because the checksum of a large file is told by the answer
//! that redirects, and because the token is for the hub alone.

use crate::error::{PullError, TransferError};
use crate::patience::Trouble;
use crate::settings::Hub;
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;
use ureq::http::Response;
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Body};

const MAX_REDIRECTS: usize = 10;

/// Without a byte for as long as a stall takes, it has ended before; with a few at a time it ends now.
const SHORT_ANSWER_STALLS: u32 = 4;

pub struct Client<'a> {
    agent: Agent,
    hub: &'a Hub,
}

impl<'a> Client<'a> {
    pub fn new(hub: &'a Hub) -> Self {
        let stall = Some(hub.timing.stall);
        let authorities = hub.authorities.clone();
        let roots = authorities.map_or(RootCerts::WebPki, |all| RootCerts::Specific(Arc::new(all)));
        let builder = Agent::config_builder()
            .user_agent(concat!("streamdiffusion-host/", env!("CARGO_PKG_VERSION")))
            .http_status_as_error(false)
            .max_redirects(0)
            .tls_config(TlsConfig::builder().root_certs(roots).build())
            .timeout_global(hub.timing.request)
            .timeout_resolve(stall)
            .timeout_connect(stall)
            .timeout_per_read(stall)
            .timeout_per_write(stall)
            .timeout_recv_response(stall);
        // No proxy leads to this machine itself.
        let builder = if is_loopback(&hub.endpoint) { builder.proxy(None) } else { builder };
        Self { agent: builder.build().into(), hub }
    }

    /// The answer's head, of the redirect itself where that has the header.
    pub fn head(&self, url: &str, telling: &str) -> Result<Response<Body>, Trouble> {
        self.follow(url, |url| {
            let response = self.authorized(self.agent.head(url), url).call()?;
            Ok((response.headers().contains_key(telling), response))
        })
    }

    /// The answer, from this byte on if the server can.
    pub fn get(&self, url: &str, from: u64) -> Result<Response<Body>, Trouble> {
        self.follow(url, |url| {
            let request = self.authorized(self.agent.get(url), url);
            let request = match from {
                0 => request,
                from => request.header("Range", format!("bytes={from}-")),
            };
            Ok((false, request.call()?))
        })
    }

    /// The whole body of an answer that is known to be short.
    pub fn read(&self, url: &str, body: Body, limit: u64) -> Result<Vec<u8>, Trouble> {
        let deadline = std::time::Instant::now() + self.longest_answer();
        let mut reader = body.into_reader().take(limit + 1);
        let (mut bytes, mut buffer) = (Vec::new(), [0; 16 << 10]);
        loop {
            let count = reader.read(&mut buffer).map_err(TransferError::Read)?;
            bytes.extend_from_slice(&buffer[..count]);
            if bytes.len() as u64 > limit {
                let why = format!("it is longer than {limit} bytes");
                return Err(PullError::Answer { url: url.to_owned(), why }.into());
            }
            if count == 0 {
                return Ok(bytes);
            }
            if std::time::Instant::now() > deadline {
                let slow = std::io::Error::from(std::io::ErrorKind::TimedOut);
                return Err(TransferError::Read(slow).into());
            }
        }
    }

    fn longest_answer(&self) -> Duration {
        self.hub.timing.stall * SHORT_ANSWER_STALLS
    }

    fn authorized<B>(
        &self,
        request: ureq::RequestBuilder<B>,
        url: &str,
    ) -> ureq::RequestBuilder<B> {
        // What is checked by size and checksum must come as it is stored.
        let request = request.header("Accept-Encoding", "identity");
        match &self.hub.token {
            Some(token) if origin(url) == origin(&self.hub.endpoint) => {
                request.header("Authorization", token.header())
            }
            _ => request,
        }
    }

    /// Asks until an answer is no redirect, or the one that was sought.
    fn follow(
        &self,
        url: &str,
        ask: impl Fn(&str) -> Result<(bool, Response<Body>), ureq::Error>,
    ) -> Result<Response<Body>, Trouble> {
        let mut next = url.to_owned();
        for _ in 0..=MAX_REDIRECTS {
            let http = |error| TransferError::Http(Box::new(error));
            let (is_sought, response) = ask(&next).map_err(http)?;
            if is_sought || ![301, 302, 303, 307, 308].contains(&response.status().as_u16()) {
                return Ok(response);
            }
            let target = header(&response, "Location").and_then(|to| resolve(&next, to));
            next = target.ok_or_else(|| {
                answer(url, "it redirects to nowhere, or from https to where it is not")
            })?;
        }
        Err(answer(url, "it redirects again and again").into())
    }
}

/// The text of a header.
pub fn header<'r, B>(response: &'r Response<B>, name: &str) -> Option<&'r str> {
    response.headers().get(name)?.to_str().ok()
}

/// Writes a path as a URL has it; slashes stay.
pub fn encode(path: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    let write = |byte: u8| match is_plain(byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    path.bytes().map(write).collect()
}

fn answer(url: &str, why: &str) -> PullError {
    PullError::Answer { url: url.to_owned(), why: why.to_owned() }
}

/// Scheme, host and port.
fn origin(url: &str) -> &str {
    let host = url.find("://").map_or(0, |at| at + 3);
    let end = url[host..].find(['/', '?', '#']).map_or(url.len(), |at| host + at);
    &url[..end]
}

fn is_loopback(url: &str) -> bool {
    let host = origin(url).split("://").nth(1).unwrap_or_default();
    ["127.", "localhost", "[::1]"].iter().any(|start| host.starts_with(start))
}

/// Where a redirect leads: never from an encrypted connection to one that is not.
fn resolve(from: &str, to: &str) -> Option<String> {
    let is_encrypted = from.starts_with("https://");
    if to.starts_with("https://") || (to.starts_with("http://") && !is_encrypted) {
        return Some(to.to_owned());
    }
    (to.starts_with('/') && !to.starts_with("//")).then(|| format!("{}{to}", origin(from)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_stay_encrypted_and_keep_the_host_where_they_name_none() {
        let resolved = |from, to| resolve(from, to);
        let hub = "https://hub/a/b?c";
        assert_eq!(resolved(hub, "/x/y").as_deref(), Some("https://hub/x/y"));
        assert_eq!(resolved(hub, "https://cdn/z").as_deref(), Some("https://cdn/z"));
        assert_eq!(resolved("http://hub/a", "http://cdn/z").as_deref(), Some("http://cdn/z"));
        for bad in ["http://cdn/z", "//cdn/z", "x/y", "file:///etc/passwd", ""] {
            assert_eq!(resolved(hub, bad), None, "{bad}");
        }
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        assert_eq!(origin("https://hub:8443/a?b"), "https://hub:8443");
        assert_eq!(origin("https://hub?b"), "https://hub");
        assert_ne!(origin("https://hub.example/a"), origin("https://hub/a"));
        assert!(is_loopback("http://127.0.0.1:80/x") && !is_loopback("http://hub/127."));
    }

    #[test]
    fn paths_are_written_as_urls_have_them() {
        assert_eq!(encode("unet/a b%?#.json"), "unet/a%20b%25%3F%23.json");
        assert_eq!(encode("ä"), "%C3%A4");
    }
}
