//! Candidates that a WHIP or WHEP client sends after its offer (trickle ICE). The media server is an ICE-lite agent: it
//! answers connectivity checks, makes none itself, and learns the client's addresses from those that arrive. So a candidate
//! tells it nothing; it is only seen to that it belongs to the session, as clients without a full offer give up otherwise.

use crate::App;
use crate::body::Fragment;
use crate::errors::ApiError;
use crate::media;
use crate::path::Parameters;
use crate::wire::ErrorBody;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use std::hash::{BuildHasher, RandomState};
use utoipa::{IntoParams, IntoResponses};

/// The type of a candidate's body, as `Accept-Patch` names it.
pub const FRAGMENT: &str = "application/trickle-ice-sdpfrag";

/// What a request says that its candidates are of, in documents.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
struct Precondition {
    /// the `ETag` of the answer to the offer
    #[param(rename = "If-Match")]
    _if_match: String,
}

/// How candidates are answered, in documents.
#[derive(IntoResponses)]
enum Answers {
    /// Taken
    #[response(status = 204)]
    _Taken,
    /// No such session, or it has ended
    #[response(status = 404)]
    _NoSession(ErrorBody),
    /// They are of another ICE session
    #[response(status = 412)]
    _OtherIceSession(ErrorBody),
    /// An ICE restart
    #[response(status = 422)]
    _IceRestart(ErrorBody),
    /// No `If-Match`
    #[response(status = 428)]
    _NoIceSession(ErrorBody),
}

/// Makes entity tags of ICE sessions, which nobody can guess: who sends one was told it with the answer.
#[derive(Default)]
pub struct Tags(RandomState);

impl Tags {
    /// None where the offer, or fragment of one, does not say which ICE session it is of.
    pub fn of(&self, session: &str, sdp: &str) -> Option<String> {
        let name = sdp.lines().find_map(|line| line.trim_end().strip_prefix("a=ice-ufrag:"))?;
        Some(format!("\"{:016x}\"", self.0.hash_one((session, name))))
    }
}

/// Add a publisher's candidates
///
/// For clients that find addresses after their offer (trickle ICE). They may be sent and change nothing: the server learns
/// a client's addresses from its connectivity checks. ICE is not restarted (`If-Match: *`); end the session and offer anew.
#[utoipa::path(
    patch, path = "/live/{stream_key}/whip/{session}", tag = "media",
    params(
        ("stream_key" = String, Path), ("session" = String, Path),
        Precondition,
    ),
    request_body(
        content = String, content_type = "application/trickle-ice-sdpfrag",
        description = "`a=ice-ufrag` of the offer, and `a=candidate` lines",
    ),
    responses(Answers)
)]
pub async fn of_publisher(
    State(app): State<App>,
    Parameters((stream_key, session)): Parameters<(String, String)>,
    headers: HeaderMap,
    Fragment(fragment): Fragment,
) -> Result<StatusCode, ApiError> {
    app.runtime.find_publisher(&stream_key, &session)?;
    take(&app, &session, &headers, &fragment)
}

/// Add a reader's candidates
///
/// As for a publisher.
#[utoipa::path(
    patch, path = "/play/{playback_id}/whep/{session}", tag = "media",
    params(
        ("playback_id" = String, Path), ("session" = String, Path),
        Precondition,
    ),
    request_body(
        content = String, content_type = "application/trickle-ice-sdpfrag",
        description = "`a=ice-ufrag` of the offer, and `a=candidate` lines",
    ),
    responses(Answers)
)]
pub async fn of_reader(
    State(app): State<App>,
    Parameters((playback_id, session)): Parameters<(String, String)>,
    headers: HeaderMap,
    Fragment(fragment): Fragment,
) -> Result<StatusCode, ApiError> {
    app.runtime.find_reader(&playback_id, &session)?;
    take(&app, &session, &headers, &fragment)
}

/// Add the candidates of a publisher by id
#[utoipa::path(
    patch, path = "/{id}/whip/{session}", tag = "media",
    params(
        ("id" = String, Path), ("session" = String, Path),
        Precondition,
    ),
    request_body(
        content = String, content_type = "application/trickle-ice-sdpfrag",
        description = "`a=ice-ufrag` of the offer, and `a=candidate` lines",
    ),
    responses(Answers)
)]
pub async fn of_publisher_by_id(
    State(app): State<App>,
    Parameters((id, session)): Parameters<(String, String)>,
    headers: HeaderMap,
    Fragment(fragment): Fragment,
) -> Result<StatusCode, ApiError> {
    app.runtime.find_publisher(&media::of_id(&app, &id)?.stream_key, &session)?;
    take(&app, &session, &headers, &fragment)
}

/// Add the candidates of a reader by id, at `/{id}_out/whep/{session}`
#[utoipa::path(
    patch, path = "/{id}/whep/{session}", tag = "media",
    params(
        ("id" = String, Path, description = "the stream's id and `_out`"), ("session" = String, Path),
        Precondition,
    ),
    request_body(
        content = String, content_type = "application/trickle-ice-sdpfrag",
        description = "`a=ice-ufrag` of the offer, and `a=candidate` lines",
    ),
    responses(Answers)
)]
pub async fn of_reader_by_id(
    State(app): State<App>,
    Parameters((name, session)): Parameters<(String, String)>,
    headers: HeaderMap,
    Fragment(fragment): Fragment,
) -> Result<StatusCode, ApiError> {
    app.runtime.find_reader(&media::of_output(&app, &name)?.playback_id, &session)?;
    take(&app, &session, &headers, &fragment)
}

/// Candidates of a session that is there (RFC 9725, 4.3).
fn take(
    app: &App,
    session: &str,
    headers: &HeaderMap,
    fragment: &str,
) -> Result<StatusCode, ApiError> {
    let wanted = headers.get(header::IF_MATCH).ok_or(ApiError::NoIceSession)?;
    if wanted == "*" {
        return Err(ApiError::IceRestart);
    }
    let tag = app.tags.of(session, fragment).ok_or(ApiError::OtherIceSession)?;
    if wanted != tag.as_str() {
        return Err(ApiError::OtherIceSession);
    }
    Ok(StatusCode::NO_CONTENT)
}
