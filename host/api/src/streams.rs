//! The REST calls on streams.

use crate::access::Scopes;
use crate::body::JsonObject;
use crate::care::{Care, Deletion, PlannedStream, Tagged};
use crate::errors::ApiError;
use crate::path::Parameters;
use crate::requests::{self, CreateStream, HotParams, UpdateStream};
use crate::urls::Base;
use crate::wire::{AUTHOR, Done, ErrorBody, Stream, StreamList};
use crate::{App, ListShape};
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use host_runtime::{ChangeError, Mode, StreamChange, StreamView};

/// Pairs of a query string; any text is one, so reading them cannot fail.
type Pairs = Query<Vec<(String, String)>>;

/// Create a stream
///
/// Answers at once; the pipeline loads in the background, and publishing is possible right away.
#[utoipa::path(
    post, path = "/v1/streams", tag = "streams", request_body = CreateStream,
    params(("plan" = Option<bool>, Query, description = "only say what would be created")),
    responses(
        (status = 201, body = Stream, headers(("ETag" = String, description = "the revision"))),
        (status = 200, description = "what would be created, with `plan=true`", body = PlannedStream),
        (status = 400, body = ErrorBody), (status = 409, body = ErrorBody),
        (status = 429, body = ErrorBody),
    )
)]
pub async fn create(
    State(app): State<App>,
    base: Base,
    care: Care,
    JsonObject(body): JsonObject,
) -> Result<Response, ApiError> {
    let wish = requests::new_stream(body, &app.runtime.claims())?;
    match care.mode {
        Mode::Plan => Ok(Json(PlannedStream::from(app.runtime.plan(wish).await?)).into_response()),
        Mode::ApplyAndWait(_) => {
            let wanted = "left out here: a new stream has no frame to wait for";
            Err(ApiError::InvalidQuery { name: "wait", wanted })
        }
        Mode::Apply => {
            let view = app.runtime.create(wish).await?;
            Ok(Tagged(StatusCode::CREATED, Stream::to_wire(view, &base)).into_response())
        }
    }
}

/// List the streams
///
/// Without `application/json` in `Accept` the server's setting decides between this envelope and a bare array.
#[utoipa::path(
    get, path = "/v1/streams", tag = "streams",
    params(("user_id" = Option<String>, Query, description = "only streams of this author")),
    responses((status = 200, body = StreamList))
)]
pub async fn list(
    State(app): State<App>,
    Extension(caller): Extension<Scopes>,
    base: Base,
    headers: HeaderMap,
    Query(pairs): Pairs,
) -> Response {
    let is_wanted = value(&pairs, "user_id").is_none_or(|user| user == AUTHOR);
    let views = if is_wanted { app.runtime.list() } else { Vec::new() };
    let data = views.into_iter().map(|view| caller.shown(Stream::to_wire(view, &base))).collect();
    if names_json(&headers) || app.config.list_shape == ListShape::Envelope {
        Json(StreamList { success: true, data }).into_response()
    } else {
        Json(data).into_response()
    }
}

/// Get a stream
#[utoipa::path(
    get, path = "/v1/streams/{id}", tag = "streams", params(("id" = String, Path)),
    responses(
        (status = 200, body = Stream, headers(("ETag" = String, description = "the revision"))),
        (status = 404, body = ErrorBody),
    )
)]
pub async fn read(
    State(app): State<App>,
    Extension(caller): Extension<Scopes>,
    base: Base,
    Parameters(id): Parameters<String>,
) -> Result<Tagged, ApiError> {
    let stream = caller.shown(Stream::to_wire(find(&app, &id)?, &base));
    Ok(Tagged(StatusCode::OK, stream))
}

