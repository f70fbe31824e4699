//! What is told of the GPU. Asking its driver is the daemon's matter.

use crate::Shared;

/// The GPU that pipelines compute on.
pub trait Gpu: Send + Sync {
    /// May take milliseconds. None where the driver does not answer.
    fn figures(&self) -> Option<GpuFigures>;
}

/// Of the whole card, whoever uses it. Memory is in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GpuFigures {
    pub name: String,
    pub memory_total: u64,
    pub memory_free: u64,
    pub memory_used: u64,
    /// Share of the last sampling period in which it computed; none where the card does not tell.
    pub utilization_percent: Option<u32>,
}

/// None without a GPU.
pub async fn read(app: &Shared) -> Option<GpuFigures> {
    let gpu = app.config.gpu.clone()?;
    tokio::task::spawn_blocking(move || gpu.figures()).await.ok().flatten()
}

pub fn in_mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
