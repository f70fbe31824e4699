//! What pipelines compute with: the GPU's driver, ONNX Runtime's library and its providers. Read from files: loading them
//! is the workers' matter.

use super::Finding;
use std::fs;
use std::path::{Path, PathBuf};

const GPU: &str = "gpu";
const RUNTIME: &str = "onnx runtime";
const DRIVER: &str = "/proc/driver/nvidia";

pub fn check(engines: &Path) -> Vec<Finding> {
    let gpus = gpus(Path::new(DRIVER));
    let has_gpu = !gpus.is_empty();
    let gpu = if has_gpu {
        Finding::ok(GPU, format!("NVIDIA's driver has {}", gpus.join(", ")))
    } else {
        let fix = "install NVIDIA's driver where there is a card; in a container, hand the card in (`--gpus all`)";
        Finding::warn(GPU, "NVIDIA's driver has no card; pipelines run on the CPU", fix)
    };
    let named = std::env::var_os("ORT_DYLIB_PATH").map(PathBuf::from);
    vec![gpu, runtime(&engines.join("runtime"), named, has_gpu)]
}

/// Model names of the cards.
fn gpus(driver: &Path) -> Vec<String> {
    let cards = fs::read_dir(driver.join("gpus")).into_iter().flatten().flatten();
    let names = cards.filter_map(|card| {
        let text = fs::read_to_string(card.path().join("information")).ok()?;
        let name = text.lines().find_map(|line| line.strip_prefix("Model:"))?;
        Some(name.trim().to_owned())
    });
    names.collect()
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

    #[test]
    fn cards_are_named_as_their_driver_names_them() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(gpus(folder.path()).is_empty());
        let card = folder.path().join("gpus/0000:01:00.0");
        fs::create_dir_all(&card).expect("a folder");
        fs::write(card.join("information"), "Model: \t Some Card\nIRQ: 1\n").expect("a file");
        assert_eq!(gpus(folder.path()), ["Some Card"]);
    }
}
