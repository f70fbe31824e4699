//! The one place where errors become HTTP: status, code, text and details of each.

use crate::access::{Scope, Scopes};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use host_ports::{FieldError, HlsError, OfferError, RecordError, ResolveError};
use host_runtime::{ChangeError, EventsError, MediaError, TooManyEventReaders};
use serde_json::{Value, json};

/// Errors repeat what was sent. Enough for a list of many choices, and no way to make an answer as large as a request.
const LONGEST_TEXT: usize = 4000;

/// Everything a request can fail with.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    #[error(transparent)]
    Change(#[from] ChangeError),
    #[error(transparent)]
    Media(#[from] MediaError),
    #[error(transparent)]
    Events(#[from] EventsError),
    #[error("the body is not JSON: {reason}")]
    InvalidJson { reason: String },
    #[error("{}", summary(.0))]
    InvalidBody(Vec<FieldError>),
    #[error("the body could not be read: {reason}")]
    UnreadableBody { reason: String },
    #[error("the body is larger than the {} KiB that this path takes", limit >> 10)]
    TooLarge { limit: usize },
    #[error("the content type is `{got}`; send `{wanted}`")]
    WrongContentType { got: String, wanted: &'static str },
    #[error("the query's `{name}` must be {wanted}")]
    InvalidQuery { name: &'static str, wanted: &'static str },
    #[error("say which stream to delete: DELETE /v1/streams?id=…")]
    MissingId,
    #[error("there is nothing at {path}; GET /openapi.json describes what is")]
    NoSuchPath { path: String },
    #[error("{method} does nothing here; the `Allow` header says what does")]
    WrongMethod { method: Method },
    #[error("this port speaks HTTPS; ask for the same under https://")]
    HttpsOnly,
    #[error("this server asks for a token: send `Authorization: Bearer <token>`")]
    NoToken,
    #[error("this token has no scope `{}`, which the call asks for; it has {}", needed.name(), held.names().join(", "))]
    NotAllowed { needed: Scope, held: Scopes },
    #[error(
        "publishing by the stream's id asks for its stream key: send `Authorization: Bearer <stream_key>`, or publish to the stream's `whip_url`"
    )]
    NoStreamKey,
    #[error(
        "send the session's `ETag` as `If-Match`, so that it is known which ICE session the candidates are of"
    )]
    NoIceSession,
    #[error("the candidates are of another ICE session than this; the answer's `ETag` names it")]
    OtherIceSession,
    #[error("this server does not restart ICE; end the session and send a new offer")]
    IceRestart,
    #[error("the file has no such part; `Content-Range` says how many bytes it has")]
    NoSuchRange { size: Option<HeaderValue> },
    #[error("the file is not the one that `If-Match` or `If-Unmodified-Since` means")]
    OtherFile,
    #[error("the server failed at this request; its log says more under this request id")]
    Panicked,
}

/// An error on its way out, before the request's id is written into it.
#[derive(Clone, Debug)]
pub struct Fault {
    pub status: StatusCode,
    pub code: &'static str,
    pub text: String,
    pub details: Value,
}

