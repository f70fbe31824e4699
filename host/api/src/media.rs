//! WHIP and WHEP: offers in, answers out. The URL is the permission, so that a browser needs no token; only publishing by
//! the stream's id, which every viewer learns, asks for the stream key.

use crate::access::has_bearer;
use crate::body::Sdp;
use crate::errors::ApiError;
use crate::path::Parameters;
use crate::trickle;
use crate::urls::Base;
use crate::wire::ErrorBody;
use crate::{ApiConfig, App, IceServer};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use host_ports::Answer;
use host_runtime::{MediaError, StreamView};

/// What the seed project's paths put behind the id of a stream to name its output.
pub const OUTPUT_SUFFIX: &str = "_out";

/// Publish by WHIP
///
/// Takes the place of an earlier publisher. `Location` is the session, `Livepeer-Playback-Url` the WHEP URL.
#[utoipa::path(
    post, path = "/live/{stream_key}/whip", tag = "media", params(("stream_key" = String, Path)),
    request_body(content = String, content_type = "application/sdp"),
    responses(
        (status = 201, body = String, content_type = "application/sdp"),
        (status = 400, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 503, body = ErrorBody),
    )
)]
pub async fn publish(
    State(app): State<App>,
    base: Base,
    Parameters(stream_key): Parameters<String>,
    Sdp(offer): Sdp,
) -> Result<Response, ApiError> {
    let (answer, view) = app.runtime.publish(&stream_key, &offer)?;
    let response = answered(&app, answer, &offer, &base.whip(&view.stream_key));
    Ok(published(response, &view, &base))
}

/// Stop publishing
#[utoipa::path(
    delete, path = "/live/{stream_key}/whip/{session}", tag = "media",
    params(("stream_key" = String, Path), ("session" = String, Path)),
    responses((status = 200), (status = 404, body = ErrorBody))
)]
pub async fn end_publishing(
    State(app): State<App>,
    Parameters((stream_key, session)): Parameters<(String, String)>,
) -> Result<StatusCode, ApiError> {
    app.runtime.hang_up_publisher(&stream_key, &session)?;
    Ok(StatusCode::OK)
}

/// Watch by WHEP
///
/// Answers 404 until something was published.
#[utoipa::path(
    post, path = "/play/{playback_id}/whep", tag = "media", params(("playback_id" = String, Path)),
    request_body(content = String, content_type = "application/sdp"),
    responses(
        (status = 201, body = String, content_type = "application/sdp"),
        (status = 400, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 429, body = ErrorBody), (status = 503, body = ErrorBody),
    )
)]
pub async fn play(
    State(app): State<App>,
    base: Base,
    Parameters(playback_id): Parameters<String>,
    Sdp(offer): Sdp,
) -> Result<Response, ApiError> {
    let answer = app.runtime.play(&playback_id, &offer)?;
    Ok(answered(&app, answer, &offer, &base.whep(&playback_id)))
}

/// Stop watching
#[utoipa::path(
    delete, path = "/play/{playback_id}/whep/{session}", tag = "media",
    params(("playback_id" = String, Path), ("session" = String, Path)),
    responses((status = 200), (status = 404, body = ErrorBody))
)]
pub async fn end_playing(
    State(app): State<App>,
    Parameters((playback_id, session)): Parameters<(String, String)>,
) -> Result<StatusCode, ApiError> {
    app.runtime.hang_up_reader(&playback_id, &session)?;
    Ok(StatusCode::OK)
}

/// Publish by id
///
/// Asks for the stream key as bearer token, unless the server is configured to let anyone in.
#[utoipa::path(
    post, path = "/{id}/whip", tag = "media", params(("id" = String, Path)),
    request_body(content = String, content_type = "application/sdp"),
    responses(
        (status = 201, body = String, content_type = "application/sdp"),
        (status = 401, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 503, body = ErrorBody),
    )
)]
pub async fn publish_by_id(
    State(app): State<App>,
    base: Base,
    Parameters(id): Parameters<String>,
    headers: HeaderMap,
    Sdp(offer): Sdp,
) -> Result<Response, ApiError> {
    let view = of_id(&app, &id)?;
    if !app.config.is_whip_by_id_open && !has_bearer(&headers, &view.stream_key) {
        return Err(ApiError::NoStreamKey);
    }
    let (answer, view) = app.runtime.publish(&view.stream_key, &offer)?;
    let response = answered(&app, answer, &offer, &base.join(&format!("/{id}/whip")));
    Ok(published(response, &view, &base))
}

