//! `GET /v1/streams/{id}/events`: what happens to a stream, as server-sent events. A reader that is too slow loses events
//! and is told how many; it holds nothing up.

use crate::App;
use crate::errors::ApiError;
use crate::path::Parameters;
use crate::timestamp::rfc3339;
use crate::wire::ErrorBody;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use host_runtime::{EventKind, EventReader, News, StreamEvent};
use serde::Serialize;
use std::convert::Infallible;
use std::time::Duration;
use utoipa::ToSchema;

/// A comment after so long a silence: shorter than proxies let a connection rest.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// One event, as the stream has it.
#[derive(ToSchema)]
#[allow(dead_code, reason = "axum writes events; this only describes them")]
pub struct ServerSentEvent {
    /// Grows from one to the next.
    id: String,
    event: String,
    /// `EventData` as JSON.
    #[schema(content_media_type = "application/json")]
    data: String,
}

/// `data` of one event.
#[derive(Serialize, ToSchema)]
pub struct EventData {
    stream_id: String,
    /// Same as `event`.
    event: &'static str,
    /// RFC 3339.
    time: String,
    /// Of the params at that moment.
    revision: u64,
    /// For people.
    message: String,
    /// Of `loading` and `fetching`: how far, from 0 to 1.
    progress: Option<f32>,
    /// Of `fetching`: what is there of the model.
    bytes_done: Option<u64>,
    /// Of `fetching`: what the model has; null while that is not known.
    bytes_total: Option<u64>,
    /// Of `degraded`: the state as `GET …/status` has it.
    state: Option<&'static str>,
}

/// Follow a stream's events
///
/// Server-sent events: `created`, `fetching`, `fetched`, `loading`, `running`, `first_frame`, `input_lost`, `input_back`,
/// `reloading`, `reloaded`, `degraded`, `plugin_crashed`, `plugin_recovered`, `switched_off`, `notice` (what the pipeline
/// adds to `warnings` in `/status`), `notice_over` (it holds no more), `picture_fetched`,
/// `picture_failed` (of what a param points to), `restream_live`, `restream_failed` (of `output_rtmp_url`), `recording`,
/// `recorded`, `recording_failed`, `error`, `deleted`, which is the last. A new reader is first told what is kept of the past,
/// at most 64 events; with `Last-Event-ID` only what came after that one. An event `missed` with `count` in its data says how
/// many were gone before the reader came to them. After `degraded`, `running` says that all is well again. Comments keep the
/// connection alive. A stream has at most 16 readers.
#[utoipa::path(
    get, path = "/v1/streams/{id}/events", tag = "streams",
    params(
        ("id" = String, Path),
        ("Last-Event-ID" = Option<String>, Header, description = "the last event that was read"),
    ),
    responses(
        (status = 200, body = ServerSentEvent, content_type = "text/event-stream"),
        (status = 404, body = ErrorBody), (status = 429, body = ErrorBody),
    )
)]
pub async fn follow(
    State(app): State<App>,
    Parameters(id): Parameters<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let reader = app.runtime.events(&id, last_event(&headers))?;
    let events = stream::unfold((reader, id), |(mut reader, id)| async {
        let event = next(&mut reader, &id).await?;
        Some((Ok::<_, Infallible>(event), (reader, id)))
    });
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE).text("still here");
    let mut response = Sse::new(events).keep_alive(keep_alive).into_response();
    // What a proxy collects before it passes it on comes too late.
    let unbuffered = HeaderName::from_static("x-accel-buffering");
    response.headers_mut().insert(unbuffered, HeaderValue::from_static("no"));
    Ok(response)
}

/// What is no id of ours stands for none.
fn last_event(headers: &HeaderMap) -> Option<u64> {
    headers.get("last-event-id")?.to_str().ok()?.trim().parse().ok()
}

async fn next(reader: &mut EventReader, stream_id: &str) -> Option<Event> {
    Some(match reader.next().await? {
        News::Event(event) => {
            let (id, name) = (event.id.to_string(), event.kind.name());
            let data = EventData::to_wire(event, stream_id);
            Event::default().id(id).event(name).data(as_json(&data))
        }
        // Without an id: a reader that comes back goes on from the last event it read.
        News::Missed(count) => {
            let data = serde_json::json!({ "stream_id": stream_id, "count": count });
            Event::default().event("missed").data(data.to_string())
        }
    })
}

fn as_json(data: &EventData) -> String {
    serde_json::to_string(data).expect("plain fields with text for keys are JSON")
}

impl EventData {
    fn to_wire(event: StreamEvent, stream_id: &str) -> Self {
        let (mut progress, mut state, mut bytes) = (None, None, (None, None));
        match event.kind {
            EventKind::Loading(fraction) => progress = Some(fraction),
            EventKind::Fetching { done, total } => {
                bytes = (Some(done), Some(total).filter(|total| *total > 0));
                progress = bytes.1.map(|total| (done as f64 / total as f64) as f32);
            }
            EventKind::Degraded(condition) => state = Some(condition.name()),
            _ => {}
        }
        let (bytes_done, bytes_total) = bytes;
        Self {
            stream_id: stream_id.to_owned(),
            event: event.kind.name(),
            time: rfc3339(event.at),
            revision: event.revision,
            message: event.message,
            progress,
            bytes_done,
            bytes_total,
            state,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::SystemTime;

    #[test]
    fn a_fetch_tells_its_bytes_and_none_that_are_not_known() {
        let data = |kind| {
            let (at, message) = (SystemTime::UNIX_EPOCH, "org/name: unet".to_owned());
            let event = StreamEvent { id: 1, kind, at, revision: 1, message };
            let data = EventData::to_wire(event, "str_1");
            (data.event, data.progress, data.bytes_done, data.bytes_total)
        };
        let begun = data(EventKind::Fetching { done: 0, total: 0 });
        assert_eq!(begun, ("fetching", None, Some(0), None));
        let half = data(EventKind::Fetching { done: 5, total: 10 });
        assert_eq!(half, ("fetching", Some(0.5), Some(5), Some(10)));
        assert_eq!(data(EventKind::Fetched), ("fetched", None, None, None));
    }
}
