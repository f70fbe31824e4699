//! Which path leads to which handler.

use crate::mediamtx::Door;
use crate::traffic::Traffic;
use crate::trickle::Tags;
use crate::{
    ApiConfig, App, BodyLimits, Shared, access, answer, docs, errors::ApiError, events, health,
    hls, media, mediamtx, metrics, openapi, page, plugins, recordings, status, streams, trickle,
};
use axum::extract::DefaultBodyLimit;
use axum::http::Method;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{delete, get, patch, post};
use axum::{Router, extract::State};
use host_runtime::Runtime;
use std::sync::Arc;

/// Everything the host answers over HTTP.
pub fn router(config: ApiConfig, runtime: Runtime) -> Router {
    let app = shared(config, runtime);
    let bodies = app.config.bodies;
    let rest = rest(bodies.json).route_layer(from_fn_with_state(app.clone(), access::check_token));
    finished(app, Router::new().merge(rest).merge(media_routes(bodies.sdp)).merge(open()))
}

/// What a MediaMTX asks of the host: media, and whom it may let in.
pub fn mediamtx_router(config: ApiConfig, runtime: Runtime, door: Door) -> Router {
    let bodies = BodyLimits { json: mediamtx::LONGEST_QUESTION, ..config.bodies };
    let app = shared(ApiConfig { bodies, ..config }, runtime);
    let questions = mediamtx::routes(Arc::new(door)).layer(DefaultBodyLimit::max(bodies.json));
    finished(app, media_routes(bodies.sdp).merge(questions))
}

fn shared(config: ApiConfig, runtime: Runtime) -> App {
    Arc::new(Shared { config, runtime, traffic: Traffic::default(), tags: Tags::default() })
}

/// With what every answer gets.
fn finished(app: App, routes: Router<App>) -> Router {
    routes
        .fallback(hls::no_such_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn_with_state(app.clone(), answer::complete))
        .with_state(app)
}

/// Answers everything with the advice to ask under `https://`: for clients that speak plain HTTP to a port of TLS.
pub fn https_only() -> Router {
    Router::new().fallback(async || ApiError::HttpsOnly).layer(from_fn(answer::complete_alone))
}

/// Asks for a token where there are any; the method says for which scope.
fn rest(body_limit: usize) -> Router<App> {
    Router::new()
        .route(
            "/v1/streams",
            post(streams::create).get(streams::list).delete(streams::delete_by_query),
        )
        .route(
            "/v1/streams/{id}",
            get(streams::read).patch(streams::change).delete(streams::delete_by_path),
        )
        .route("/v1/streams/{id}/params", patch(streams::change_hot))
        .route("/v1/streams/{id}/status", get(status::read))
        .route("/v1/streams/{id}/events", get(events::follow))
        .route("/v1/streams/{id}/snapshot.jpg", get(recordings::snapshot))
        .route("/v1/streams/{id}/record", post(recordings::start).delete(recordings::stop))
        .route("/v1/streams/{id}/recordings", get(recordings::list))
        .route(
            "/v1/streams/{id}/recordings/{name}",
            get(recordings::download).delete(recordings::delete),
        )
        .route("/metrics", get(metrics::read))
        .route("/v1/plugins", get(plugins::list))
        .layer(DefaultBodyLimit::max(body_limit))
}

/// The URL is the permission here.
fn media_routes(body_limit: usize) -> Router<App> {
    Router::new()
        .route("/live/{stream_key}/whip", post(media::publish))
        .route(
            "/live/{stream_key}/whip/{session}",
            delete(media::end_publishing).patch(trickle::of_publisher),
        )
        .route("/play/{playback_id}/whep", post(media::play))
        .route(
            "/play/{playback_id}/whep/{session}",
            delete(media::end_playing).patch(trickle::of_reader),
        )
        .route("/{id}/whip", post(media::publish_by_id))
        .route(
            "/{id}/whip/{session}",
            delete(media::end_publishing_by_id).patch(trickle::of_publisher_by_id),
        )
        .route("/{id}/whep", post(media::play_by_id))
        .route(
            "/{id}/whep/{session}",
            delete(media::end_playing_by_id).patch(trickle::of_reader_by_id),
        )
        .route("/{id}/{file}", get(hls::read).fallback(hls::no_such_path))
        .layer(DefaultBodyLimit::max(body_limit))
}

fn open() -> Router<App> {
    let looks = Router::new()
        .route("/", get(page::root))
        .route("/page/{file}", get(page::asset))
        .route("/docs", get(docs::to_folder))
        .route("/docs/", get(docs::index))
        .route("/docs/{file}", get(docs::file))
        .layer(from_fn(page::no_sniffing));
    Router::new()
        .route("/health", get(health::read))
        .route("/openapi.json", get(openapi::read))
        .merge(looks)
}

async fn wrong_method(State(_): State<App>, method: Method) -> ApiError {
    ApiError::WrongMethod { method }
}
