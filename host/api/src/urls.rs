//! The URLs in answers: absolute, as the client reaches this server.

use crate::media::OUTPUT_SUFFIX;
use crate::{ApiConfig, App};
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, header};
use std::convert::Infallible;

/// What leads every URL of one answer: scheme, host and, behind a proxy, the prefix it strips. No slash at the end.
pub struct Base(String);

impl Base {
    pub fn whip(&self, stream_key: &str) -> String {
        format!("{}/live/{stream_key}/whip", self.0)
    }

    pub fn whep(&self, playback_id: &str) -> String {
        format!("{}/play/{playback_id}/whep", self.0)
    }

    pub fn hls(&self, id: &str) -> String {
        format!("{}/{id}{OUTPUT_SUFFIX}/index.m3u8", self.0)
    }

    pub fn join(&self, path: &str) -> String {
        format!("{}{path}", self.0)
    }

    /// `host:port`
    pub fn authority(&self) -> &str {
        let rest = self.0.split_once("://").map_or(self.0.as_str(), |(_, rest)| rest);
        rest.split('/').next().unwrap_or_default()
    }

    /// `scheme://host:port`
    pub fn origin(&self) -> String {
        let scheme = self.0.split_once("://").map_or("http", |(scheme, _)| scheme);
        format!("{scheme}://{}", self.authority())
    }

    fn of(config: &ApiConfig, headers: &HeaderMap) -> Self {
        if let Some(url) = &config.public_url {
            return Self(url.clone());
        }
        let scheme = first(headers, "x-forwarded-proto").filter(|s| *s == "http" || *s == "https");
        let host = first(headers, "x-forwarded-host")
            .filter(|host| is_authority(host))
            .or_else(|| first(headers, header::HOST.as_str()).filter(|host| is_authority(host)))
            .unwrap_or(&config.local_authority);
        let prefix = first(headers, "x-forwarded-prefix").filter(|prefix| is_prefix(prefix));
        let prefix = prefix.unwrap_or_default().trim_end_matches('/');
        Self(format!("{}://{host}{prefix}", scheme.unwrap_or(config.scheme)))
    }
}

impl FromRequestParts<App> for Base {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Infallible> {
        Ok(Self::of(&app.config, &parts.headers))
    }
}

/// The value nearest to the client, where several proxies added theirs.
fn first<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let value = headers.get(name)?.to_str().ok()?;
    Some(value.split(',').next().unwrap_or_default().trim())
}

/// The header is whatever the client chose to write, and goes into URLs and a security policy.
fn is_authority(text: &str) -> bool {
    let is_plain =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']');
    let Ok(authority) = text.parse::<Authority>() else { return false };
    let has_port = authority.port_u16().is_some();
    text.len() <= 255
        && text.chars().all(is_plain)
        && !authority.host().is_empty()
        && (has_port || authority.host() == text)
}

fn is_prefix(text: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '~' | '/');
    text.len() <= 255
        && text.starts_with('/')
        && !text.starts_with("//")
        && text.chars().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn base(headers: &[(&'static str, &str)]) -> String {
        let config = ApiConfig { local_authority: "127.0.0.1:8080".into(), ..Default::default() };
        let headers = headers.iter().map(|(name, value)| {
            (header::HeaderName::from_static(name), value.parse().expect("a header value"))
        });
        Base::of(&config, &headers.collect()).0
    }

    #[test]
    fn the_proxy_s_headers_win_over_host() {
        let forwarded = [
            ("host", "10.0.0.7:8080"),
            ("x-forwarded-proto", "https, http"),
            ("x-forwarded-host", "video.example, inner"),
            ("x-forwarded-prefix", "/sd/"),
        ];
        assert_eq!(base(&forwarded), "https://video.example/sd");
        assert_eq!(base(&[("host", "[::1]:8080")]), "http://[::1]:8080");
    }

    #[test]
    fn what_is_no_host_is_ignored() {
        for host in ["", "a b", "user@host", "x\"><script>", "host/path", "host:port", "a;b"] {
            assert_eq!(base(&[("host", host)]), "http://127.0.0.1:8080", "{host:?}");
        }
        let odd =
            [("host", "h"), ("x-forwarded-proto", "javascript"), ("x-forwarded-prefix", "//e")];
        assert_eq!(base(&odd), "http://h");
        let config = ApiConfig { scheme: "https", ..Default::default() };
        let host = [(header::HOST, HeaderValue::from_static("h"))];
        assert_eq!(Base::of(&config, &HeaderMap::from_iter(host)).0, "https://h");
    }

    #[test]
    fn the_configured_url_wins_over_everything() {
        let config =
            ApiConfig { public_url: Some("https://a.example/x".into()), ..Default::default() };
        let base = Base::of(&config, &HeaderMap::new());
        assert_eq!(base.whip("key"), "https://a.example/x/live/key/whip");
        assert_eq!((base.authority(), base.origin().as_str()), ("a.example", "https://a.example"));
    }
}
