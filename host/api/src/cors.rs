//! Cross-origin headers: one table for REST, one for WHIP and WHEP. No credentials are used, so any origin may be let in.

use crate::ApiConfig;
use axum::http::{HeaderMap, HeaderName, HeaderValue};

/// What a browser page of another origin may do and read.
struct Policy {
    methods: &'static str,
    request_headers: &'static str,
    response_headers: &'static str,
}

/// `authorization` is named because `*` does not cover it.
const REST: Policy = Policy {
    methods: "GET, POST, PATCH, DELETE, OPTIONS",
    request_headers: "authorization, content-type, if-match, if-modified-since, if-none-match, \
                      if-unmodified-since, last-event-id, range",
    response_headers: "ETag, Accept-Ranges, Content-Range, X-Request-Id, Retry-After",
};

const MEDIA: Policy = Policy {
    methods: "POST, PATCH, DELETE, OPTIONS",
    request_headers: "authorization, content-type, if-match",
    response_headers: "Location, Livepeer-Playback-Url, Link, ETag, Accept-Patch, Accept-Post, X-Request-Id, Retry-After",
};

pub fn add(headers: &mut HeaderMap, config: &ApiConfig, path: &str, is_preflight: bool) {
    let policy = if is_media(path) { MEDIA } else { REST };
    let origin = config.cors_origin.as_deref().and_then(|origin| origin.parse().ok());
    let origin = origin.unwrap_or(HeaderValue::from_static("*"));
    headers.insert("access-control-allow-origin", origin);
    let mut set = |name: &'static str, value: &'static str| {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    };
    set("access-control-expose-headers", policy.response_headers);
    if is_preflight {
        set("access-control-allow-methods", policy.methods);
        set("access-control-allow-headers", policy.request_headers);
        set("access-control-max-age", "86400");
        // A public page may talk to a server on the viewer's own network.
        set("access-control-allow-private-network", "true");
    }
}

/// WHIP and WHEP endpoints and their sessions.
pub fn is_media(path: &str) -> bool {
    !path.starts_with("/v1/") && path.split('/').any(|part| part == "whip" || part == "whep")
}
