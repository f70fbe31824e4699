//! The stream key that a publisher shows: as the password of RTSP's Basic scheme, whatever the user, or as `?key=`.

use super::message::Request;
use super::url::Target;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

/// What a publisher without the key is told to show.
pub const CHALLENGE: &str = "Basic realm=\"streamdiffusion-host\"";

pub fn stream_key(request: &Request) -> Option<String> {
    let by_header = request.header("authorization").and_then(password);
    by_header.or_else(|| Target::parse(&request.url).key().map(str::to_owned))
}

fn password(header: &str) -> Option<String> {
    let (scheme, encoded) = header.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let pair = String::from_utf8(BASE64_STANDARD.decode(encoded.trim()).ok()?).ok()?;
    pair.split_once(':').map(|(_, password)| password.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_is_the_key_whoever_the_user() {
        assert_eq!(password("Basic dTpzdGtfMQ=="), Some("stk_1".to_owned()));
        assert_eq!(password("basic OnN0a18x"), Some("stk_1".to_owned()));
        for other in ["Digest dTpw", "Basic ?", "Basic", "Basic dQ==", "Basic /////w=="] {
            assert_eq!(password(other), None, "{other}");
        }
    }
}
