//! What pipelines compute with: the GPU, ONNX Runtime's library and its providers. Loading those is the workers' matter.

use super::Finding;
use crate::gpu::{Gpu, GpuError};
use std::fs;
use std::path::{Path, PathBuf};

const GPU: &str = "gpu";
const RUNTIME: &str = "onnx runtime";

pub fn check(engines: &Path, visible_gpus: Option<&str>) -> Vec<Finding> {
    let gpu = Gpu::find(visible_gpus);
    let has_gpu = gpu.is_ok();
    let named = std::env::var_os("ORT_DYLIB_PATH").map(PathBuf::from);
    vec![card(gpu), runtime(&engines.join("runtime"), named, has_gpu)]
}

fn card(gpu: Result<Gpu, GpuError>) -> Finding {
    let described = gpu.and_then(|gpu| Ok(format!("{}, driver {}", gpu.name()?, gpu.driver()?)));
    let error = match described {
        Ok(text) => return Finding::ok(GPU, text),
        Err(error) => error,
    };
    let fix = match &error {
        GpuError::Library(_) => {
            "install NVIDIA's driver where there is a card; in a container, hand the card in (`--gpus all`), and let NVIDIA_DRIVER_CAPABILITIES include utility"
        }
        GpuError::Hidden(_) => {
            "let the variable name a card by its number or id, or unset it; slices of cards (MIG) are used all the same"
        }
        GpuError::Driver(_) => "`nvidia-smi` says more; restarting the machine often helps",
    };
    Finding::warn(
        GPU,
        format!("nothing can be told of a GPU, and pipelines most likely run on the CPU: {error}"),
        fix,
    )
}

/// The library that the variable names, else the one in the folder, and the providers beside it.
fn runtime(folder: &Path, named: Option<PathBuf>, has_gpu: bool) -> Finding {
    let library = match named {
        Some(path) if path.is_file() => path,
        Some(path) => {
            let text = format!("ORT_DYLIB_PATH names {}, which is no file", path.display());
            return Finding::fail(RUNTIME, text, "let it name libonnxruntime.so, or unset it");
        }
        None => match library_in(folder) {
            Some(path) => path,
            None => {
                let text = format!("no libonnxruntime.so in {}", folder.display());
                let fix = "`./dev setup` puts it there; without it only slower back ends are left";
                return Finding::warn(RUNTIME, text, fix);
            }
        },
    };
    let beside = library.parent().unwrap_or(folder);
    let has =
        |provider: &&str| beside.join(format!("libonnxruntime_providers_{provider}.so")).exists();
    let mut providers: Vec<_> = ["tensorrt", "cuda"].into_iter().filter(has).collect();
    let is_slow = has_gpu && providers.is_empty();
    providers.push("cpu");
    let text = format!("{} with providers {}", library.display(), providers.join(", "));
    if is_slow {
        let fix = "put a build of ONNX Runtime with CUDA there, its providers' libraries beside it";
        return Finding::warn(RUNTIME, format!("{text}; the GPU is not used"), fix);
    }
    Finding::ok(RUNTIME, text)
}

fn library_in(folder: &Path) -> Option<PathBuf> {
    let files = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let is_library = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name == "libonnxruntime.so" || name.starts_with("libonnxruntime.so.")
    };
    files.filter(is_library).max()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;

    #[test]
    fn a_machine_without_a_card_is_told_how_to_get_one() {
        let found = card(Err(GpuError::Hidden("7".into())));
        assert!(
            found.level == Level::Warn && found.text.contains("CUDA_VISIBLE_DEVICES=7"),
            "{found:?}"
        );
        assert!(found.fix.contains("unset"), "{found:?}");
    }

    #[test]
    fn a_gpu_without_its_provider_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let touch = |name: &str| fs::write(folder.path().join(name), "").expect("a file");
        let look = |has_gpu| runtime(folder.path(), None, has_gpu);
        assert_eq!(look(false).level, Level::Warn);
        touch("libonnxruntime.so.1.31.1");
        touch("libonnxruntime_providers_shared.so");
        assert_eq!((look(false).level, look(true).level), (Level::Ok, Level::Warn));
        touch("libonnxruntime_providers_cuda.so");
        let found = look(true);
        assert!(found.level == Level::Ok && found.text.ends_with("cuda, cpu"), "{found:?}");
        let lost = runtime(folder.path(), Some("/nowhere/libonnxruntime.so".into()), false);
        assert_eq!(lost.level, Level::Fail);
    }
}
