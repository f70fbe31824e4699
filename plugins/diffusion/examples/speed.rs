//! Measures a checkpoint:
//! `cargo run -p plugins-diffusion --example speed -- MODEL VAE SIDE [STEPS] [THREADS] [FRAMES] [ENGINE] [CACHED]`.
//!
//! ENGINE is `candle`, or the one provider ONNX Runtime may use: `tensorrt`, `cuda` or `cpu`; without it the best that
//! works is taken. CACHED is how many earlier frames attention goes back to. Prints the times of each part of a frame over
//! 30 or FRAMES frames, after 5 to warm up, and how much memory the process took meanwhile.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use plugins_diffusion::blend::Blend;
use plugins_diffusion::engine::{Backend, Engine, EngineOptions};
use plugins_diffusion::folder::{Checkpoint, Parts};
use plugins_diffusion::guidance::{CfgType, Guidance};
use plugins_diffusion::onnx::{Provider, wants_graphs};
use plugins_diffusion::stream::hooks::Hooks;
use plugins_diffusion::stream::{CachedAttention, Settings, Shape, Source, Stream, Times};

/// Frames that are not counted.
const WARM_UP: u64 = 5;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, vae, side, rest @ ..] = &arguments[..] else {
        return Err("give MODEL VAE SIDE [STEPS] [THREADS] [FRAMES] [ENGINE] [CACHED]".into());
    };
    let number =
        |index: usize, default: usize| rest.get(index).map_or(Ok(default), |text| text.parse());
    let (side, steps, threads) = (side.parse()?, number(0, 1)?, number(1, 2)?);
    let (frames, max_frames) = (number(2, 30)?, number(4, 0)?);
    let cached = (max_frames > 0).then_some(CachedAttention { max_frames, interval: 1 });
    let (backend, providers) = choose(rest.get(3).map(String::as_str))?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let engine = Engine::start(&EngineOptions {
        backend,
        providers,
        runtime: root.join("engines/runtime"),
        engines: root.join("engines"),
        has_cuda_graphs: wants_graphs()?,
        threads,
    })?;
    let start = Instant::now();
    let parts = Parts::new(Path::new(model), Path::new(vae));
    let parts = Parts { has_cached_attention: cached.is_some(), ..parts };
    let checkpoint = Checkpoint::load(&engine, parts, &mut |_, _| true)?;
    let report = engine.report();
    println!("{} on {}, loaded in {:?}", report.backend, report.provider, start.elapsed());
    for refusal in &report.refused {
        println!("not on {}: {}", refusal.provider, refusal.reason);
    }
    let settings = Settings { cached_attention: cached, ..settings(side, steps) };
    measure(&mut Stream::new(Arc::new(checkpoint), settings)?, frames as u64)
}

fn choose(engine: Option<&str>) -> Result<(Backend, Vec<Provider>), Failure> {
    let all = [Provider::TensorRt, Provider::Cuda, Provider::Cpu];
    match engine {
        None => Ok((Backend::Any, all.to_vec())),
        Some("candle") => Ok((Backend::Candle, vec![])),
        Some(name) => match all.into_iter().find(|provider| provider.name() == name) {
            Some(provider) => Ok((Backend::Onnx, vec![provider])),
            None => Err(format!("ENGINE is candle, tensorrt, cuda or cpu, not {name}").into()),
        },
    }
}

fn settings(side: usize, steps: usize) -> Settings {
    Settings {
        shape: Shape::new(side, side),
        prompt: Blend::one("a red cat on a wooden table".into()),
        negative_prompt: String::new(),
        guidance: Guidance { cfg_type: CfgType::Own, scale: 1.0, delta: 0.7 },
        seed: Blend::one(2),
        t_index_list: (0..steps).map(|index| 32 + 4 * index).collect(),
        num_inference_steps: 50,
        hooks: Hooks::default(),
        controls: Vec::new(),
        adapter: None,
        cached_attention: None,
    }
}

fn measure(stream: &mut Stream, frames: u64) -> Result<(), Failure> {
    let Shape { width, height, .. } = stream.settings().shape;
    let size = 3 * width * height;
    let mut times: [Vec<Duration>; 4] = Default::default();
    let mut resident = String::new();
    for id in 0..WARM_UP + frames {
        if id == WARM_UP {
            resident = resident_memory()?;
        }
        let frame: Vec<u8> = (0..size).map(|index| (index as u64 / 7 + id) as u8).collect();
        let start = Instant::now();
        let source = Source { id, captured_ns: 0 };
        let output = stream.process(&frame, source)?.ok_or("a frame without a picture")?;
        if id == 0 {
            println!("first frame: {:.1?}", start.elapsed());
        }
        let Times { encode, unet, decode } = output.times.ok_or("a frame without diffusion")?;
        let parts = [encode, unet, decode, start.elapsed()];
        for (list, time) in times.iter_mut().zip(parts) {
            list.extend((id >= WARM_UP).then_some(time));
        }
    }
    for (name, list) in ["encode", "unet", "decode", "frame"].iter().zip(&mut times) {
        list.sort();
        let [fastest, median, most] = [0, 50, 95].map(|share| list[list.len() * share / 100]);
        println!("{name}: median {median:.1?}, 95% within {most:.1?}, fastest {fastest:.1?}");
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
