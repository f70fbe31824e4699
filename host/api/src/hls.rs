//! HLS at `/{id}_out/`: playlists and the pieces of video that they name. As with WHEP the URL is the permission.

use crate::App;
use crate::errors::ApiError;
use crate::media::OUTPUT_SUFFIX;
use crate::path::Parameters;
use crate::wire::ErrorBody;
use axum::extract::{Query, State};
use axum::http::{Uri, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use host_ports::{HlsFile, HlsRequest};
use std::collections::HashMap;

/// What is behind the name of a piece never changes, and is gone after some seconds.
const KEEP: &str = "public, max-age=60, immutable";

/// Watch by HLS, at `/{id}_out/index.m3u8`
///
/// For any player; those that know low-latency HLS are a second behind, others some seconds. The video is made while
/// somebody asks for it: the first request waits for about a second, and answers 404 until something was published.
/// All players of a stream count as one reader. What the playlists name is behind the same path.
#[utoipa::path(
    get, path = "/{id}/{file}", tag = "media",
    params(
        ("id" = String, Path, description = "the stream's id and `_out`"),
        ("file" = String, Path, description = "`index.m3u8`, or what a playlist names"),
        ("_HLS_msn" = Option<u64>, Query, description = "of playlists: wait for this segment"),
        ("_HLS_part" = Option<u64>, Query, description = "or for this part of it"),
    ),
    responses(
        (status = 200, body = String, content_type = "application/vnd.apple.mpegurl"),
        (status = 400, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 429, body = ErrorBody), (status = 503, body = ErrorBody),
    )
)]
pub async fn read(
    State(app): State<App>,
    uri: Uri,
    Parameters((name, file)): Parameters<(String, String)>,
    Query(query): Query<HashMap<String, String>>,
) -> Result<Response, ApiError> {
    let Some(id) = name.strip_suffix(OUTPUT_SUFFIX) else { return Err(no_such_path(uri).await) };
    let (segment, part) = (number(&query, "_HLS_msn")?, number(&query, "_HLS_part")?);
    let file = app.runtime.hls(id, HlsRequest { file, segment, part }).await?;
    Ok(match file {
        HlsFile::Playlist(text) => {
            ([(header::CONTENT_TYPE, "application/vnd.apple.mpegurl")], text).into_response()
        }
        HlsFile::Media(bytes) => {
            let headers = [(header::CONTENT_TYPE, "video/mp4"), (header::CACHE_CONTROL, KEEP)];
            (headers, Bytes::from_owner(bytes)).into_response()
        }
    })
}

/// The path looks like many that mean nothing.
pub async fn no_such_path(uri: Uri) -> ApiError {
    ApiError::NoSuchPath { path: crate::answer::without_secrets(uri.path()) }
}

fn number(query: &HashMap<String, String>, name: &'static str) -> Result<Option<u64>, ApiError> {
    let wanted = "a number from 0 on";
    let parse = |text: &String| text.parse().map_err(|_| ApiError::InvalidQuery { name, wanted });
    query.get(name).map(parse).transpose()
}
