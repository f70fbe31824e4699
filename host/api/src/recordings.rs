//! `…/snapshot.jpg`, `…/record` and `…/recordings`: pictures and files of what viewers see.

use crate::App;
use crate::errors::ApiError;
use crate::path::Parameters;
use crate::timestamp::rfc3339;
use crate::urls::Base;
use crate::wire::{Done, ErrorBody};
use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use host_ports::{RecordError, RecordedFile, RecordingEnd};
use host_runtime::MediaError;
use serde::Serialize;
use std::io;
use tower_http::services::ServeFile;
use utoipa::ToSchema;

/// A recording.
#[derive(Serialize, ToSchema)]
pub struct Recording {
    name: String,
    /// `recording`, `recorded`, or `failed`.
    status: &'static str,
    /// RFC 3339.
    started_at: String,
    duration_seconds: f64,
    bytes: u64,
    /// Its files that are whole: one, and another whenever the size of the picture or the audio changed.
    files: Vec<RecordingFile>,
    /// Why it failed, or ended before it was asked to.
    error: Option<String>,
}

/// A file of a recording, in fragmented MP4.
#[derive(Serialize, ToSchema)]
pub struct RecordingFile {
    name: String,
    url: String,
}

#[derive(Serialize, ToSchema)]
pub struct RecordingAnswer {
    success: bool,
    data: Recording,
}

/// Finished files, oldest first.
#[derive(Serialize, ToSchema)]
pub struct RecordingList {
    success: bool,
    data: Vec<ListedFile>,
}

#[derive(Serialize, ToSchema)]
pub struct ListedFile {
    name: String,
    url: String,
    bytes: u64,
    /// RFC 3339.
    finished_at: String,
}

/// Look at the output
///
/// The newest frame of what viewers see, as JPEG. Answers 404 until something was published.
#[utoipa::path(
    get, path = "/v1/streams/{id}/snapshot.jpg", tag = "streams", params(("id" = String, Path)),
    responses(
        (status = 200, body = Vec<u8>, content_type = "image/jpeg"), (status = 404, body = ErrorBody),
    )
)]
pub async fn snapshot(
    State(app): State<App>,
    Parameters(id): Parameters<String>,
) -> Result<Response, ApiError> {
    let picture = app.runtime.snapshot(&id).await?;
    Ok(([(header::CONTENT_TYPE, "image/jpeg")], Bytes::from_owner(picture)).into_response())
}

/// Start recording
///
/// Records what viewers see to fragmented MP4 in `paths.recordings`, until it is stopped, the stream is deleted or a limit
/// of `[recordings]` is reached. A stream has one recording at a time. Publishers may come and go meanwhile. `Location` is
/// the first file, which is there when the recording has ended; `GET …/status` and `…/events` tell how it goes.
#[utoipa::path(
    post, path = "/v1/streams/{id}/record", tag = "streams", params(("id" = String, Path)),
    responses(
        (status = 201, body = RecordingAnswer), (status = 404, body = ErrorBody),
        (status = 409, body = ErrorBody), (status = 429, body = ErrorBody),
        (status = 503, body = ErrorBody), (status = 507, body = ErrorBody),
    )
)]
pub async fn start(
    State(app): State<App>,
    base: Base,
    Parameters(id): Parameters<String>,
) -> Result<Response, ApiError> {
    let begun = app.runtime.record(&id).await?;
    let location = [(header::LOCATION, url(&base, &id, &format!("{}.mp4", begun.name)))];
    let data = Recording::to_wire(&begun, &id, &base);
    let answer = RecordingAnswer { success: true, data };
    Ok((StatusCode::CREATED, location, Json(answer)).into_response())
}

/// Stop recording
///
/// Answers when its files are whole.
#[utoipa::path(
    delete, path = "/v1/streams/{id}/record", tag = "streams", params(("id" = String, Path)),
    responses((status = 200, body = RecordingAnswer), (status = 404, body = ErrorBody))
)]
pub async fn stop(
    State(app): State<App>,
    base: Base,
    Parameters(id): Parameters<String>,
) -> Result<Json<RecordingAnswer>, ApiError> {
    let ended = app.runtime.stop_recording(&id).await?;
    let data = Recording::to_wire(&ended, &id, &base);
    Ok(Json(RecordingAnswer { success: true, data }))
}

