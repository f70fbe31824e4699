//! Stable Diffusion 1.5 in its real size, and a tiny checkpoint, beside PyTorch: one step, with a small autoencoder.

use crate::Verdict;
use crate::beside_pytorch::{Beside, Measured, Subject, python};
use std::path::{Path, PathBuf};
use tests::libraries::{build_folder, root};

const PROMPT: &str = "a red cat on a wooden table";
const SIDE: u32 = 512;
/// The `sample_size` of the tiny checkpoint's UNet, in pixels.
const TINY_SIDE: u32 = 64;
/// A frame of the real size takes this host several seconds.
const SECONDS: &str = "30";
const TINY_SECONDS: &str = "10";

pub fn run() -> Vec<Verdict> {
    let model = full_size();
    let subject =
        Subject { model: &model, vae: None, prompt: PROMPT, side: SIDE, seconds: SECONDS };
    let Beside { own, pytorch } = subject.measure();
    let two = subject.own("2");
    let percent = |one: f64, other: f64| 100.0 * one / other;
    let full = [
        Verdict::new("SD1.5, time of a frame beside PyTorch's", time(own, pytorch), 90.0, "%"),
        Verdict::new(
            "SD1.5, peak memory beside PyTorch's",
            percent(own.peak_memory_mb, pytorch.peak_memory_mb),
            95.0,
            "%",
        ),
        Verdict::new("SD1.5, loading", own.load_seconds, 20.0, "s"),
        Verdict::new(
            "SD1.5, peak memory of two streams beside one's",
            percent(two.peak_memory_mb, own.peak_memory_mb),
            115.0,
            "%",
        ),
    ];
    full.into_iter().chain(tiny()).collect()
}

/// At the size it is made for, and at the one that is usual. The larger the picture, the more of the time goes to attention
/// by heads only four wide.
fn tiny() -> impl Iterator<Item = Verdict> {
    [TINY_SIDE, SIDE].into_iter().map(|side| {
        let models = root().join("models/test");
        let (model, vae) = (models.join("sd15-tiny"), models.join("taesd-tiny"));
        let (model, vae) = (&*model, Some(&*vae));
        let subject = Subject { model, vae, prompt: PROMPT, side, seconds: TINY_SECONDS };
        let Beside { own, pytorch } = subject.measure();
        let what = format!("a tiny checkpoint at {side}x{side}, time of a frame beside PyTorch's");
        Verdict::new(what, time(own, pytorch), 40.0, "%")
    })
}

/// In percent.
fn time(own: Measured, pytorch: Measured) -> f64 {
    100.0 * pytorch.fps / own.fps
}

/// The checkpoint's folder; written once, 4 GB.
fn full_size() -> PathBuf {
    let folder = build_folder().with_file_name("bench").join("sd15");
    if !folder.exists() {
        println!("writing {}", folder.display());
        write_full_size(&folder);
    }
    folder
}

fn write_full_size(folder: &Path) {
    std::fs::create_dir_all(folder.parent().expect("it lies in the build folder"))
        .expect("the build folder takes a folder");
    let script = root().join("tests/bench/full_size_sd15.py");
    let mut command = python();
    command.arg(script).arg(root().join("models/test/tokenizer-clip-full")).arg(folder);
    assert!(command.status().expect("Python starts").success(), "the checkpoint is not written");
}
