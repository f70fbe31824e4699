//! What leads the URLs in answers, as far as the settings and the surroundings tell before any request.

use axum::http::uri::Authority;
use std::net::Ipv6Addr;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublicBase {
    /// Each request tells.
    OfRequests,
    Url(String),
    /// A host's name or address, perhaps with a port.
    Host(String),
    /// Name of a pod at RunPod, whose proxy has a host name for each of its ports.
    Pod(String),
}

/// A key or variable, and what is wrong with it.
pub type Problem = (&'static str, &'static str);

impl PublicBase {
    /// Takes the first that is not empty. The pod comes before the host as in the project that these two variables are
    /// from; the setting, which only an operator writes, before both.
    pub fn find(url: &str, pod: &str, host: &str) -> Result<Self, Problem> {
        let url = url.trim_end_matches('/');
        match (url, pod, host) {
            ("", "", "") => Ok(Self::OfRequests),
            ("", "", host) => Self::of_host(host),
            ("", pod, _) if is_label(pod) => Ok(Self::Pod(pod.to_owned())),
            ("", _, _) => {
                Err(("RUNPOD_POD_ID", "must be a pod's id; unset it, or set `http.public_url`"))
            }
            (url, _, _) if is_url(url) => Ok(Self::Url(url.to_owned())),
            _ => Err((
                "http.public_url",
                "must be a URL without query, such as https://video.example.com or http://10.0.0.5:8080/sd",
            )),
        }
    }

    /// None where each request tells. `scheme` and `port` are those that clients of REST use.
    pub fn url(&self, scheme: &str, port: u16) -> Option<String> {
        match self {
            Self::OfRequests => None,
            Self::Url(url) => Some(url.clone()),
            Self::Host(host) if has_port(host) => Some(format!("{scheme}://{host}")),
            Self::Host(host) => Some(format!("{scheme}://{host}:{port}")),
            Self::Pod(pod) => Some(format!("https://{pod}-{port}.proxy.runpod.net")),
        }
    }

    fn of_host(text: &str) -> Result<Self, Problem> {
        let host = match text.parse::<Ipv6Addr>() {
            Ok(address) => format!("[{address}]"),
            Err(_) => text.to_owned(),
        };
        if is_url(&host) {
            return Ok(Self::Url(host.trim_end_matches('/').to_owned()));
        }
        if host.contains('/') || !is_url(&format!("http://{host}")) {
            return Err((
                "EXTERNAL_HOST",
                "must be a host name or address, with a port or without",
            ));
        }
        Ok(Self::Host(host))
    }
}

/// Plain enough to lead other URLs and to stand in a header.
pub fn is_url(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._~:[]/".contains(c);
    rest.is_some_and(|rest| {
        !rest.is_empty() && !rest.starts_with('/') && rest.chars().all(is_plain)
    })
}

fn has_port(host: &str) -> bool {
    host.parse::<Authority>().is_ok_and(|authority| authority.port_u16().is_some())
}

fn is_label(text: &str) -> bool {
    text.len() <= 63 && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(url: &str, pod: &str, host: &str) -> Result<Option<String>, &'static str> {
        let base = PublicBase::find(url, pod, host).map_err(|(key, _)| key);
        base.map(|base| base.url("http", 8080))
    }

    fn is(text: &str) -> Result<Option<String>, &'static str> {
        Ok(Some(text.to_owned()))
    }

    #[test]
    fn the_setting_wins_over_the_pod_and_the_pod_over_the_host() {
        assert_eq!(url("https://a.example/sd/", "pod1", "b.example"), is("https://a.example/sd"));
        assert_eq!(url("", "pod1", "b.example"), is("https://pod1-8080.proxy.runpod.net"));
        assert_eq!(url("", "", "b.example"), is("http://b.example:8080"));
        assert_eq!(url("", "", ""), Ok(None));
    }

    #[test]
    fn a_host_may_name_its_port_be_an_address_or_a_whole_url() {
        assert_eq!(url("", "", "b.example:80"), is("http://b.example:80"));
        assert_eq!(url("", "", "203.0.113.9"), is("http://203.0.113.9:8080"));
        assert_eq!(url("", "", "2001:db8::1"), is("http://[2001:db8::1]:8080"));
        assert_eq!(url("", "", "[2001:db8::1]:80"), is("http://[2001:db8::1]:80"));
        assert_eq!(url("", "", "https://b.example"), is("https://b.example"));
    }

    #[test]
    fn what_can_lead_no_url_is_named() {
        assert_eq!(url("video.example", "", ""), Err("http.public_url"));
        assert_eq!(url("", "a.b/c", ""), Err("RUNPOD_POD_ID"));
        for host in ["a/b", "a b", "user@host", "http://", "a?b"] {
            assert_eq!(url("", "", host), Err("EXTERNAL_HOST"), "{host}");
        }
    }
}
