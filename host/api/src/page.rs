//! `/`: facts about the server as JSON, and for browsers the page. The page is plain modules out of the binary, and talks
//! to nobody but this server.

use crate::App;
use crate::answer::without_secrets;
use crate::errors::ApiError;
use crate::path::Parameters;
use crate::urls::Base;
use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// Name, content type and text of what the page loads.
const ASSETS: &[(&str, &str, &str)] = &[
    ("style.css", "text/css; charset=utf-8", include_str!("../page/style.css")),
    ("icon.svg", "image/svg+xml", include_str!("../page/icon.svg")),
    ("main.js", SCRIPT, include_str!("../page/main.js")),
    ("demo.js", SCRIPT, include_str!("../page/demo.js")),
    ("api.js", SCRIPT, include_str!("../page/api.js")),
    ("form.js", SCRIPT, include_str!("../page/form.js")),
    ("fields.js", SCRIPT, include_str!("../page/fields.js")),
    ("rtc.js", SCRIPT, include_str!("../page/rtc.js")),
    ("clip.js", SCRIPT, include_str!("../page/clip.js")),
    ("status.js", SCRIPT, include_str!("../page/status.js")),
];

#[derive(Serialize, ToSchema)]
pub struct About {
    name: &'static str,
    version: &'static str,
    docs_url: &'static str,
    openapi_url: &'static str,
}

/// About this server
///
/// Browsers get the page instead.
#[utoipa::path(get, path = "/", tag = "server", responses((status = 200, body = About)))]
pub async fn root(State(app): State<App>, base: Base, headers: HeaderMap) -> Response {
    let mut response = if wants_html(&headers) {
        html(&base, app.config.public_url.is_some())
    } else {
        Json(About {
            name: "streamdiffusion-host",
            version: env!("CARGO_PKG_VERSION"),
            docs_url: "/docs",
            openapi_url: "/openapi.json",
        })
        .into_response()
    };
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("accept"));
    response
}

pub async fn asset(uri: Uri, Parameters(name): Parameters<String>) -> Result<Response, ApiError> {
    let asset = ASSETS.iter().find(|(known, ..)| *known == name);
    let Some((_, content_type, text)) = asset else {
        return Err(ApiError::NoSuchPath { path: without_secrets(uri.path()) });
    };
    let headers = [(header::CONTENT_TYPE, *content_type), (header::CACHE_CONTROL, "no-cache")];
    Ok((headers, *text).into_response())
}

/// What is served as a script or a picture is taken for nothing else.
pub async fn no_sniffing(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

fn html(base: &Base, has_public_url: bool) -> Response {
    // Streams' URLs lead with the public one, which need not be where the page came from.
    let elsewhere = if has_public_url { base.origin() } else { String::new() };
    let policy = format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; \
         media-src 'self' blob:; connect-src 'self' {elsewhere}; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'"
    );
    let headers = [
        (header::CONTENT_TYPE, HTML.to_owned()),
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::CACHE_CONTROL, "no-cache".to_owned()),
    ];
    (headers, include_str!("../page/index.html")).into_response()
}

fn wants_html(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepted.flat_map(|value| value.split(',')).any(|range| range.trim().starts_with("text/html"))
}
