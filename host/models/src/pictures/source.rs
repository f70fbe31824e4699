//! What a client wrote: a URL or a data URI, judged before anything is done for it.

use super::Rules;
use super::address::{Reach, reach};
use super::decode::DecodeError;
use base64::Engine;
use base64::engine::general_purpose::STANDARD_PAD_INDIFFERENT;
use std::net::IpAddr;
use url::{Host, Url};

/// In bytes. What is longer is data, and belongs into a data URI.
const LONGEST_URL: usize = 4096;
/// How a data URI begins, with the type in between.
const SCHEME: &str = "data:";
const ENCODING: &str = ";base64";
const TYPES: [&str; 3] = ["image/png", "image/jpeg", "image/webp"];

/// Where the picture is.
#[derive(Debug)]
pub enum Source {
    Url(Url),
    Data(Vec<u8>),
}

/// What is wrong with a text that names a picture.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    #[error("must be a URL such as https://example.com/a.png, or data:image/png;base64,DATA")]
    NotAUrl,
    #[error("must be a URL of at most {LONGEST_URL} bytes, got {length}")]
    TooLong { length: usize },
    #[error("must start with {}, or be data:image/png;base64,DATA", allowed_schemes(*.allow_http))]
    Scheme { allow_http: bool },
    #[error(
        "must be data:image/png;base64,DATA, as this server fetches no URLs (`pictures.fetch`)"
    )]
    Offline,
    #[error("must name neither a user nor a password")]
    UserInfo,
    #[error("must not name port {port}; the operator says in `pictures.ports` which may be used")]
    Port { port: u16 },
    #[error("must name a public host; {host} is not one")]
    NotPublic { host: String },
    #[error("must be data:TYPE;base64,DATA, with TYPE one of {}", TYPES.join(", "))]
    DataType,
    #[error("must have base64 after the comma, of the alphabet with + and / and without blanks")]
    NotBase64,
    #[error("must hold at most {limit} bytes (`pictures.max_kib`), got about {size}")]
    TooLarge { size: usize, limit: usize },
    #[error("must hold a picture: {0}")]
    Data(#[source] DecodeError),
}

/// Reads a text that a client wrote.
pub fn read(text: &str, rules: &Rules, most_bytes: usize) -> Result<Source, SourceError> {
    let is_data = text.get(..SCHEME.len()).is_some_and(|start| start.eq_ignore_ascii_case(SCHEME));
    if is_data {
        return data(&text[SCHEME.len()..], most_bytes).map(Source::Data);
    }
    if text.len() > LONGEST_URL {
        return Err(SourceError::TooLong { length: text.len() });
    }
    let url = Url::parse(text).map_err(|_| SourceError::NotAUrl)?;
    if rules.is_offline {
        return Err(SourceError::Offline);
    }
    check(&url, rules)?;
    Ok(Source::Url(url))
}

/// What holds for every URL, written by a client or come by a redirect.
pub fn check(url: &Url, rules: &Rules) -> Result<(), SourceError> {
    let standard = match url.scheme() {
        "https" => 443,
        "http" if rules.allow_http => 80,
        _ => return Err(SourceError::Scheme { allow_http: rules.allow_http }),
    };
    if url.as_str().len() > LONGEST_URL {
        return Err(SourceError::TooLong { length: url.as_str().len() });
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(SourceError::UserInfo);
    }
    if let Some(port) = url.port().filter(|port| *port != standard && !rules.ports.contains(port)) {
        return Err(SourceError::Port { port });
    }
    match url.host() {
        Some(Host::Ipv4(address)) => check_literal(address.into(), rules),
        Some(Host::Ipv6(address)) => check_literal(address.into(), rules),
        Some(Host::Domain(name)) => check_name(name, rules),
        None => Err(SourceError::NotAUrl),
    }
}

/// Whether an address may be reached.
pub fn may_reach(address: IpAddr, rules: &Rules) -> bool {
    match reach(address) {
        Reach::Public => true,
        Reach::Private => rules.allow_private,
        Reach::Never => false,
    }
}

