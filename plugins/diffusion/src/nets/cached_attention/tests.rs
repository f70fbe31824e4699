//! One layer, compared with what the attention of StreamDiffusion's descendant computes.

use std::path::{Path, PathBuf};

use safetensors::SafeTensors;

use super::*;
use crate::engine::{Backend, Engine, EngineOptions};
use crate::nets::Network;
use crate::onnx::Provider;
use crate::ops::Values;
use crate::tensor::Tensor;

const ROWS: usize = 2;
const TOKENS: usize = 32;
const ATTENTION: Attention = Attention { channels: 32, context: 32, heads: 8, has_bias: false };
const PATH: &str = "down_blocks.1.attentions.0.transformer_blocks.0.attn1";

struct OneLayer;

fn layers() -> [Layer; 1] {
    [Layer { path: PATH.into(), channels: ATTENTION.channels }]
}

fn port(name: &'static str) -> Port {
    Port::new(name, [Dim::Free("rows"), Dim::Any, Dim::Fixed(ATTENTION.channels)])
}

impl Network for OneLayer {
    fn inputs(&self) -> Vec<Port> {
        std::iter::once(port("hidden")).chain(inputs(&layers())).collect()
    }

    fn outputs(&self) -> Vec<Port> {
        std::iter::once(port("attended")).chain(outputs(&layers())).collect()
    }

    fn forward<O: Ops>(&self, ops: &O, inputs: &[O::T]) -> Values<O> {
        let cached = Cached::new(&inputs[1..]);
        let attended = cached.attend(&Module::root(ops).at(PATH), &inputs[0], ATTENTION)?;
        Ok(std::iter::once(attended).chain(cached.into_latest()).collect())
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn engine(backend: Backend) -> Engine {
    let engines = root().join("engines");
    let providers = vec![Provider::Cpu];
    let runtime = engines.join("runtime");
    Engine::start(&EngineOptions {
        backend,
        providers,
        runtime,
        engines,
        has_cuda_graphs: true,
        threads: 2,
    })
    .unwrap()
}

fn golden(name: &str) -> Vec<f32> {
    let path = root().join("plugins/diffusion/tests/golden/fork_extras.safetensors");
    let bytes = std::fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let values = file.tensor(name).unwrap().data().chunks_exact(4);
    values.map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect()
}

/// All inputs behind the first, with these keys and values of `slots` slots; the slots behind are not in use.
fn earlier(values: &[f32], slots: usize) -> Vec<Tensor> {
    let size = ROWS * TOKENS * ATTENTION.channels;
    let shape = [ROWS, TOKENS, ATTENTION.channels];
    let filled = |part: usize, slot: usize| {
        let start = (part * slots + slot) * size;
        Tensor::new(shape, values[start..start + size].to_vec())
    };
    let unused = || Tensor::zeros([ROWS, 0, ATTENTION.channels]);
    let slot = |part: usize, slot| if slot < slots { filled(part, slot) } else { unused() };
    (0..2).flat_map(|part| (0..MOST_CACHED_FRAMES).map(move |each| slot(part, each))).collect()
}

fn expect_close(name: &str, ours: &[f32], recorded: &[f32]) {
    assert_eq!(ours.len(), recorded.len(), "{name}");
    let largest = recorded.iter().fold(0f32, |largest, value| largest.max(value.abs()));
    let apart = ours.iter().zip(recorded).fold(0f32, |apart, (a, b)| apart.max((a - b).abs()));
    assert!(apart <= 1e-4 * largest, "{name}: {apart} apart, the largest is {largest}");
}

#[test]
fn a_layer_attends_to_earlier_frames_and_to_slots_without_one() {
    let weights = root().join("models/test/sd15-tiny/unet/diffusion_pytorch_model.safetensors");
    let hidden = Tensor::new([ROWS, TOKENS, ATTENTION.channels], golden("attn_hidden"));
    let cache = golden("attn_cache_kv");
    let zeros = vec![0.0; cache.len()];
    for backend in [Backend::Onnx, Backend::Candle] {
        let model = engine(backend).load(OneLayer, &weights, &mut || true).unwrap();
        for (name, values, slots) in [
            ("attn_out_nocache", &[][..], 0),
            ("attn_out_zero_cache", &zeros, 3),
            ("attn_out_cached", &cache, 3),
        ] {
            let earlier = earlier(values, slots);
            let inputs: Vec<&Tensor> = std::iter::once(&hidden).chain(&earlier).collect();
            let outputs = model.run_all(&inputs).unwrap();
            expect_close(name, outputs[0].data(), &golden(name));
            let kept = [outputs[1].data(), outputs[2].data()].concat();
            expect_close("attn_kv_out", &kept, &golden("attn_kv_out"));
        }
    }
}
