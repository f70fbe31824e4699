//! What every answer gets on its way out: the request's id, CORS headers, and for errors the one typed body.

use crate::App;
use crate::cors;
use crate::errors::{ApiError, Fault};
use crate::media;
use crate::traffic::Asked;
use crate::wire::ErrorBody;
use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tracing::Instrument;
use uuid::Uuid;

/// Seconds a client should wait before it tries again what was refused for want of room.
const RETRY_AFTER: &str = "5";

/// Outermost layer: nothing leaves the host without passing it.
pub async fn complete(State(app): State<App>, request: Request, next: Next) -> Response {
    let id = Uuid::new_v4().simple().to_string();
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let asked = Asked::of(&request);
    let span = tracing::info_span!("request", %id, %method, path = without_secrets(&path));
    let mut response = if method == Method::OPTIONS {
        StatusCode::NO_CONTENT.into_response()
    } else {
        answer(request, next).instrument(span.clone()).await
    };
    app.traffic.count(asked, response.status());
    span.in_scope(|| tracing::debug!(status = response.status().as_u16(), "answered"));
    response = finish(response, &id);
    if method == Method::OPTIONS && cors::is_media(&path) {
        media::add_options(response.headers_mut(), &app.config);
    }
    cors::add(response.headers_mut(), &app.config, &path, method == Method::OPTIONS);
    response
}

/// What is left of it where there is no application to ask: the id and the typed body.
pub async fn complete_alone(request: Request, next: Next) -> Response {
    finish(next.run(request).await, &Uuid::new_v4().simple().to_string())
}

/// Runs the handler as a task of its own: a panic in it ends nothing else, and a client that hangs up in the middle does
/// not leave a change half made.
async fn answer(request: Request, next: Next) -> Response {
    match tokio::spawn(next.run(request).in_current_span()).await {
        Ok(response) => response,
        Err(error) => {
            tracing::error!(%error, "a handler panicked");
            ApiError::Panicked.into_response()
        }
    }
}

fn finish(mut response: Response, request_id: &str) -> Response {
    if let Some(fault) = response.extensions_mut().remove::<Fault>() {
        response = with_body(response, fault, request_id);
    }
    finish_headers(response.headers_mut(), request_id);
    response
}

/// Keeps what the handler or the router put into these headers, replaces the rest.
fn with_body(refused: Response, fault: Fault, request_id: &str) -> Response {
    let status = fault.status;
    let mut response = (status, Json(ErrorBody::of(fault, request_id))).into_response();
    for name in [header::ALLOW, header::CONTENT_RANGE] {
        if let Some(value) = refused.headers().get(&name) {
            response.headers_mut().insert(name, value.clone());
        }
    }
    if status == StatusCode::UNAUTHORIZED {
        let scheme = HeaderValue::from_static("Bearer");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
    }
    if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        let wait = HeaderValue::from_static(RETRY_AFTER);
        response.headers_mut().insert(header::RETRY_AFTER, wait);
    }
    response
}

fn finish_headers(headers: &mut HeaderMap, request_id: &str) {
    if let Ok(id) = HeaderValue::from_str(request_id) {
        headers.insert("x-request-id", id);
    }
    // Answers hold stream keys, and change from one moment to the next.
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
}

/// A path as it may be logged or repeated: whoever knows a stream key may publish.
pub fn without_secrets(path: &str) -> String {
    if path.starts_with("/mediamtx/") {
        return "/mediamtx/***".to_owned();
    }
    let Some(rest) = path.strip_prefix("/live/") else {
        return path.chars().take(200).collect();
    };
    match rest.split_once('/') {
        Some((_, "whip")) => "/live/***/whip".to_owned(),
        Some(_) => "/live/***/…".to_owned(),
        None => "/live/***".to_owned(),
    }
}
