//! What is told of the GPU. Asking its driver is the daemon's matter.

/// Of the card that pipelines compute on, all of it, whoever uses it. Memory is in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GpuFigures {
    pub name: String,
    pub memory_total: u64,
    pub memory_free: u64,
    pub memory_used: u64,
    /// Share of the last sampling period in which it computed; none where the card does not tell.
    pub utilization_percent: Option<u32>,
}

pub fn in_mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
