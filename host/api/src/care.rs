//! Changes with care: `If-Match` for one revision only, `?plan=true` to ask first, `?wait=applied` to be answered once a
//! frame shows the change; and what answers say about them.

use crate::errors::ApiError;
use crate::urls::Base;
use crate::wire::Stream;
use axum::Json;
use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use host_runtime::{Applied, Apply, Changed, FieldChange, Forecast, Mode, Planned};
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::time::Duration;
use utoipa::ToSchema;

/// Longer than most reloads; a client that waits has a connection open for so long.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// How carefully a change wants to be made.
pub struct Care {
    /// Those that the request is meant for; none means any.
    pub revisions: Option<Vec<u64>>,
    pub mode: Mode,
}

/// What a deletion may say beside the stream.
pub struct Deletion {
    pub revisions: Option<Vec<u64>>,
}

/// What becomes of one field that the request named. `apply` is what it takes on its own: beside a `reload`, a `hot` field
/// is applied by that one reload.
#[derive(Serialize, ToSchema)]
pub struct FieldOutcome {
    /// `hot`, `reload`, `unchanged` or `unsupported`.
    apply: &'static str,
    /// Why it is unsupported.
    reason: Option<String>,
}

/// What the params ask of the server.
#[derive(Serialize, ToSchema)]
pub struct Plan {
    /// Whether the pipeline is loaded again.
    reload: bool,
    /// As the plugin reckons, once loaded; null when it does not know.
    memory_bytes: Option<u64>,
    /// What is fetched from the hub before; null when the hub does not say so within 3 s.
    fetch_bytes: Option<u64>,
}

/// Whether a frame shows the change.
#[derive(Serialize, ToSchema)]
pub struct AppliedFrame {
    /// The first frame made with it: its number among the publisher's frames, counted from 1.
    frame: Option<u64>,
    /// Why there is none yet. The change holds all the same.
    reason: Option<String>,
}

/// A stream that would be created.
#[derive(Serialize, ToSchema)]
pub struct PlannedStream {
    pipeline: String,
    /// Effective values, with every field the pipeline knows.
    #[schema(value_type = Object)]
    params: Map<String, Value>,
    /// What is accepted and has no effect, and why.
    warnings: Vec<String>,
    plan: Plan,
}

/// A stream, with its revision as `ETag`.
pub struct Tagged(pub StatusCode, pub Stream);

impl<S: Send + Sync> FromRequestParts<S> for Care {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let pairs = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri);
        let pairs = pairs.map(|Query(pairs)| pairs).unwrap_or_default();
        let value =
            |name| pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let is_plan = match value("plan") {
            None | Some("false") => false,
            Some("true") => true,
            Some(_) => {
                return Err(ApiError::InvalidQuery { name: "plan", wanted: "true or false" });
            }
        };
        let is_waiting = match value("wait") {
            None => false,
            Some("applied") => true,
            Some(_) => return Err(ApiError::InvalidQuery { name: "wait", wanted: "applied" }),
        };
        let mode = match (is_plan, is_waiting) {
            // Nothing is done that could be waited for.
            (true, _) => Mode::Plan,
            (false, true) => Mode::ApplyAndWait(LONGEST_WAIT),
            (false, false) => Mode::Apply,
        };
        Ok(Self { revisions: wanted_revisions(&parts.headers), mode })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Deletion {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Care { revisions, mode } = Care::from_request_parts(parts, state).await?;
        match mode {
            Mode::Apply => Ok(Self { revisions }),
            // Who asks what would happen must not find it done.
            Mode::Plan => Err(ApiError::InvalidQuery { name: "plan", wanted: "left out here" }),
            Mode::ApplyAndWait(_) => {
                Err(ApiError::InvalidQuery { name: "wait", wanted: "left out here" })
            }
        }
    }
}

/// What is no revision's tag fits no stream.
fn wanted_revisions(headers: &HeaderMap) -> Option<Vec<u64>> {
    let mut values = headers.get_all(header::IF_MATCH).iter().peekable();
    values.peek()?;
    let values = values.filter_map(|value| value.to_str().ok());
    let tags: Vec<_> = values.flat_map(|value| value.split(',')).map(str::trim).collect();
    if tags.contains(&"*") {
        return None;
    }
    let revision = |tag: &&str| {
        // A proxy that compresses makes tags weak.
        let tag = tag.strip_prefix("W/").unwrap_or(tag);
        tag.trim_matches('"').parse().ok()
    };
    Some(tags.iter().filter_map(revision).collect())
}

impl Tagged {
    /// The answer to a change. `mode` tells what was asked for.
    pub fn changed(changed: Changed, mode: Mode, base: &Base) -> Self {
        let Changed { view, fields, forecast, applied } = changed;
        let mut stream = Stream::to_wire(view, base);
        let fields = fields.into_iter().map(|FieldChange { name, apply }| (name, apply.into()));
        stream.changes = Some(fields.collect());
        stream.plan = (mode == Mode::Plan).then(|| forecast.into());
        stream.applied = applied.map(AppliedFrame::from);
        Self(StatusCode::OK, stream)
    }
}

impl IntoResponse for Tagged {
    fn into_response(self) -> Response {
        let Self(status, stream) = self;
        let tag = format!("\"{}\"", stream.revision);
        (status, [(header::ETAG, tag)], Json(stream)).into_response()
    }
}

impl From<Planned> for PlannedStream {
    fn from(planned: Planned) -> Self {
        let Planned { pipeline, params, warnings, forecast } = planned;
        Self { pipeline, params, warnings, plan: forecast.into() }
    }
}

impl From<Apply> for FieldOutcome {
    fn from(apply: Apply) -> Self {
        match apply {
            Apply::Hot => Self { apply: "hot", reason: None },
            Apply::Reload => Self { apply: "reload", reason: None },
            Apply::Unchanged => Self { apply: "unchanged", reason: None },
            Apply::Unsupported { reason } => Self { apply: "unsupported", reason: Some(reason) },
        }
    }
}

impl From<Forecast> for Plan {
    fn from(forecast: Forecast) -> Self {
        let memory_bytes = Some(forecast.memory_bytes).filter(|bytes| *bytes > 0);
        let Forecast { needs_reload: reload, fetch_bytes, .. } = forecast;
        Self { reload, memory_bytes, fetch_bytes }
    }
}

impl From<Applied> for AppliedFrame {
    fn from(applied: Applied) -> Self {
        match applied {
            Applied::AtFrame(frame) => Self { frame: Some(frame), reason: None },
            Applied::NotYet { reason } => Self { frame: None, reason: Some(reason) },
        }
    }
}

/// By name.
pub type Outcomes = BTreeMap<String, FieldOutcome>;
