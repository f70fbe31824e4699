//! Who may call: the server's token on `/v1/*`, and a stream's key where the URL does not hold it.

use crate::App;
use crate::errors::ApiError;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::Response;

pub async fn require_token(
    State(app): State<App>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    match &app.config.token {
        Some(token) if !has_bearer(request.headers(), token) => Err(ApiError::NoToken),
        _ => Ok(next.run(request).await),
    }
}

/// Whether the request carries `Bearer <expected>`, the scheme in any case.
pub fn has_bearer(headers: &HeaderMap, expected: &str) -> bool {
    let sent = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let Some((scheme, token)) = sent.and_then(|value| value.split_once(' ')) else {
        return false;
    };
    scheme.eq_ignore_ascii_case("bearer") && is_same(token.trim(), expected)
}

/// Takes equally long wherever the first difference is.
fn is_same(sent: &str, expected: &str) -> bool {
    let pairs = sent.bytes().zip(expected.bytes());
    let difference = pairs.fold(0, |difference, (a, b)| difference | (a ^ b));
    sent.len() == expected.len() && difference == 0
}
