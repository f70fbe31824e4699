//! Reading request bodies: content type, size, and the outermost shape.

use crate::App;
use crate::errors::ApiError;
use crate::trickle;
use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use host_ports::FieldError;
use serde_json::{Map, Value};

/// More values than any params have. What is built of them, and what a validator says to each, takes a hundred times the
/// memory of their text.
const MOST_VALUES: usize = 20_000;

/// A body that is a JSON object. The content type may be absent.
pub struct JsonObject(pub Map<String, Value>);

/// A body that is declared as SDP.
pub struct Sdp(pub String);

/// A body that is declared as a part of SDP.
pub struct Fragment(pub String);

impl FromRequest<App> for JsonObject {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App) -> Result<Self, ApiError> {
        let sent = content_type(request.headers());
        if let Some(got) = sent.filter(|sent| !is_json(sent)) {
            return Err(ApiError::WrongContentType { got, wanted: "application/json" });
        }
        let bytes = read(request, app, app.config.bodies.json).await?;
        if bytes.is_empty() {
            return Err(whole_body("the body is empty; send a JSON object"));
        }
        if has_too_many_values(&bytes) {
            let message = format!("the body must hold at most {MOST_VALUES} values");
            return Err(whole_body(message));
        }
        match serde_json::from_slice(&bytes) {
            Ok(Value::Object(object)) => Ok(Self(object)),
            Ok(_) => Err(whole_body("the body must be a JSON object")),
            Err(error) => Err(ApiError::InvalidJson { reason: error.to_string() }),
        }
    }
}

impl FromRequest<App> for Sdp {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App) -> Result<Self, ApiError> {
        text(request, app, "application/sdp").await.map(Self)
    }
}

impl FromRequest<App> for Fragment {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App) -> Result<Self, ApiError> {
        text(request, app, trickle::FRAGMENT).await.map(Self)
    }
}

/// A body of SDP, of exactly this type.
async fn text(request: Request, app: &App, wanted: &'static str) -> Result<String, ApiError> {
    let sent = content_type(request.headers()).unwrap_or_default();
    if sent != wanted {
        let got = if sent.is_empty() { "absent".to_owned() } else { sent };
        return Err(ApiError::WrongContentType { got, wanted });
    }
    let bytes = read(request, app, app.config.bodies.sdp).await?;
    let text = String::from_utf8(bytes.into());
    text.map_err(|_| ApiError::UnreadableBody { reason: "it is not UTF-8".into() })
}

/// `limit` is the path's own, for the answer.
async fn read(request: Request, app: &App, limit: usize) -> Result<Bytes, ApiError> {
    let time = app.config.bodies.time;
    let bytes = tokio::time::timeout(time, Bytes::from_request(request, app)).await;
    match bytes {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(rejection)) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            Err(ApiError::TooLarge { limit })
        }
        Ok(Err(_)) => Err(ApiError::UnreadableBody { reason: "it broke off".into() }),
        Err(_) => Err(ApiError::UnreadableBody {
            reason: format!("it did not arrive within {} s", time.as_secs()),
        }),
    }
}

/// The media type without its parameters.
fn content_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::CONTENT_TYPE)?;
    let text = String::from_utf8_lossy(value.as_bytes());
    let essence = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    Some(essence).filter(|essence| !essence.is_empty())
}

fn is_json(essence: &str) -> bool {
    essence == "application/json"
        || (essence.starts_with("application/") && essence.ends_with("+json"))
}

/// Counts what begins a value's neighbour or content, outside of texts, without building anything.
fn has_too_many_values(json: &[u8]) -> bool {
    let (mut is_text, mut is_escaped, mut values) = (false, false, 0);
    for byte in json {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_text => is_escaped = true,
            b'"' => is_text = !is_text,
            b',' | b'[' | b'{' if !is_text => values += 1,
            _ => {}
        }
    }
    values > MOST_VALUES
}

fn whole_body(message: impl Into<String>) -> ApiError {
    ApiError::InvalidBody(vec![FieldError { pointer: String::new(), message: message.into() }])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_counted_and_what_stands_in_texts_is_not() {
        let list = |item: &str, count| format!("{{\"a\":[{}]}}", vec![item; count].join(","));
        assert!(!has_too_many_values(list("1", MOST_VALUES - 2).as_bytes()));
        assert!(has_too_many_values(list("1", MOST_VALUES).as_bytes()));
        assert!(has_too_many_values(list("{}", MOST_VALUES / 2 + 1).as_bytes()));
        let text = format!("{{\"a\":\"{}\\\\\"}}", ",[{\\\"".repeat(MOST_VALUES));
        assert!(!has_too_many_values(text.as_bytes()));
    }
}
