//! Cached attention in whole networks and streams. One layer of it has a golden case, beside the layer.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use plugins_diffusion::blend::Blend;
use plugins_diffusion::config::Config;
use plugins_diffusion::engine::Engine;
use plugins_diffusion::folder::{Checkpoint, Parts};
use plugins_diffusion::guidance::{CfgType, Guidance};
use plugins_diffusion::image;
use plugins_diffusion::nets::{MOST_CACHED_FRAMES, Network, Unet};
use plugins_diffusion::onnx::{Dialect, write};
use plugins_diffusion::stream::denoiser::Pass;
use plugins_diffusion::stream::hooks::Hooks;
use plugins_diffusion::stream::{
    CachedAttention, Settings, Shape, Similarity, Source, Stream, StreamError,
};
use plugins_diffusion::tensor::Tensor;
use plugins_diffusion::weights::Weights;
use proptest::prelude::*;
use proptest::test_runner::{Config as Cases, TestRunner};

use crate::back_ends::largest_difference;
use crate::streams::show;
use crate::support::engines;

const SIDE: usize = 64;

fn models() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/test")
}

fn checkpoint(engine: &Engine, has_cached_attention: bool) -> Arc<Checkpoint> {
    load(engine, ["sd15-tiny", "taesd-tiny"], has_cached_attention)
}

fn load(engine: &Engine, folders: [&str; 2], has_cached_attention: bool) -> Arc<Checkpoint> {
    let [model, vae] = folders.map(|folder| models().join(folder));
    let parts = Parts { has_cached_attention, ..Parts::new(&model, &vae) };
    Arc::new(Checkpoint::load(engine, parts, &mut |_, _| true).unwrap())
}

fn cached(max_frames: usize, interval: u64) -> Option<CachedAttention> {
    Some(CachedAttention { max_frames, interval })
}

fn settings(t_index_list: &[usize], cached_attention: Option<CachedAttention>) -> Settings {
    Settings {
        shape: Shape::new(SIDE, SIDE),
        prompt: Blend::one("a red cat".into()),
        negative_prompt: String::new(),
        guidance: Guidance { cfg_type: CfgType::Full, scale: 1.0, delta: 0.7 },
        seed: Blend::one(2),
        t_index_list: t_index_list.into(),
        num_inference_steps: 50,
        hooks: Hooks::default(),
        controls: Vec::new(),
        adapter: None,
        cached_attention,
    }
}

fn frame(shade: u8) -> Vec<u8> {
    (0..3 * SIDE * SIDE).map(|index| (index as u8).wrapping_mul(shade)).collect()
}

/// What StreamV2V's rule comes to, with everything carried through this process.
struct ByHand {
    calls: u64,
    slots: Vec<Option<Vec<Tensor>>>,
}

impl ByHand {
    fn new() -> Self {
        Self { calls: 0, slots: Vec::new() }
    }

    /// The prediction for what the UNet was given in `pass`.
    fn predict(&mut self, stream: &Stream, unet: &Checkpoint, pass: &Pass) -> Tensor {
        let CachedAttention { max_frames, interval } = stream.settings().cached_attention.unwrap();
        self.slots.resize(max_frames, None);
        let [_, _, height, width] = *pass.batch.shape() else { panic!("latents are pictures") };
        let rows = pass.batch.shape()[0];
        let mut inputs = vec![pass.batch.clone(), pass.timesteps.clone()];
        inputs.extend(stream.conditioning().tensors().iter().cloned());
        let shapes = unet.unet.network().self_attentions([height, width]);
        for (index, [tokens, channels]) in shapes.into_iter().enumerate() {
            for part in 0..2 {
                inputs.extend((0..MOST_CACHED_FRAMES).map(|slot| match self.slots.get(slot) {
                    Some(Some(kept)) => kept[2 * index + part].clone(),
                    Some(None) => Tensor::zeros([rows, tokens, channels]),
                    None => Tensor::zeros([rows, 0, channels]),
                }));
            }
        }
        let mut outputs = unet.unet.run_all(&inputs.iter().collect::<Vec<_>>()).unwrap();
        let kept = outputs.split_off(1);
        self.calls += 1;
        if self.calls.is_multiple_of(interval) {
            let slot = (self.calls / interval - 1) % max_frames as u64;
            self.slots[slot as usize] = Some(kept);
        }
        outputs.remove(0)
    }

    /// Gives the stream a frame and expects of it what the rule comes to.
    fn follow(&mut self, stream: &mut Stream, unet: &Checkpoint, shade: u8) -> Vec<Pass> {
        let passes = stream.advance(&image::to_tensor(&frame(shade), SIDE, SIDE)).unwrap().passes;
        for pass in &passes {
            let apart = largest_difference(&self.predict(stream, unet, pass), &pass.predicted);
            assert!(apart < 1e-5, "{apart} apart at call {}", self.calls);
        }
        passes
    }
}