impl ApiError {
    fn status_and_code(&self) -> (StatusCode, &'static str) {
        match self {
            Self::Change(error) => of_change(error),
            Self::Media(error) => of_media(error),
            Self::Events(EventsError::NotFound { .. }) => {
                (StatusCode::NOT_FOUND, "STREAMS/NOT_FOUND")
            }
            Self::Events(EventsError::TooManyReaders(_)) => {
                (StatusCode::TOO_MANY_REQUESTS, "STREAMS/LIMIT")
            }
            Self::InvalidJson { .. } => (StatusCode::BAD_REQUEST, "REQUEST/INVALID_JSON"),
            Self::InvalidBody(_) => (StatusCode::BAD_REQUEST, "REQUEST/INVALID_BODY"),
            Self::UnreadableBody { .. } => (StatusCode::BAD_REQUEST, "REQUEST/UNREADABLE_BODY"),
            Self::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "REQUEST/TOO_LARGE"),
            Self::WrongContentType { .. } => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, "REQUEST/UNSUPPORTED_MEDIA_TYPE")
            }
            Self::InvalidQuery { .. } => (StatusCode::BAD_REQUEST, "REQUEST/INVALID_QUERY"),
            Self::MissingId => (StatusCode::BAD_REQUEST, "REQUEST/MISSING_ID"),
            Self::NoSuchPath { .. } => (StatusCode::NOT_FOUND, "REQUEST/NOT_FOUND"),
            Self::WrongMethod { .. } => {
                (StatusCode::METHOD_NOT_ALLOWED, "REQUEST/METHOD_NOT_ALLOWED")
            }
            Self::HttpsOnly => (StatusCode::BAD_REQUEST, "REQUEST/HTTPS_ONLY"),
            Self::NoToken | Self::NoStreamKey => (StatusCode::UNAUTHORIZED, "AUTH/UNAUTHORIZED"),
            Self::NotAllowed { .. } => (StatusCode::FORBIDDEN, "AUTH/FORBIDDEN"),
            Self::NoIceSession => (StatusCode::PRECONDITION_REQUIRED, "SESSIONS/NO_ETAG"),
            Self::OtherIceSession => (StatusCode::PRECONDITION_FAILED, "SESSIONS/CONFLICT"),
            Self::IceRestart => (StatusCode::UNPROCESSABLE_ENTITY, "SESSIONS/NO_RESTART"),
            Self::NoSuchRange { .. } => (StatusCode::RANGE_NOT_SATISFIABLE, "MEDIA/NO_SUCH_RANGE"),
            Self::OtherFile => (StatusCode::PRECONDITION_FAILED, "MEDIA/CONFLICT"),
            Self::Panicked => (StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL/ERROR"),
        }
    }

    fn text(&self) -> String {
        match self {
            // What broke inside is for the log alone.
            Self::Change(ChangeError::Internal(_)) => Self::Panicked.to_string(),
            // Clients look for these words while they wait.
            Self::Media(MediaError::Offer(OfferError::NotReady)) => {
                format!("Stream not ready: {self}")
            }
            other => other.to_string(),
        }
    }

    fn details(&self) -> Value {
        match self {
            Self::InvalidBody(fields) | Self::Change(ChangeError::Params(fields)) => {
                let fields = fields.iter();
                fields
                    .map(|f| json!({"pointer": cut(&f.pointer), "message": cut(&f.message)}))
                    .collect()
            }
            Self::Change(ChangeError::ReloadRequired { fields }) => json!({ "fields": fields }),
            Self::Change(ChangeError::Stale { revision, wanted }) => {
                json!({ "revision": revision, "if_match": wanted })
            }
            Self::Change(ChangeError::TooManyStreams { limit })
            | Self::Events(EventsError::TooManyReaders(TooManyEventReaders { limit })) => {
                json!({ "limit": limit })
            }
            Self::Change(ChangeError::NoMemory(shortage)) => json!({
                "needed_bytes": shortage.needed,
                "in_use_bytes": shortage.in_use,
                "limit_bytes": shortage.limit,
            }),
            Self::Change(ChangeError::Pipeline(error)) => {
                json!({"on_offer": match error {
                    ResolveError::UnknownPipeline { on_offer, .. }
                    | ResolveError::UnknownModel { on_offer, .. }
                    | ResolveError::MissingModel { on_offer, .. } => on_offer,
                }})
            }
            Self::NotAllowed { needed, held } => {
                json!({ "needed": needed.name(), "scopes": held.names() })
            }
            _ => Value::Null,
        }
    }
}