/// The parser has read all spellings of an address as one by then.
fn check_literal(address: IpAddr, rules: &Rules) -> Result<(), SourceError> {
    match may_reach(address, rules) {
        true => Ok(()),
        false => Err(SourceError::NotPublic { host: address.to_string() }),
    }
}

/// Of names that always mean this machine; others are judged by their addresses.
fn check_name(name: &str, rules: &Rules) -> Result<(), SourceError> {
    let bare = name.trim_end_matches('.');
    let is_local = bare == "localhost" || bare.ends_with(".localhost");
    match is_local && !rules.allow_private {
        true => Err(SourceError::NotPublic { host: name.to_owned() }),
        false => Ok(()),
    }
}

fn data(rest: &str, most_bytes: usize) -> Result<Vec<u8>, SourceError> {
    let (head, text) = rest.split_once(',').ok_or(SourceError::DataType)?;
    let head = head.to_ascii_lowercase();
    let is_image = head.strip_suffix(ENCODING).is_some_and(|name| TYPES.contains(&name));
    if !is_image {
        return Err(SourceError::DataType);
    }
    let size = text.len() / 4 * 3;
    // Two bytes may be padding.
    if size > most_bytes.saturating_add(2) {
        return Err(SourceError::TooLarge { size, limit: most_bytes });
    }
    STANDARD_PAD_INDIFFERENT.decode(text).map_err(|_| SourceError::NotBase64)
}

