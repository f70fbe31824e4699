//! What a MediaMTX beside the host asks it: whom to let in. And what `/health` tells of one. Running and steering it is the
//! daemon's matter.

use crate::App;
use crate::access::is_same;
use crate::body::JsonObject;
use crate::media::OUTPUT_SUFFIX;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::Arc;
use utoipa::ToSchema;

/// A question has ten short fields, and the query of a URL.
pub const LONGEST_QUESTION: usize = 16 << 10;

/// How the MediaMTX beside the host does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = MediaMtx)]
pub struct MediaMtxReport {
    /// `spawn` where the host runs it, `attach` where somebody else does.
    pub mode: &'static str,
    /// Whether it answered when it was last asked, at most a few seconds ago.
    pub connected: bool,
    /// Null as long as it has not told; versions before 1.15.2 that somebody else runs never do.
    pub version: Option<String>,
    /// Where it serves, by protocol; empty where somebody else decides.
    pub urls: BTreeMap<String, String>,
    /// Who publish to and watch our streams there.
    pub publishers: usize,
    pub readers: usize,
    /// What is wrong: why it does not answer, or what of our streams it does not take.
    pub error: Option<String>,
}

/// Where a MediaMTX asks, and as whom the host calls its API.
pub struct Door {
    /// The path is the permission.
    pub secret: String,
    /// User and password. None: nobody may call its API by our leave.
    pub api: Option<(String, String)>,
}

/// Somebody wants to do something with a path.
struct Question<'q> {
    user: &'q str,
    password: &'q str,
    token: &'q str,
    action: &'q str,
    path: &'q str,
    query: &'q str,
}

impl Door {
    /// Where a MediaMTX must be told to ask.
    pub fn path(&self) -> String {
        format!("/mediamtx/{}", self.secret)
    }
}

pub fn routes(door: Arc<Door>) -> Router<App> {
    let path = door.path();
    let ask = async move |State(app): State<App>, JsonObject(question): JsonObject| {
        let question = Question::of(&question);
        // RTSP clients send what they know only after a refusal with this status.
        if lets_in(&app, &door, &question) {
            StatusCode::NO_CONTENT
        } else {
            StatusCode::UNAUTHORIZED
        }
    };
    Router::new().route(&path, post(ask))
}

/// Watching is as open as WHEP is; publishing asks for the stream key; all else is refused.
fn lets_in(app: &App, door: &Door, question: &Question<'_>) -> bool {
    match question.action {
        "publish" => {
            let stream = app.runtime.get(question.path);
            stream.is_some_and(|stream| question.shows(&stream.stream_key))
        }
        "read" => {
            let id = question.path.strip_suffix(OUTPUT_SUFFIX);
            id.is_some_and(|id| app.runtime.get(id).is_some())
        }
        "api" => door.api.as_ref().is_some_and(|(user, password)| {
            let has_user = is_same(question.user.as_bytes(), user.as_bytes());
            has_user & is_same(question.password.as_bytes(), password.as_bytes())
        }),
        _ => false,
    }
}

impl<'q> Question<'q> {
    fn of(body: &'q Map<String, Value>) -> Self {
        let text = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default();
        Self {
            user: text("user"),
            password: text("password"),
            token: text("token"),
            action: text("action"),
            path: text("path"),
            query: text("query"),
        }
    }

    /// Whether the key was sent, in any of the places where some protocol has room for it.
    fn shows(&self, stream_key: &str) -> bool {
        let in_query = self.query.split('&').filter_map(|pair| pair.strip_prefix("key="));
        let mut sent = [self.password, self.token].into_iter().chain(in_query);
        sent.any(|sent| is_same(sent.as_bytes(), stream_key.as_bytes()))
    }
}