/// Change a stream
///
/// Only what is sent changes. The output goes on while the pipeline reloads.
#[utoipa::path(
    patch, path = "/v1/streams/{id}", tag = "streams",
    params(
        ("id" = String, Path),
        ("plan" = Option<bool>, Query, description = "only say what would change"),
        ("wait" = Option<String>, Query, description = "`applied`: answer once a frame was made with it, for at most 10 s"),
        ("If-Match" = Option<String>, Header, description = "the `ETag` that the change is meant for; 409 at any other"),
    ),
    request_body = UpdateStream,
    responses(
        (status = 200, body = Stream, headers(("ETag" = String, description = "the revision"))),
        (status = 400, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 409, body = ErrorBody),
    )
)]
pub async fn change(
    State(app): State<App>,
    base: Base,
    Parameters(id): Parameters<String>,
    care: Care,
    JsonObject(body): JsonObject,
) -> Result<Tagged, ApiError> {
    let change = requests::change(body, &find(&app, &id)?.pipeline)?;
    change_with_care(&app, &base, &id, care, change).await
}

/// Change params between two frames
///
/// Takes params flat, and refuses those that need a reload.
#[utoipa::path(
    patch, path = "/v1/streams/{id}/params", tag = "streams",
    params(
        ("id" = String, Path),
        ("plan" = Option<bool>, Query, description = "only say what would change"),
        ("wait" = Option<String>, Query, description = "`applied`: answer once a frame was made with it, for at most 10 s"),
        ("If-Match" = Option<String>, Header, description = "the `ETag` that the change is meant for; 409 at any other"),
    ),
    request_body = HotParams,
    responses(
        (status = 200, body = Stream, headers(("ETag" = String, description = "the revision"))),
        (status = 400, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 409, body = ErrorBody),
    )
)]
pub async fn change_hot(
    State(app): State<App>,
    base: Base,
    Parameters(id): Parameters<String>,
    care: Care,
    JsonObject(body): JsonObject,
) -> Result<Tagged, ApiError> {
    change_with_care(&app, &base, &id, care, requests::hot_change(body)?).await
}

async fn change_with_care(
    app: &App,
    base: &Base,
    id: &str,
    care: Care,
    change: StreamChange,
) -> Result<Tagged, ApiError> {
    let Care { revisions, mode } = care;
    let changed = app.runtime.change(id, StreamChange { revisions, mode, ..change }).await?;
    Ok(Tagged::changed(changed, mode, base))
}

/// Delete a stream
#[utoipa::path(
    delete, path = "/v1/streams", tag = "streams",
    params(
        ("id" = String, Query),
        ("If-Match" = Option<String>, Header, description = "the `ETag` of the stream to delete; 409 at any other"),
    ),
    responses(
        (status = 200, body = Done), (status = 400, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 409, body = ErrorBody),
    )
)]
pub async fn delete_by_query(
    State(app): State<App>,
    Deletion { revisions }: Deletion,
    Query(pairs): Pairs,
) -> Result<Json<Done>, ApiError> {
    let id = value(&pairs, "id").filter(|id| !id.is_empty()).ok_or(ApiError::MissingId)?;
    app.runtime.delete_at(id, revisions).await?;
    Ok(Json(Done::new()))
}

/// Delete a stream, by path
#[utoipa::path(
    delete, path = "/v1/streams/{id}", tag = "streams",
    params(
        ("id" = String, Path),
        ("If-Match" = Option<String>, Header, description = "the `ETag` of the stream to delete; 409 at any other"),
    ),
    responses(
        (status = 204), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 409, body = ErrorBody),
    )
)]
pub async fn delete_by_path(
    State(app): State<App>,
    Parameters(id): Parameters<String>,
    Deletion { revisions }: Deletion,
) -> Result<StatusCode, ApiError> {
    app.runtime.delete_at(&id, revisions).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub fn find(app: &App, id: &str) -> Result<StreamView, ApiError> {
    app.runtime.get(id).ok_or_else(|| ChangeError::not_found(id).into())
}

fn value<'a>(pairs: &'a [(String, String)], name: &str) -> Option<&'a str> {
    pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

fn names_json(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepted.flat_map(|value| value.split(',')).any(|range| {
        let essence = range.split(';').next().unwrap_or_default().trim();
        essence.eq_ignore_ascii_case("application/json")
    })
}
