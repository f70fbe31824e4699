//! `GET /health`: whether the host serves, and on what.

use crate::App;
use crate::gpu::in_mib;
use crate::mediamtx::MediaMtxReport;
use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

#[derive(Serialize, ToSchema)]
pub struct Health {
    /// `ok`
    status: &'static str,
    version: &'static str,
    gpu_available: bool,
    gpu_name: Option<String>,
    gpu_memory_total_mb: Option<f64>,
    gpu_memory_free_mb: Option<f64>,
    active_streams: usize,
    /// Whether the MediaMTX answers that is to stand beside this server. Where none is, the media server that is part of
    /// this one takes its place, and is there whenever this answers.
    mediamtx_connected: bool,
    /// Null where none is to stand beside this server.
    mediamtx: Option<MediaMtxReport>,
}

/// Is the server well?
#[utoipa::path(get, path = "/health", tag = "server", responses((status = 200, body = Health)))]
pub async fn read(State(app): State<App>) -> Json<Health> {
    let gpu = app.config.gpu.borrow().clone();
    let mediamtx = app.config.mediamtx.as_ref().map(|newest| newest.borrow().clone());
    Json(Health {
        status: "ok",
        version: env!("CARGO_PKG_VERSION"),
        gpu_available: gpu.is_some(),
        gpu_memory_total_mb: gpu.as_ref().map(|gpu| in_mib(gpu.memory_total)),
        gpu_memory_free_mb: gpu.as_ref().map(|gpu| in_mib(gpu.memory_free)),
        gpu_name: gpu.map(|gpu| gpu.name),
        active_streams: app.runtime.active_streams(),
        mediamtx_connected: mediamtx.as_ref().is_none_or(|report| report.connected),
        mediamtx,
    })
}