#[test]
fn empty_slots_take_part_from_the_first_frame_on() {
    for engine in engines() {
        let (with, without) = (checkpoint(&engine, true), checkpoint(&engine, false));
        let mut plain = Stream::new(without, settings(&[32], None)).unwrap();
        let image = image::to_tensor(&frame(3), SIDE, SIDE);
        let plain = plain.advance(&image).unwrap().passes.remove(0);
        let predictions = [1, 4].map(|max_frames| {
            let settings = settings(&[32], cached(max_frames, 1));
            let mut stream = Stream::new(with.clone(), settings).unwrap();
            let pass = ByHand::new().follow(&mut stream, &with, 3).remove(0);
            assert_eq!(pass.batch, plain.batch);
            pass.predicted
        });
        let [one, four] = &predictions;
        for (a, b) in [(one, &plain.predicted), (four, &plain.predicted), (one, four)] {
            assert!(largest_difference(a, b) > 1e-3, "the keys of zeros dilute the others");
        }
    }
}

#[test]
fn random_changes_of_frames_and_interval_act_on_the_next_frame() {
    for engine in engines() {
        let checkpoint = checkpoint(&engine, true);
        let change = (1..=MOST_CACHED_FRAMES, 1u64..=3, 1u8..=4);
        let changes = prop::collection::vec(change, 1..5);
        let mut runner = TestRunner::new(Cases { cases: 8, ..Cases::default() });
        let is_batched = any::<bool>();
        let outcome = runner.run(&(is_batched, changes), |(is_batched, changes)| {
            let shape = Shape { is_batched, ..Shape::new(SIDE, SIDE) };
            let shaped = |cached| Settings { shape, ..settings(&[20, 32], cached) };
            let mut stream = Stream::new(checkpoint.clone(), shaped(cached(1, 1))).unwrap();
            let mut by_hand = ByHand::new();
            for (max_frames, interval, frames) in changes {
                stream.update(shaped(cached(max_frames, interval))).unwrap();
                for shade in 1..=frames {
                    by_hand.follow(&mut stream, &checkpoint, shade);
                }
            }
            Ok(())
        });
        outcome.unwrap();
    }
}

#[test]
fn sdxl_attends_to_earlier_frames_too() {
    for engine in engines() {
        let checkpoint = load(&engine, ["sdxl-tiny", "taesdxl-tiny"], true);
        let settings = settings(&[20, 32], cached(2, 2));
        let mut stream = Stream::new(checkpoint.clone(), settings).unwrap();
        let mut by_hand = ByHand::new();
        for shade in 1..=5 {
            by_hand.follow(&mut stream, &checkpoint, shade);
        }
    }
}

#[test]
fn the_cache_starts_anew_when_the_rows_of_the_batch_become_others() {
    let engine = engines().remove(0);
    let checkpoint = checkpoint(&engine, true);
    let mut stream = Stream::new(checkpoint.clone(), settings(&[20, 32], cached(2, 1))).unwrap();
    let mut by_hand = ByHand::new();
    by_hand.follow(&mut stream, &checkpoint, 1);
    let mut guided = settings(&[20, 32], cached(2, 1));
    guided.guidance.scale = 2.0;
    let more_steps = settings(&[10, 20, 32, 40], cached(2, 1));
    // As many rows as the guided batch has, and still others.
    for (changed, rows) in [(guided, 4), (more_steps, 4)] {
        stream.update(changed).unwrap();
        by_hand = ByHand::new();
        for shade in 2..5 {
            let passes = by_hand.follow(&mut stream, &checkpoint, shade);
            assert_eq!(passes[0].batch.shape()[0], rows);
        }
    }
    // The same rows at other steps, or asked for something else, go on.
    let mut same_rows = settings(&[11, 21, 33, 41], cached(2, 1));
    same_rows.prompt = Blend::one("a stormy sea".into());
    stream.update(same_rows).unwrap();
    by_hand.follow(&mut stream, &checkpoint, 5);
    assert_eq!(by_hand.calls, 4);
}