/// Stop publishing by id
///
/// The session's name is as good as the key: only its publisher was told.
#[utoipa::path(
    delete, path = "/{id}/whip/{session}", tag = "media",
    params(("id" = String, Path), ("session" = String, Path)),
    responses((status = 200), (status = 404, body = ErrorBody))
)]
pub async fn end_publishing_by_id(
    State(app): State<App>,
    Parameters((id, session)): Parameters<(String, String)>,
) -> Result<StatusCode, ApiError> {
    app.runtime.hang_up_publisher(&of_id(&app, &id)?.stream_key, &session)?;
    Ok(StatusCode::OK)
}

/// Watch by id, at `/{id}_out/whep`
#[utoipa::path(
    post, path = "/{id}/whep", tag = "media",
    params(("id" = String, Path, description = "the stream's id and `_out`")),
    request_body(content = String, content_type = "application/sdp"),
    responses(
        (status = 201, body = String, content_type = "application/sdp"),
        (status = 404, body = ErrorBody), (status = 429, body = ErrorBody),
        (status = 503, body = ErrorBody),
    )
)]
pub async fn play_by_id(
    State(app): State<App>,
    base: Base,
    Parameters(name): Parameters<String>,
    Sdp(offer): Sdp,
) -> Result<Response, ApiError> {
    let answer = app.runtime.play(&of_output(&app, &name)?.playback_id, &offer)?;
    Ok(answered(&app, answer, &offer, &base.join(&format!("/{name}/whep"))))
}

/// Stop watching by id, at `/{id}_out/whep/{session}`
#[utoipa::path(
    delete, path = "/{id}/whep/{session}", tag = "media",
    params(
        ("id" = String, Path, description = "the stream's id and `_out`"), ("session" = String, Path),
    ),
    responses((status = 200), (status = 404, body = ErrorBody))
)]
pub async fn end_playing_by_id(
    State(app): State<App>,
    Parameters((name, session)): Parameters<(String, String)>,
) -> Result<StatusCode, ApiError> {
    app.runtime.hang_up_reader(&of_output(&app, &name)?.playback_id, &session)?;
    Ok(StatusCode::OK)
}

pub fn of_id(app: &App, id: &str) -> Result<StreamView, ApiError> {
    Ok(app.runtime.get(id).ok_or(MediaError::NoStream)?)
}

pub fn of_output(app: &App, name: &str) -> Result<StreamView, ApiError> {
    of_id(app, name.strip_suffix(OUTPUT_SUFFIX).ok_or(MediaError::NoStream)?)
}

fn published(mut response: Response, view: &StreamView, base: &Base) -> Response {
    if let Ok(url) = base.whep(&view.playback_id).parse() {
        response.headers_mut().insert("livepeer-playback-url", url);
    }
    response
}

/// `Location` is absolute: a path alone would lose the prefix that a proxy strips. `ETag` and `Accept-Patch` tell clients
/// that candidates may follow.
fn answered(app: &App, answer: Answer, offer: &str, endpoint: &str) -> Response {
    let location = format!("{endpoint}/{}", answer.session.0);
    let tag = app.tags.of(&answer.session.0, offer).and_then(|tag| tag.parse().ok());
    let headers =
        [(header::CONTENT_TYPE, "application/sdp".to_owned()), (header::LOCATION, location)];
    let mut response = (StatusCode::CREATED, headers, answer.sdp).into_response();
    if let Some(tag) = tag {
        response.headers_mut().insert(header::ETAG, tag);
        let fragment = HeaderValue::from_static(trickle::FRAGMENT);
        response.headers_mut().insert("accept-patch", fragment);
    }
    add_ice_servers(response.headers_mut(), &app.config);
    response
}

/// Tells a client of the STUN and TURN servers it may need. A login is given to whoever may publish or watch, which is
/// what it is for.
pub fn add_ice_servers(headers: &mut HeaderMap, config: &ApiConfig) {
    for link in config.ice_servers.borrow().iter().filter_map(IceServer::link) {
        headers.append(header::LINK, link);
    }
}

/// What an `OPTIONS` on an endpoint tells beside CORS (RFC 9725, 4.6): clients ask so before they make their offer.
pub fn add_options(headers: &mut HeaderMap, config: &ApiConfig) {
    headers.insert("accept-post", HeaderValue::from_static("application/sdp"));
    add_ice_servers(headers, config);
}
