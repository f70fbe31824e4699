//! `GET /openapi.json`: the calls as the handlers declare them, joined with what the installed plugins take.

use crate::{
    App, common_errors, events, health, hls, media, metrics, page, params_schemas, plugins,
    recordings, status, streams, trickle,
};
use axum::Json;
use axum::extract::State;
use serde_json::Value;
use utoipa::OpenApi;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "streamdiffusion-host",
        description = "Real-time video generation, compatible with Daydream's API. Publish by WHIP, change the prompt while it runs, watch by WHEP or HLS.",
    ),
    paths(
        streams::create, streams::list, streams::read, streams::change, streams::change_hot,
        streams::delete_by_query, streams::delete_by_path, status::read, events::follow,
        recordings::snapshot, recordings::start, recordings::stop, recordings::list,
        recordings::download, recordings::delete, plugins::list,
        media::publish, media::end_publishing, media::play, media::end_playing,
        media::publish_by_id, media::end_publishing_by_id, media::play_by_id,
        media::end_playing_by_id, trickle::of_publisher, trickle::of_reader,
        trickle::of_publisher_by_id, trickle::of_reader_by_id, hls::read, health::read,
        metrics::read, page::root,
    ),
    components(schemas(events::EventData)),
    tags(
        (name = "streams", description = "Create, change and delete streams"),
        (name = "media", description = "Send video in and watch what comes out"),
        (name = "plugins", description = "What is installed"),
        (name = "server", description = "The server itself"),
    ),
)]
struct Calls;

pub async fn read(State(app): State<App>) -> Json<Value> {
    // A document of plain structs and string keys; null would only mean that nothing is described.
    let mut document = serde_json::to_value(Calls::openapi()).unwrap_or_default();
    common_errors::join(&mut document);
    params_schemas::join(&mut document, &app.runtime.claims());
    Json(document)
}
