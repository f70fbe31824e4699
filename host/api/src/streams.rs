//! The REST calls on streams.

use crate::access::Scopes;
use crate::body::JsonObject;
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
use host_runtime::{ChangeError, StreamView};

/// Pairs of a query string; any text is one, so reading them cannot fail.
type Pairs = Query<Vec<(String, String)>>;

/// Create a stream
///
/// Answers at once; the pipeline loads in the background, and publishing is possible right away.
#[utoipa::path(
    post, path = "/v1/streams", tag = "streams", request_body = CreateStream,
    responses(
        (status = 201, body = Stream),
        (status = 400, body = ErrorBody), (status = 429, body = ErrorBody),
    )
)]
pub async fn create(
    State(app): State<App>,
    base: Base,
    JsonObject(body): JsonObject,
) -> Result<(StatusCode, Json<Stream>), ApiError> {
    let wish = requests::new_stream(body, &app.runtime.claims())?;
    let view = app.runtime.create(wish).await?;
    Ok((StatusCode::CREATED, Json(Stream::to_wire(view, &base))))
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
    responses((status = 200, body = Stream), (status = 404, body = ErrorBody))
)]
pub async fn read(
    State(app): State<App>,
    Extension(caller): Extension<Scopes>,
    base: Base,
    Parameters(id): Parameters<String>,
) -> Result<Json<Stream>, ApiError> {
    Ok(Json(caller.shown(Stream::to_wire(find(&app, &id)?, &base))))
}

/// Change a stream
///
/// Only what is sent changes. The output goes on while the pipeline reloads.
#[utoipa::path(
    patch, path = "/v1/streams/{id}", tag = "streams", params(("id" = String, Path)),
    request_body = UpdateStream,
    responses(
        (status = 200, body = Stream), (status = 400, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 409, body = ErrorBody),
    )
)]
pub async fn change(
    State(app): State<App>,
    base: Base,
    Parameters(id): Parameters<String>,
    JsonObject(body): JsonObject,
) -> Result<Json<Stream>, ApiError> {
    let change = requests::change(body, &find(&app, &id)?.pipeline)?;
    let view = app.runtime.change(&id, change).await?;
    Ok(Json(Stream::to_wire(view, &base)))
}

/// Change params between two frames
///
/// Takes params flat, and refuses those that need a reload.
#[utoipa::path(
    patch, path = "/v1/streams/{id}/params", tag = "streams", params(("id" = String, Path)),
    request_body = HotParams,
    responses(
        (status = 200, body = Stream), (status = 400, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 409, body = ErrorBody),
    )
)]
pub async fn change_hot(
    State(app): State<App>,
    base: Base,
    Parameters(id): Parameters<String>,
    JsonObject(body): JsonObject,
) -> Result<Json<Stream>, ApiError> {
    let view = app.runtime.change(&id, requests::hot_change(body)?).await?;
    Ok(Json(Stream::to_wire(view, &base)))
}

/// Delete a stream
#[utoipa::path(
    delete, path = "/v1/streams", tag = "streams",
    params(("id" = String, Query)),
    responses(
        (status = 200, body = Done), (status = 400, body = ErrorBody),
        (status = 404, body = ErrorBody),
    )
)]
pub async fn delete_by_query(
    State(app): State<App>,
    Query(pairs): Pairs,
) -> Result<Json<Done>, ApiError> {
    let id = value(&pairs, "id").filter(|id| !id.is_empty()).ok_or(ApiError::MissingId)?;
    app.runtime.delete(id).await?;
    Ok(Json(Done::new()))
}

/// Delete a stream, by path
#[utoipa::path(
    delete, path = "/v1/streams/{id}", tag = "streams", params(("id" = String, Path)),
    responses((status = 204), (status = 404, body = ErrorBody))
)]
pub async fn delete_by_path(
    State(app): State<App>,
    Parameters(id): Parameters<String>,
) -> Result<StatusCode, ApiError> {
    app.runtime.delete(&id).await?;
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