#[test]
fn frames_that_are_passed_over_are_no_calls() {
    let engine = engines().remove(0);
    let checkpoint = checkpoint(&engine, true);
    let filter = Some(Similarity { threshold: 0.9, max_skip_frame: 10 });
    let negative: Vec<u8> = frame(1).into_iter().map(|value| 255 - value).collect();
    let pictures = |filter, frames: &[&[u8]]| -> Vec<Vec<u8>> {
        let shape = Shape { filter, ..Shape::new(SIDE, SIDE) };
        let settings = Settings { shape, ..settings(&[32], cached(1, 2)) };
        let mut stream = Stream::new(checkpoint.clone(), settings).unwrap();
        let mut process = |rgb: &&[u8]| {
            let source = Source { id: 0, captured_ns: 0 };
            stream.process(rgb, source).unwrap().map(|output| output.picture.rgb)
        };
        frames.iter().filter_map(&mut process).collect()
    };
    let once = pictures(None, &[&frame(1), &negative, &frame(1)]);
    let filtered = pictures(filter, &[&frame(1), &frame(1), &negative, &frame(1)]);
    assert_eq!(filtered.len(), 3);
    assert_eq!(filtered, once);
    assert_ne!(once[0], once[2], "the second one is remembered");
}

#[test]
fn what_cannot_be_used_is_refused_and_changes_nothing() {
    let engine = engines().remove(0);
    for is_loaded in [true, false] {
        let checkpoint = checkpoint(&engine, is_loaded);
        let other = if is_loaded { None } else { cached(1, 1) };
        let error = Stream::new(checkpoint.clone(), settings(&[32], other)).map(drop).unwrap_err();
        assert!(matches!(error, StreamError::Setting { name: "cached_attention", .. }), "{error}");
        if !is_loaded {
            continue;
        }
        let mut stream = Stream::new(checkpoint.clone(), settings(&[32], cached(4, 1))).unwrap();
        show(&mut stream, &frame(1), 1);
        for (wrong, name) in [
            (cached(0, 1), "cached_attention.max_frames"),
            (cached(MOST_CACHED_FRAMES + 1, 1), "cached_attention.max_frames"),
            (cached(1, 0), "cached_attention.interval"),
            (None, "cached_attention"),
        ] {
            let error = stream.update(settings(&[32], wrong)).unwrap_err().to_string();
            assert!(error.contains(&format!("`{name}`")), "{error}");
        }
        assert_eq!(stream.settings().cached_attention, cached(4, 1));
        stream.update(settings(&[32], cached(1, u64::MAX))).unwrap();
        show(&mut stream, &frame(2), 2);
    }
}

fn unet(model: &str) -> (Unet, Weights) {
    let folder = models().join(model).join("unet");
    let network = Unet::from_config(&Config::read(&folder.join("config.json")).unwrap()).unwrap();
    let weights = Weights::open(&folder.join("diffusion_pytorch_model.safetensors"));
    (network, weights.unwrap())
}

#[test]
fn keys_and_values_have_the_names_of_their_layers_and_the_sizes_that_are_told() {
    for (model, context, pooled) in [("sd15-tiny", 32, None), ("sdxl-tiny", 64, Some(32))] {
        let (network, weights) = unet(model);
        let (network, plain) = (network.clone().with_cached_attention(), network);
        let (height, width) = (7, 9);
        let mut inputs = vec![
            Tensor::zeros([2, 4, height, width]),
            Tensor::zeros([2]),
            Tensor::zeros([2, 77, context]),
        ];
        inputs.extend(pooled.map(|pooled| Tensor::zeros([2, pooled])));
        inputs.extend(pooled.map(|_| Tensor::zeros([2, 6])));
        let shapes = plain.self_attentions([height, width]);
        let empty = |&[_, channels]: &[usize; 2]| {
            vec![Tensor::zeros([2, 0, channels]); 2 * MOST_CACHED_FRAMES]
        };
        inputs.extend(shapes.iter().flat_map(empty));
        let path = models().join(model).join("unet/diffusion_pytorch_model.safetensors");
        let model = engines().remove(0).load(network.clone(), &path, &mut || true).unwrap();
        let outputs = model.run_all(&inputs.iter().collect::<Vec<_>>()).unwrap();
        let told: Vec<_> = shapes.iter().flat_map(|[a, b]| [[2, *a, *b]; 2]).collect();
        assert_eq!(outputs[1..].iter().map(Tensor::shape).collect::<Vec<_>>(), told);

        let nodes = write(&network, &weights, Dialect::PLAIN).unwrap().graph.unwrap().node;
        let source = |value: &str| nodes.iter().find(|node| node.output[0] == value).unwrap();
        for output in &network.outputs()[1..] {
            let (layer, part) = output.name.rsplit_once('.').unwrap();
            let product = source(&source(&output.name).input[0]);
            let weight = format!("{layer}.to_{}.weight", &part[..1]);
            assert_eq!(source(&product.input[1]).input[0], weight);
        }
        let without = write(&plain, &weights, Dialect::PLAIN).unwrap().graph.unwrap();
        assert_eq!(nodes.len(), without.node.len() + 4 * shapes.len());
        let names: HashSet<_> = network.inputs().into_iter().map(|port| port.name).collect();
        assert_eq!(names.len(), without.input.len() + 8 * shapes.len());
    }
}