/// List a stream's recordings
///
/// The last 1000 finished files, those of earlier runs of the server among them.
#[utoipa::path(
    get, path = "/v1/streams/{id}/recordings", tag = "streams", params(("id" = String, Path)),
    responses((status = 200, body = RecordingList), (status = 404, body = ErrorBody))
)]
pub async fn list(
    State(app): State<App>,
    base: Base,
    Parameters(id): Parameters<String>,
) -> Result<Json<RecordingList>, ApiError> {
    let files = app.runtime.recordings(&id).await?;
    let data = files.into_iter().map(|file| ListedFile::to_wire(file, &id, &base)).collect();
    Ok(Json(RecordingList { success: true, data }))
}

/// Download a file of a recording
///
/// Also in parts (`Range`, one at a time), so that players can seek, and with the conditions of its `ETag` and `Last-Modified`.
#[utoipa::path(
    get, path = "/v1/streams/{id}/recordings/{name}", tag = "streams",
    params(
        ("id" = String, Path), ("name" = String, Path),
        ("Range" = Option<String>, Header, description = "as in `bytes=0-1023`"),
    ),
    responses(
        (status = 200, body = Vec<u8>, content_type = "video/mp4"),
        (status = 206, body = Vec<u8>, content_type = "video/mp4", description = "The part that was asked for"),
        (status = 304, description = "It is the one that the client has"),
        (status = 404, body = ErrorBody),
        (status = 412, body = ErrorBody, description = "It is not the one that the client means"),
        (status = 416, body = ErrorBody, description = "It has no such part; `Content-Range` says how large it is"),
    )
)]
pub async fn download(
    State(app): State<App>,
    Parameters((id, name)): Parameters<(String, String)>,
    mut request: Request,
) -> Result<Response, ApiError> {
    let path = app.runtime.recorded_file(&id, &name)?;
    // What is counted in other units is to be left alone, and so is all but GET (RFC 9110, 14.2).
    let is_of_bytes = |range: &HeaderValue| range.as_bytes().starts_with(b"bytes=");
    let is_meant = request.headers().get(header::RANGE).is_some_and(is_of_bytes);
    if request.method() != Method::GET || !is_meant {
        request.headers_mut().remove(header::RANGE);
    }
    let served = ServeFile::new(path).ignore_multi_range_requests(true).try_call(request).await;
    let served = served.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => failed(RecordError::NoFile),
        _ => failed(RecordError::Files { reason: error.to_string() }),
    })?;
    match served.status() {
        StatusCode::RANGE_NOT_SATISFIABLE => {
            let size = served.headers().get(header::CONTENT_RANGE).cloned();
            Err(ApiError::NoSuchRange { size })
        }
        StatusCode::PRECONDITION_FAILED => Err(ApiError::OtherFile),
        _ => Ok(served.map(Body::new)),
    }
}

/// Delete a file of a recording
///
/// Whoever is downloading it gets the rest. A recording that goes on is ended by `DELETE …/record` first.
#[utoipa::path(
    delete, path = "/v1/streams/{id}/recordings/{name}", tag = "streams",
    params(("id" = String, Path), ("name" = String, Path)),
    responses((status = 200, body = Done), (status = 404, body = ErrorBody))
)]
pub async fn delete(
    State(app): State<App>,
    Parameters((id, name)): Parameters<(String, String)>,
) -> Result<Json<Done>, ApiError> {
    app.runtime.delete_recording(&id, &name).await?;
    Ok(Json(Done::new()))
}

fn failed(error: RecordError) -> ApiError {
    ApiError::Media(MediaError::Record(error))
}

impl Recording {
    pub fn to_wire(recording: &host_ports::Recording, id: &str, base: &Base) -> Self {
        let (status, error) = match &recording.ended {
            None => ("recording", None),
            Some(RecordingEnd::Stopped) => ("recorded", None),
            Some(RecordingEnd::Limit(reason)) => ("recorded", Some(reason.clone())),
            Some(RecordingEnd::Failed(reason)) => ("failed", Some(reason.clone())),
        };
        let file = |name: &String| RecordingFile { url: url(base, id, name), name: name.clone() };
        Self {
            name: recording.name.clone(),
            status,
            started_at: rfc3339(recording.started_at),
            duration_seconds: recording.length.as_secs_f64(),
            bytes: recording.bytes,
            files: recording.files.iter().map(file).collect(),
            error,
        }
    }
}

impl ListedFile {
    fn to_wire(file: RecordedFile, id: &str, base: &Base) -> Self {
        let (url, finished_at) = (url(base, id, &file.name), rfc3339(file.modified_at));
        Self { name: file.name, url, bytes: file.bytes, finished_at }
    }
}

fn url(base: &Base, id: &str, name: &str) -> String {
    base.join(&format!("/v1/streams/{id}/recordings/{name}"))
}
