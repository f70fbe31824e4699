//! Measures a checkpoint:
//! `cargo run -p plugins-diffusion --example speed -- MODEL VAE SIDE [STEPS] [THREADS] [FRAMES] [candle]`.
//!
//! Prints the median time of each part of a frame over 30 or FRAMES frames, after 5 to warm up, and how much memory the
//! process took meanwhile.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use plugins_diffusion::blend::Blend;
use plugins_diffusion::engine::{Backend, Engine, EngineOptions};
use plugins_diffusion::folder::Checkpoint;
use plugins_diffusion::guidance::{CfgType, Guidance};
use plugins_diffusion::stream::{Settings, Stream};

/// Frames that are not counted.
const WARM_UP: u64 = 5;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, vae, side, rest @ ..] = &arguments[..] else {
        return Err("give MODEL VAE SIDE [STEPS] [THREADS] [FRAMES] [candle]".into());
    };
    let number =
        |index: usize, default: usize| rest.get(index).map_or(Ok(default), |text| text.parse());
    let (side, steps, threads) = (side.parse()?, number(0, 1)?, number(1, 2)?);
    let frames = number(2, 30)?;
    let is_candle = rest.get(3).is_some_and(|name| name == "candle");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let engine = Engine::start(&EngineOptions {
        backend: if is_candle { Backend::Candle } else { Backend::Any },
        allow_tensorrt: true,
        runtime: root.join("engines/runtime"),
        engines: root.join("engines"),
        threads,
    })?;
    let start = Instant::now();
    let checkpoint = Checkpoint::load(&engine, Path::new(model), Path::new(vae), &mut |_, _| true)?;
    let report = engine.report();
    println!("{} on {}, loaded in {:?}", report.backend, report.provider, start.elapsed());
    measure(&mut Stream::new(Arc::new(checkpoint), settings(side, steps))?, frames as u64)
}

fn settings(side: usize, steps: usize) -> Settings {
    Settings {
        width: side,
        height: side,
        prompt: Blend::one("a red cat on a wooden table".into()),
        negative_prompt: String::new(),
        guidance: Guidance { cfg_type: CfgType::Own, scale: 1.0, delta: 0.7 },
        seed: Blend::one(2),
        t_index_list: (0..steps).map(|index| 32 + 4 * index).collect(),
        num_inference_steps: 50,
        do_add_noise: true,
    }
}

fn measure(stream: &mut Stream, frames: u64) -> Result<(), Failure> {
    let size = 3 * stream.settings().width * stream.settings().height;
    let mut times: [Vec<Duration>; 4] = Default::default();
    let mut resident = String::new();
    for id in 0..WARM_UP + frames {
        if id == WARM_UP {
            resident = resident_memory()?;
        }
        let frame: Vec<u8> = (0..size).map(|index| (index as u64 / 7 + id) as u8).collect();
        let start = Instant::now();
        let output = stream.process(&frame, id)?;
        let parts = [output.times.encode, output.times.unet, output.times.decode, start.elapsed()];
        for (list, time) in times.iter_mut().zip(parts) {
            list.extend((id >= WARM_UP).then_some(time));
        }
    }
    for (name, list) in ["encode", "unet", "decode", "frame"].iter().zip(&mut times) {
        list.sort();
        println!("{name}: median {:.1?}, fastest {:.1?}", list[list.len() / 2], list[0]);
    }
    let fps = 1.0 / times[3][times[3].len() / 2].as_secs_f64();
    println!("{fps:.1} frames a second at the median");
    println!("resident memory from {resident} to {}", resident_memory()?);
    Ok(())
}

fn resident_memory() -> Result<String, Failure> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    Ok(line.ok_or("no VmRSS")?.trim().into())
}
