//! What NVIDIA's driver tells of the GPU that pipelines compute on, by its management library NVML.

use host_api::GpuFigures;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Device, Nvml};
use std::ffi::OsStr;
use std::thread;
use std::time::Duration;
use tokio::sync::watch;

/// The name under which every driver installs it.
const LIBRARY: &str = "libnvidia-ml.so.1";
/// How old figures may be.
const INTERVAL: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
pub enum GpuError {
    #[error("the library {LIBRARY} cannot be used: {0}")]
    Library(NvmlError),
    #[error("CUDA_VISIBLE_DEVICES={0} names no card that the driver lists")]
    Hidden(String),
    #[error("the driver does not answer: {0}")]
    Driver(#[from] NvmlError),
}

/// The first card that workers see, which count cards as the driver does.
pub struct Gpu {
    nvml: Nvml,
    index: u32,
}

/// Reads figures for as long as somebody may want them, on a thread of its own: a driver that hangs holds up nothing else.
pub fn watch(visible: Option<String>) -> watch::Receiver<Option<GpuFigures>> {
    let (figures, newest) = watch::channel(None);
    let read = move || {
        let gpu = match Gpu::find(visible.as_deref()) {
            Ok(gpu) => gpu,
            Err(error) => return tracing::debug!(%error, "no figures of a GPU"),
        };
        while !figures.is_closed() {
            figures.send_replace(gpu.figures().ok());
            thread::sleep(INTERVAL);
        }
    };
    if let Err(error) = thread::Builder::new().name("gpu".into()).spawn(read) {
        tracing::warn!(%error, "no figures of a GPU");
    }
    newest
}

impl Gpu {
    /// `visible` is CUDA_VISIBLE_DEVICES: numbers or beginnings of ids, the first of which is used.
    pub fn find(visible: Option<&str>) -> Result<Self, GpuError> {
        Self::open(LIBRARY.as_ref(), visible)
    }

    fn open(library: &OsStr, visible: Option<&str>) -> Result<Self, GpuError> {
        let nvml = Nvml::builder().lib_path(library).init().map_err(GpuError::Library)?;
        let index = match visible {
            None => 0,
            Some(visible) => index(&nvml, visible)?,
        };
        nvml.device_by_index(index)?;
        Ok(Self { nvml, index })
    }

    /// As the card calls itself.
    pub fn name(&self) -> Result<String, GpuError> {
        Ok(self.device()?.name()?)
    }

    pub fn driver(&self) -> Result<String, GpuError> {
        Ok(self.nvml.sys_driver_version()?)
    }

    fn device(&self) -> Result<Device<'_>, NvmlError> {
        self.nvml.device_by_index(self.index)
    }

    fn figures(&self) -> Result<GpuFigures, NvmlError> {
        let device = self.device()?;
        let memory = device.memory_info()?;
        Ok(GpuFigures {
            name: device.name()?,
            memory_total: memory.total,
            memory_free: memory.free,
            memory_used: memory.used,
            // Slices of a card have no such figure.
            utilization_percent: device.utilization_rates().ok().map(|rates| rates.gpu),
        })
    }
}

fn index(nvml: &Nvml, visible: &str) -> Result<u32, GpuError> {
    let count = nvml.device_count()?;
    let first = visible.split(',').next().unwrap_or_default().trim();
    let is_named = |index: &u32| {
        let uuid = nvml.device_by_index(*index).and_then(|device| device.uuid());
        first.starts_with("GPU-") && uuid.is_ok_and(|uuid| uuid.starts_with(first))
    };
    let numbered = first.parse().ok().filter(|index| *index < count);
    let found = numbered.or_else(|| (0..count).find(is_named));
    found.ok_or_else(|| GpuError::Hidden(visible.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
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

    fn open(folder: &TempDir, visible: Option<&str>) -> Result<Gpu, GpuError> {
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
        for visible in ["1", " 1,0", "GPU-second", "GPU-sec"] {
            let figures = open(&folder, Some(visible)).expect("a card").figures().expect("figures");
            assert_eq!((figures.name.as_str(), figures.utilization_percent), ("Stand-in 1", None));
        }
    }

    #[test]
    fn without_driver_or_card_there_are_none() {
        let folder = stand_in();
        let missing = Gpu::open("/nowhere/libnvidia-ml.so.1".as_ref(), None).err();
        assert!(matches!(missing, Some(GpuError::Library(_))), "{missing:?}");
        for visible in ["", "-1", "NoDevFiles", "7", "GPU-unknown"] {
            let hidden = open(&folder, Some(visible)).err();
            assert!(matches!(hidden, Some(GpuError::Hidden(_))), "{visible}: {hidden:?}");
        }
    }
}
