//! What NVIDIA's driver tells of the GPU that pipelines compute on, by its management library NVML.

use host_api::GpuFigures;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Device, Nvml};
use std::ffi::OsStr;

/// The name under which every driver installs it.
const LIBRARY: &str = "libnvidia-ml.so.1";

pub struct Gpu {
    nvml: Nvml,
    chosen: Chosen,
}

/// The one that CUDA counts as its first.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Chosen {
    Index(u32),
    Uuid(String),
}

impl Gpu {
    /// None where no driver has a card, or CUDA is told to see none.
    pub fn find() -> Option<Self> {
        let visible = std::env::var("CUDA_VISIBLE_DEVICES");
        Self::open(LIBRARY.as_ref(), visible.ok().as_deref())
    }

    /// `visible` is written as CUDA reads it: numbers or ids, the first of which is used.
    fn open(library: &OsStr, visible: Option<&str>) -> Option<Self> {
        let nvml = Nvml::builder().lib_path(library).init();
        let nvml = nvml.inspect_err(|error| tracing::debug!(%error, "no GPU")).ok()?;
        let gpu = Self { nvml, chosen: Chosen::of(visible)? };
        gpu.device().inspect_err(|error| tracing::warn!(%error, "the GPU does not answer")).ok()?;
        Some(gpu)
    }

    /// As the card calls itself.
    pub fn name(&self) -> Result<String, NvmlError> {
        self.device()?.name()
    }

    pub fn driver(&self) -> Result<String, NvmlError> {
        self.nvml.sys_driver_version()
    }

    fn device(&self) -> Result<Device<'_>, NvmlError> {
        match &self.chosen {
            Chosen::Index(index) => self.nvml.device_by_index(*index),
            Chosen::Uuid(uuid) => self.nvml.device_by_uuid(uuid.as_str()),
        }
    }
}

impl host_api::Gpu for Gpu {
    fn figures(&self) -> Option<GpuFigures> {
        let device = self.device().ok()?;
        let memory = device.memory_info().ok()?;
        Some(GpuFigures {
            name: device.name().ok()?,
            memory_total: memory.total,
            memory_free: memory.free,
            memory_used: memory.used,
            // Slices of a card have no such figure.
            utilization_percent: device.utilization_rates().ok().map(|rates| rates.gpu),
        })
    }
}

impl Chosen {
    /// None where the variable hides all cards.
    fn of(visible: Option<&str>) -> Option<Self> {
        let Some(visible) = visible else { return Some(Self::Index(0)) };
        let first = visible.split(',').next().unwrap_or_default().trim();
        match first.parse() {
            Ok(index) => Some(Self::Index(index)),
            Err(_) if first.starts_with("GPU-") || first.starts_with("MIG-") => {
                Some(Self::Uuid(first.to_owned()))
            }
            Err(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use host_api::Gpu as _;
    use std::process::Command;
    use tempfile::TempDir;

    /// A library with two cards, in the place of the driver's.
    fn stand_in() -> TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/nvml.c");
        let library = folder.path().join("libnvidia-ml.so.1");
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-Wall", "-Werror", "-o"]).arg(library).arg(source);
        assert!(compiler.status().expect("a C compiler").success());
        folder
    }

    fn open(folder: &TempDir, visible: Option<&str>) -> Option<Gpu> {
        Gpu::open(folder.path().join("libnvidia-ml.so.1").as_os_str(), visible)
    }

    #[test]
    fn the_figures_are_those_of_the_first_card_that_cuda_sees() {
        let folder = stand_in();
        let gpu = open(&folder, None).expect("a card");
        assert_eq!(gpu.driver().expect("a version"), "999.1");
        let figures = gpu.figures().expect("figures");
        assert_eq!(figures.name, "Stand-in 0");
        assert_eq!((figures.memory_total, figures.memory_used), (24 << 30, 6 << 30));
        assert_eq!((figures.memory_free, figures.utilization_percent), (18 << 30, Some(40)));
        // The second one is a slice: without a share of the time.
        for visible in ["1", " 1,0", "GPU-second"] {
            let figures = open(&folder, Some(visible)).expect("a card").figures().expect("figures");
            assert_eq!((figures.name.as_str(), figures.utilization_percent), ("Stand-in 1", None));
        }
    }

    #[test]
    fn without_driver_or_card_there_are_none() {
        let folder = stand_in();
        assert!(Gpu::open("/nowhere/libnvidia-ml.so.1".as_ref(), None).is_none());
        for visible in ["", "-1", "NoDevFiles", "7", "GPU-unknown"] {
            assert!(open(&folder, Some(visible)).is_none(), "{visible}");
        }
    }
}
