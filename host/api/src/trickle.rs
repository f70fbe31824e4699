//! Candidates that a WHIP or WHEP client sends after its offer (trickle ICE). The media server is an ICE-lite agent: it
//! answers connectivity checks, makes none itself, and learns the client's addresses from those that arrive. So a candidate
//! tells it nothing; it is only seen to that it belongs to the session, as clients without a full offer give up otherwise.

use crate::App;
use crate::body::Fragment;
use crate::errors::ApiError;
use crate::path::Parameters;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use std::hash::{BuildHasher, RandomState};

/// The type of a candidate's body, as `Accept-Patch` names it.
pub const FRAGMENT: &str = "application/trickle-ice-sdpfrag";

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

/// Takes a client's candidates, at the URL of a session.
///
/// A session that has ended is not told apart from one that lives: nothing follows from either.
pub async fn take(
    State(app): State<App>,
    Parameters((_, session)): Parameters<(String, String)>,
    headers: HeaderMap,
    Fragment(fragment): Fragment,
) -> Result<StatusCode, ApiError> {
    let wanted = headers.get(header::IF_MATCH).ok_or(ApiError::NoIceSession)?;
    if wanted == "*" {
        return Err(ApiError::IceRestart);
    }
    let tag = app.tags.of(&session, &fragment).ok_or(ApiError::OtherIceSession)?;
    if wanted != tag.as_str() {
        return Err(ApiError::OtherIceSession);
    }
    Ok(StatusCode::NO_CONTENT)
}