fn of_change(error: &ChangeError) -> (StatusCode, &'static str) {
    match error {
        ChangeError::NotFound { .. } => (StatusCode::NOT_FOUND, "STREAMS/NOT_FOUND"),
        ChangeError::Pipeline(ResolveError::UnknownPipeline { .. }) => {
            (StatusCode::BAD_REQUEST, "STREAMS/UNKNOWN_PIPELINE")
        }
        ChangeError::Pipeline(
            ResolveError::UnknownModel { .. } | ResolveError::MissingModel { .. },
        )
        | ChangeError::Params(_) => (StatusCode::BAD_REQUEST, "STREAMS/INVALID_PARAMS"),
        ChangeError::PipelineMismatch { .. } => {
            (StatusCode::BAD_REQUEST, "STREAMS/PIPELINE_MISMATCH")
        }
        ChangeError::ReloadRequired { .. } => (StatusCode::BAD_REQUEST, "STREAMS/RELOAD_REQUIRED"),
        ChangeError::InvalidName { .. } => (StatusCode::BAD_REQUEST, "REQUEST/INVALID_BODY"),
        ChangeError::TooManyStreams { .. } => (StatusCode::TOO_MANY_REQUESTS, "STREAMS/LIMIT"),
        ChangeError::NoMemory(_) => (StatusCode::CONFLICT, "STREAMS/NO_MEMORY"),
        // Not 412: Daydream's clients have no type for it.
        ChangeError::Busy { .. } | ChangeError::Stale { .. } => {
            (StatusCode::CONFLICT, "STREAMS/CONFLICT")
        }
        ChangeError::Internal(_) => (StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL/ERROR"),
    }
}

fn of_media(error: &MediaError) -> (StatusCode, &'static str) {
    match error {
        MediaError::NoStream => (StatusCode::NOT_FOUND, "STREAMS/NOT_FOUND"),
        MediaError::NoSession => (StatusCode::NOT_FOUND, "SESSIONS/NOT_FOUND"),
        MediaError::Hls(HlsError::Invalid { .. }) => {
            (StatusCode::BAD_REQUEST, "REQUEST/INVALID_QUERY")
        }
        MediaError::Hls(HlsError::NoFile { .. }) => (StatusCode::NOT_FOUND, "MEDIA/NOT_FOUND"),
        MediaError::Record(error) => of_record(error),
        MediaError::Hls(HlsError::Offer(error)) | MediaError::Offer(error) => of_offer(error),
    }
}

fn of_record(error: &RecordError) -> (StatusCode, &'static str) {
    match error {
        RecordError::Already { .. } => (StatusCode::CONFLICT, "STREAMS/CONFLICT"),
        RecordError::NotRecording => (StatusCode::NOT_FOUND, "RECORDINGS/NOT_FOUND"),
        RecordError::NoFile => (StatusCode::NOT_FOUND, "MEDIA/NOT_FOUND"),
        RecordError::NoRoom { .. } => (StatusCode::INSUFFICIENT_STORAGE, "RECORDINGS/NO_ROOM"),
        RecordError::Files { .. } => (StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL/ERROR"),
        RecordError::Offer(error) => of_offer(error),
    }
}

fn of_offer(error: &OfferError) -> (StatusCode, &'static str) {
    match error {
        OfferError::Invalid { .. } => (StatusCode::BAD_REQUEST, "MEDIA/INVALID_OFFER"),
        OfferError::NoCommonCodec { .. } => (StatusCode::BAD_REQUEST, "MEDIA/NO_COMMON_CODEC"),
        OfferError::NotReady => (StatusCode::NOT_FOUND, "STREAMS/NOT_READY"),
        OfferError::TooManyReaders { .. } => (StatusCode::TOO_MANY_REQUESTS, "STREAMS/LIMIT"),
        OfferError::Unavailable { .. } => (StatusCode::SERVICE_UNAVAILABLE, "MEDIA/UNAVAILABLE"),
    }
}

impl IntoResponse for ApiError {
    /// Leaves the body to `answer::complete`, which knows the request's id.
    fn into_response(self) -> Response {
        let (status, code) = self.status_and_code();
        let error = cut(&self.to_string());
        if status.is_server_error() {
            tracing::error!(%error, "request failed");
        } else {
            tracing::debug!(%error, %status, "request refused");
        }
        let fault = Fault { status, code, text: cut(&self.text()), details: self.details() };
        let mut response = status.into_response();
        if let Self::NoSuchRange { size: Some(size) } = self {
            response.headers_mut().insert(header::CONTENT_RANGE, size);
        }
        response.extensions_mut().insert(fault);
        response
    }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(LONGEST_TEXT) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn summary(fields: &[FieldError]) -> String {
    let texts: Vec<_> = fields
        .iter()
        .map(|field| match field.pointer.trim_start_matches('/') {
            "" => field.message.clone(),
            name => format!("`{name}` {}", field.message),
        })
        .collect();
    texts.join("; ")
}