fn allowed_schemes(allow_http: bool) -> &'static str {
    if allow_http { "https:// or http://" } else { "https://" }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 300;

    fn refusal(text: &str, rules: &Rules) -> Option<SourceError> {
        read(text, rules, LIMIT).err()
    }

    #[test]
    fn urls_are_https_of_public_hosts_at_the_usual_port() {
        let rules = Rules::default();
        for good in [
            "https://example.com/a.png?b=c#d",
            "HTTPS://EXAMPLE.com:443/",
            "https://1.1.1.1/a",
            "https://[2606:4700::1]/a",
            "https://b\u{fc}cher.example/a",
        ] {
            assert_eq!(refusal(good, &rules), None, "{good}");
        }
        let scheme = || SourceError::Scheme { allow_http: false };
        for (bad, wanted) in [
            ("", SourceError::NotAUrl),
            ("a.png", SourceError::NotAUrl),
            ("//example.com/a.png", SourceError::NotAUrl),
            ("https://", SourceError::NotAUrl),
            ("https://exa mple.com/", SourceError::NotAUrl),
            ("https://1.2.3.4.5/", SourceError::NotAUrl),
            ("https://example.com:99999/", SourceError::NotAUrl),
            ("http://example.com/", scheme()),
            ("file:///etc/passwd", scheme()),
            ("ftp://example.com/a", scheme()),
            ("gopher://example.com/", scheme()),
            ("blob:https://example.com/a", scheme()),
            ("javascript:alert(1)", scheme()),
            ("https://user@example.com/", SourceError::UserInfo),
            ("https://:word@example.com/", SourceError::UserInfo),
            ("https://example.com:8443/", SourceError::Port { port: 8443 }),
            ("https://example.com:22/", SourceError::Port { port: 22 }),
            ("https://example.com:80/", SourceError::Port { port: 80 }),
        ] {
            assert_eq!(refusal(bad, &rules), Some(wanted), "{bad}");
        }
        let long = format!("https://example.com/{}", "a".repeat(LONGEST_URL));
        assert_eq!(refusal(&long, &rules), Some(SourceError::TooLong { length: long.len() }));
        // Short as written, long as it would be sent.
        let wide = format!("https://example.com/{}", "\u{fc}".repeat(1000));
        assert!(matches!(refusal(&wide, &rules), Some(SourceError::TooLong { .. })));
    }

    #[test]
    fn no_spelling_of_a_private_address_is_taken() {
        for host in [
            "127.0.0.1",
            "127.1",
            "0x7f.1",
            "0x7f000001",
            "2130706433",
            "017700000001",
            "0177.0.0.1",
            "127.0.0.1.",
            "\u{ff11}\u{ff12}\u{ff17}.0.0.1",
            "127%2e0.0.1",
            "0",
            "0.0.0.0",
            "169.254.169.254",
            "2852039166",
            "10.0.0.1",
            "172.16.1.1",
            "192.168.0.1",
            "100.64.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "[::]",
            "[::1]",
            "[0:0:0:0:0:0:0:1]",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "[::127.0.0.1]",
            "[fe80::1]",
            "[fc00::1]",
            "[fd12::1]",
            "[ff02::1]",
            "[64:ff9b::7f00:1]",
            "[64:ff9b::a9fe:a9fe]",
            "[2002:7f00:1::]",
            "[2001:db8::1]",
            "localhost",
            "LOCALHOST",
            "localhost.",
            "a.localhost",
            "loc\u{ad}alhost",
        ] {
            let refusal = refusal(&format!("https://{host}/a.png"), &Rules::default());
            assert!(matches!(refusal, Some(SourceError::NotPublic { .. })), "{host}: {refusal:?}");
        }
    }

    #[test]
    fn settings_allow_what_is_refused_otherwise_but_never_link_local() {
        let rules =
            Rules { allow_http: true, ports: vec![8443], allow_private: true, ..Rules::default() };
        for good in [
            "http://127.0.0.1:8443/",
            "https://10.0.0.1:8443/",
            "http://localhost/",
            "https://[::1]/",
        ] {
            assert_eq!(refusal(good, &rules), None, "{good}");
        }
        assert_eq!(
            refusal("http://a.example:8080/", &rules),
            Some(SourceError::Port { port: 8080 })
        );
        assert_eq!(refusal("http://a.example:443/", &rules), Some(SourceError::Port { port: 443 }));
        for host in ["169.254.169.254", "[fe80::1]", "0.0.0.0", "224.0.0.1"] {
            let refusal = refusal(&format!("http://{host}/"), &rules);
            assert!(matches!(refusal, Some(SourceError::NotPublic { .. })), "{host}: {refusal:?}");
        }
        let offline = Rules { is_offline: true, ..Rules::default() };
        assert_eq!(refusal("https://example.com/", &offline), Some(SourceError::Offline));
        assert_eq!(refusal("data:image/png;base64,AAAA", &offline), None);
    }

    #[test]
    fn data_is_base64_of_a_picture_s_type_and_bounded() {
        let rules = Rules::default();
        for good in [
            "data:image/png;base64,AAAA",
            "DATA:image/JPEG;base64,AAA=",
            "data:image/webp;base64,AAA",
        ] {
            assert_eq!(refusal(good, &rules), None, "{good}");
        }
        for bad in [
            "data:",
            "data:,",
            "data:image/png,AAAA",
            "data:image/svg+xml;base64,AAAA",
            "data:text/html;base64,AAAA",
            "data:;base64,AAAA",
            "data:image/png;charset=x;base64,AAAA",
            "data:image/gif;base64,AAAA",
        ] {
            assert_eq!(refusal(bad, &rules), Some(SourceError::DataType), "{bad}");
        }
        for bad in ["AA A", "AAAA\n", "A", "AA_-", "%41AAA", "AAAA,AAAA"] {
            let refusal = refusal(&format!("data:image/png;base64,{bad}"), &rules);
            assert_eq!(refusal, Some(SourceError::NotBase64), "{bad}");
        }
        assert_eq!(refusal(&format!("data:image/png;base64,{}", "A".repeat(400)), &rules), None);
        let large = refusal(&format!("data:image/png;base64,{}", "A".repeat(408)), &rules);
        assert_eq!(large, Some(SourceError::TooLarge { size: 306, limit: LIMIT }));
    }
}
