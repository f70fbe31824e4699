//! The demo model that is shipped, compared with what StreamDiffusion 0.1.1 makes of it; `tools/demo-model/reference.py`
//! writes the recorded pictures.

use std::path::Path;
use std::sync::Arc;

use plugins_diffusion::blend::Blend;
use plugins_diffusion::engine::Engine;
use plugins_diffusion::folder::{Checkpoint, Parts};
use plugins_diffusion::guidance::{CfgType, Guidance};
use plugins_diffusion::image;
use plugins_diffusion::stream::hooks::Hooks;
use plugins_diffusion::stream::{Settings, Shape, Stream};
use safetensors::SafeTensors;

use crate::support::engines;

/// Of the largest value. Weights are the same half-precision numbers, sums are made in another order.
const TOLERANCE: f32 = 1e-4;

#[test]
fn the_demo_model_draws_what_streamdiffusion_draws() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let bytes = std::fs::read(root.join("tests/golden/demo.safetensors")).unwrap();
    let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
    let recorded = SafeTensors::deserialize(&bytes).unwrap();
    let frame = recorded.tensor("frame").unwrap();
    let [height, width, _] = frame.shape()[..] else { panic!("a frame has three dimensions") };
    let image = image::to_tensor(frame.data(), width, height);
    let prompts = metadata.metadata().as_ref().unwrap();
    assert!(!prompts.is_empty());
    for engine in engines() {
        let checkpoint = load(&engine, &root.join("../../models/demo"));
        for (case, prompt) in prompts {
            let settings = settings(prompt, width, height);
            let mut stream = Stream::new(checkpoint.clone(), settings).unwrap();
            let output = stream.advance(&image).unwrap().output;
            let ours = stream.decode(&output).unwrap();
            let wanted: Vec<f32> = recorded
                .tensor(case)
                .unwrap()
                .data()
                .chunks_exact(4)
                .map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()))
                .collect();
            let error = error(ours.data(), &wanted);
            println!("{case} on {}: {error:.1e}", engine.report().backend);
            assert!(error < TOLERANCE, "{case} on {}: {error:.1e}", engine.report().backend);
        }
    }
}

fn load(engine: &Engine, folder: &Path) -> Arc<Checkpoint> {
    Arc::new(
        Checkpoint::load(engine, Parts::new(folder, &folder.join("vae")), &mut |_, _| true)
            .unwrap(),
    )
}

fn settings(prompt: &str, width: usize, height: usize) -> Settings {
    Settings {
        shape: Shape::new(width, height),
        prompt: Blend::one(prompt.into()),
        negative_prompt: String::new(),
        guidance: Guidance { cfg_type: CfgType::None, scale: 1.0, delta: 1.0 },
        seed: Blend::one(2),
        t_index_list: vec![32],
        num_inference_steps: 50,
        hooks: Hooks::default(),
        controls: Vec::new(),
        adapter: None,
        cached_attention: None,
    }
}

/// The largest difference, relative to the largest wanted value.
fn error(ours: &[f32], wanted: &[f32]) -> f32 {
    assert_eq!(ours.len(), wanted.len());
    let largest = wanted.iter().fold(0f32, |largest, value| largest.max(value.abs()));
    let apart = ours.iter().zip(wanted).map(|(ours, wanted)| (ours - wanted).abs());
    apart.fold(0f32, |worst, apart| if apart.is_nan() { f32::INFINITY } else { worst.max(apart) })
        / largest
}
