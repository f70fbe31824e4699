//! `GET /health`: whether the host serves, and on what.

use crate::App;
use axum::Json;
use axum::extract::State;
use serde::Serialize;
use std::fs;
use std::path::Path;
use utoipa::ToSchema;

/// Where NVIDIA's driver lists its devices, one folder each.
const NVIDIA_DEVICES: &str = "/proc/driver/nvidia/gpus";

/// The first GPU, as far as the driver's files tell.
pub struct Gpu {
    name: Option<String>,
}

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
    /// Whether media is served. The server is part of the host, so it is whenever this answers.
    mediamtx_connected: bool,
}

/// Is the server well?
#[utoipa::path(get, path = "/health", tag = "server", responses((status = 200, body = Health)))]
pub async fn read(State(app): State<App>) -> Json<Health> {
    Json(Health {
        status: "ok",
        version: env!("CARGO_PKG_VERSION"),
        gpu_available: app.gpu.name.is_some(),
        gpu_name: app.gpu.name.clone(),
        gpu_memory_total_mb: None,
        gpu_memory_free_mb: None,
        active_streams: app.runtime.active_streams(),
        mediamtx_connected: true,
    })
}

impl Gpu {
    /// Looks once: cards do not come and go while the host runs.
    pub fn find() -> Self {
        let devices = fs::read_dir(NVIDIA_DEVICES).into_iter().flatten().flatten();
        let mut names = devices.filter_map(|device| model_name(&device.path()));
        Self { name: names.next() }
    }
}

fn model_name(device: &Path) -> Option<String> {
    let text = fs::read_to_string(device.join("information")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Model:"))?;
    Some(line.trim().to_owned())
}
