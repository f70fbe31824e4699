//! Reading request bodies: content type, size, and the outermost shape.

use crate::errors::ApiError;
use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use host_ports::FieldError;
use serde_json::{Map, Value};
use std::time::Duration;

/// A sender slower than this holds a connection for nothing.
const READ_TIMEOUT: Duration = Duration::from_secs(20);

/// A body that is a JSON object. The content type may be absent.
pub struct JsonObject(pub Map<String, Value>);

/// A body that is declared as SDP.
pub struct Sdp(pub String);

impl<S: Send + Sync> FromRequest<S> for JsonObject {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let sent = content_type(request.headers());
        if let Some(got) = sent.filter(|sent| !is_json(sent)) {
            return Err(ApiError::WrongContentType { got, wanted: "application/json" });
        }
        let bytes = read(request, state, "8 MiB").await?;
        if bytes.is_empty() {
            return Err(not_an_object("the body is empty; send a JSON object"));
        }
        match serde_json::from_slice(&bytes) {
            Ok(Value::Object(object)) => Ok(Self(object)),
            Ok(_) => Err(not_an_object("the body must be a JSON object")),
            Err(error) => Err(ApiError::InvalidJson { reason: error.to_string() }),
        }
    }
}

impl<S: Send + Sync> FromRequest<S> for Sdp {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let sent = content_type(request.headers()).unwrap_or_default();
        if sent != "application/sdp" {
            let got = if sent.is_empty() { "absent".to_owned() } else { sent };
            return Err(ApiError::WrongContentType { got, wanted: "application/sdp" });
        }
        let bytes = read(request, state, "64 KiB").await?;
        let text = String::from_utf8(bytes.into());
        text.map(Self).map_err(|_| ApiError::UnreadableBody { reason: "it is not UTF-8".into() })
    }
}

async fn read<S: Send + Sync>(
    request: Request,
    state: &S,
    limit: &'static str,
) -> Result<Bytes, ApiError> {
    let bytes = tokio::time::timeout(READ_TIMEOUT, Bytes::from_request(request, state)).await;
    match bytes {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(rejection)) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            Err(ApiError::TooLarge { limit })
        }
        Ok(Err(_)) => Err(ApiError::UnreadableBody { reason: "it broke off".into() }),
        Err(_) => Err(ApiError::UnreadableBody {
            reason: format!("it did not arrive within {} s", READ_TIMEOUT.as_secs()),
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

fn not_an_object(message: &str) -> ApiError {
    ApiError::InvalidBody(vec![FieldError { pointer: String::new(), message: message.to_owned() }])
}
