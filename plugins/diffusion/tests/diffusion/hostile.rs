//! Files and settings that nobody means well: each is refused with a reason or does no harm.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use plugins_diffusion::blend::Blend;
use plugins_diffusion::engine::{Backend, Engine};
use plugins_diffusion::folder::{Checkpoint, Parts};
use plugins_diffusion::guidance::{CfgType, Guidance};
use plugins_diffusion::stream::hooks::Hooks;
use plugins_diffusion::stream::{Settings, Shape, Source, Stream};
use plugins_diffusion::tokenizer::Tokenizer;
use plugins_diffusion::weights::Weights;
use serde_json::{Value, json};

use crate::streams::show;

const SIDE: usize = 72;

const SOURCE: Source = Source { id: 1, captured_ns: 0 };

type Damage = fn(&File);

fn models() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/test")
}

fn engine() -> Engine {
    Engine::start(&crate::support::options(Backend::Onnx)).unwrap_or_else(|error| panic!("{error}"))
}

fn load(model: &Path) -> Result<Checkpoint, String> {
    let vae = models().join("taesd-tiny");
    Checkpoint::load(&engine(), Parts::new(model, &vae), &mut |_, _| true)
        .map_err(|error| error.to_string())
}

/// A copy of the tiny model, to be damaged.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// What loading says after `damage` was done to a copy of the tiny model.
fn loaded_after(damage: impl FnOnce(&Path)) -> Result<Checkpoint, String> {
    loaded_after_in("sd15-tiny", damage)
}

fn loaded_after_in(model: &str, damage: impl FnOnce(&Path)) -> Result<Checkpoint, String> {
    let folder = tempfile::tempdir().unwrap();
    copy(&models().join(model), folder.path());
    damage(folder.path());
    load(folder.path())
}

fn unet_weights(folder: &Path) -> PathBuf {
    folder.join("unet/diffusion_pytorch_model.safetensors")
}

fn open(path: &Path) -> File {
    OpenOptions::new().read(true).write(true).open(path).unwrap()
}

fn settings() -> Settings {
    Settings {
        shape: Shape::new(SIDE, SIDE + 16),
        prompt: Blend::one("a red cat".into()),
        negative_prompt: String::new(),
        guidance: Guidance { cfg_type: CfgType::Own, scale: 1.0, delta: 0.7 },
        seed: Blend::one(2),
        t_index_list: vec![20, 40],
        num_inference_steps: 50,
        hooks: Hooks::default(),
        controls: Vec::new(),
        adapter: None,
        cached_attention: None,
    }
}

fn set(config: &Path, key: &str, value: Value) {
    let text = std::fs::read_to_string(config).unwrap();
    let mut values: Value = serde_json::from_str(&text).unwrap();
    values[key] = value;
    std::fs::write(config, values.to_string()).unwrap();
}

fn frame() -> Vec<u8> {
    (0..3 * SIDE * (SIDE + 16)).map(|index| index as u8).collect()
}

#[test]
fn damaged_weights_are_refused_by_name() {
    let damages: [(Damage, &str); 4] = [
        (|file| file.set_len(file.metadata().unwrap().len() - 1).unwrap(), "outside the"),
        (|file| file.set_len(100).unwrap(), "claims a header of"),
        (|file| file.write_all_at(&u64::MAX.to_le_bytes(), 0).unwrap(), "claims a header of"),
        (|file| file.write_all_at(b"[", 8).unwrap(), "not JSON"),
    ];
    for (damage, reason) in damages {
        let error = loaded_after(|folder| damage(&open(&unet_weights(folder)))).err().unwrap();
        assert!(error.contains(reason), "{error}");
        assert!(error.contains("unet/diffusion_pytorch_model.safetensors"), "{error}");
    }
}

/// Makes the first value of a tensor in a safetensors file one that is no number.
fn poison(path: &Path, tensor: &str) {
    let place = Weights::open(path).unwrap();
    let shape = place.shape(tensor).unwrap().to_vec();
    let place = place.find(tensor, &shape).unwrap();
    open(path).write_all_at(&f32::NAN.to_le_bytes(), place.offset).unwrap();
}

#[test]
fn a_weight_that_is_no_number_is_told_by_network_on_the_first_frame() {
    let unet = "unet/diffusion_pytorch_model.safetensors";
    let vae = "vae/diffusion_pytorch_model.safetensors";
    let cases = [
        (unet, "mid_block.resnets.0.conv1.weight", "network of"),
        (vae, "encoder.conv_out.bias", "network of"),
        (vae, "decoder.conv_out.bias", "network of"),
        ("text_encoder/model.safetensors", "text_model.final_layer_norm.bias", "network of"),
    ];
    for engine in crate::support::engines() {
        for (file, tensor, reason) in cases {
            let folder = tempfile::tempdir().unwrap();
            copy(&models().join("sd15-tiny"), folder.path());
            poison(&folder.path().join(file), tensor);
            let vae = folder.path().join("vae");
            let parts = Parts::new(folder.path(), &vae);
            let checkpoint = Checkpoint::load(&engine, parts, &mut |_, _| true).unwrap();
            let error = match Stream::new(Arc::new(checkpoint), settings()) {
                Err(error) => error,
                Ok(mut stream) => {
                    let first = stream.process(&frame(), SOURCE).unwrap_err();
                    // It stays so, and does not become the fault of what the first frame left behind.
                    assert_eq!(
                        stream.process(&frame(), SOURCE).unwrap_err().to_string(),
                        first.to_string()
                    );
                    first
                }
            };
            let message = error.to_string();
            for part in [file, reason, "not finite", "get the file again"] {
                assert!(message.contains(part), "{tensor}: {message}");
            }
        }
    }
}

#[test]
fn configs_that_make_no_sense_are_refused_by_file_and_key() {
    let changes: [(&str, &str, Value); 10] = [
        ("unet/config.json", "block_out_channels", json!([])),
        ("unet/config.json", "block_out_channels", json!([3, 32, 32, 32])),
        ("unet/config.json", "attention_head_dim", json!(0)),
        ("unet/config.json", "layers_per_block", json!(1e30)),
        ("unet/config.json", "norm_num_groups", json!(5)),
        ("unet/config.json", "addition_embed_type", json!("text_image")),
        // The 64 heads that are usual do not divide the tiny model's context.
        ("unet/config.json", "addition_embed_type", json!("text")),
        ("text_encoder/config.json", "max_position_embeddings", json!(65536)),
        ("text_encoder/config.json", "num_attention_heads", json!(-1)),
        ("scheduler/scheduler_config.json", "beta_start", json!(2)),
    ];
    for (file, key, value) in changes {
        let result = loaded_after(|folder| set(&folder.join(file), key, value));
        let error = result.err().unwrap();
        assert!(error.contains(file), "{error}");
        println!("{error}");
    }
    let nested = loaded_after(|folder| {
        std::fs::write(folder.join("unet/config.json"), "[".repeat(100_000)).unwrap();
    });
    assert!(nested.err().unwrap().contains("unet/config.json is not a JSON object"));
}

#[test]
fn parts_of_sdxl_that_do_not_fit_together_are_named() {
    let unet = "unet/config.json";
    let changes: [(&str, &str, Value, &str); 8] = [
        (unet, "addition_time_embed_dim", json!(7), "an even number"),
        (unet, "addition_time_embed_dim", json!(14), "a number above 84"),
        (unet, "addition_time_embed_dim", Value::Null, "missing"),
        // Its weights fit: 10 for each size leave 20 for the text, of which the encoder gives 32.
        (unet, "addition_time_embed_dim", json!(10), "projection_dim is 32, the unet's width"),
        (unet, "projection_class_embeddings_input_dim", json!(48), "a number above 48"),
        (
            unet,
            "projection_class_embeddings_input_dim",
            json!(1u64 << 60),
            "is 1152921504606846976",
        ),
        ("text_encoder_2/config.json", "projection_dim", json!(31), "text_projection.weight"),
        ("text_encoder_2/config.json", "hidden_act", json!("relu"), "`hidden_act`"),
    ];
    for (file, key, value, reason) in changes {
        let result = loaded_after_in("sdxl-tiny", |folder| set(&folder.join(file), key, value));
        let error = result.err().unwrap();
        assert!(error.contains(reason), "{error}");
    }
    let lost = |part: &'static str| {
        let remove = |folder: &Path| std::fs::remove_dir_all(folder.join(part)).unwrap();
        loaded_after_in("sdxl-tiny", remove).err().unwrap()
    };
    for part in ["text_encoder", "text_encoder_2", "tokenizer_2"] {
        let error = lost(part);
        assert!(error.contains(&format!("/{part}/")), "{error}");
    }
}

#[test]
fn sides_need_only_be_multiples_of_eight() {
    let checkpoint = Arc::new(load(&models().join("sd15-tiny")).unwrap());
    let mut stream = Stream::new(checkpoint, settings()).unwrap();
    assert_eq!(show(&mut stream, &frame(), 1).picture.rgb.len(), frame().len());
}

#[test]
fn guidance_that_overflowed_is_told_and_leaves_no_trace_once_it_is_gone() {
    let checkpoint = Arc::new(load(&models().join("sd15-tiny")).unwrap());
    // With a single step the estimate of the negative prediction feeds on itself alone.
    for steps in [vec![32], vec![20, 40]] {
        let mut stream = Stream::new(checkpoint.clone(), settings()).unwrap();
        let guided = |scale| Settings {
            guidance: Guidance { cfg_type: CfgType::Own, scale, delta: 1.0 },
            t_index_list: steps.clone(),
            ..settings()
        };
        stream.update(guided(f32::MAX)).unwrap();
        let errors = (0..4).filter_map(|_| stream.process(&frame(), SOURCE).err());
        let errors: Vec<String> = errors.map(|error| error.to_string()).collect();
        assert!(errors.iter().any(|error| error.contains("`guidance_scale`")), "{errors:?}");
        stream.update(guided(1.2)).unwrap();
        let picture = show(&mut stream, &frame(), 3);
        assert!(stream.denoiser().stock_noise().is_finite());
        assert!(stream.denoiser().buffer().iter().all(|value| value.is_finite()));
        let mut fresh = Stream::new(checkpoint.clone(), guided(1.2)).unwrap();
        assert_eq!(picture.picture.rgb, show(&mut fresh, &frame(), 3).picture.rgb);
    }
}

#[test]
fn seeds_at_the_ends_of_their_range_are_seeds_like_others() {
    let checkpoint = Arc::new(load(&models().join("sd15-tiny")).unwrap());
    for seed in [0, u64::from(u32::MAX), i64::MAX as u64, u64::MAX] {
        let seeded = Settings { seed: Blend::one(seed), ..settings() };
        let stream = Stream::new(checkpoint.clone(), seeded).unwrap();
        assert!(
            stream
                .denoiser()
                .noise()
                .data()
                .iter()
                .all(|value| value.is_finite() && value.abs() < 7.0)
        );
    }
}

#[test]
fn endless_prompts_are_cut_without_endless_work() {
    let tokenizer = Tokenizer::load(&models().join("tokenizer-clip-full")).unwrap();
    let mut letters = 1u32;
    let mut letter = || {
        letters = letters.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        char::from(b'a' + (letters >> 24) as u8 % 26)
    };
    let texts = [
        (0..100_000).map(|_| letter()).collect::<String>(),
        "a".repeat(100_000),
        "\u{1f680}".repeat(100_000),
        "cat ".repeat(25_000),
        format!("&{}", "amp;".repeat(25_000)),
        "<|endoftext|>".repeat(8_000),
        "\u{301}".repeat(100_000),
        "\u{fdfa}".repeat(100_000),
    ];
    for text in texts {
        let ids = tokenizer.encode(&text, 77);
        assert_eq!(ids.len(), 77);
        assert!(ids.iter().all(|&id| (id as usize) < tokenizer.vocabulary()));
    }
}

/// What the schema allows: 16 prompts of 8192 characters.
#[test]
fn as_many_and_as_long_prompts_as_are_allowed_are_encoded_once_and_in_bounded_time() {
    let demo = models().join("../demo");
    let vae = demo.join("vae");
    let parts = Parts::new(&demo, &vae);
    let checkpoint = Checkpoint::load(&engine(), parts, &mut |_, _| true).unwrap();
    let mut stream = Stream::new(Arc::new(checkpoint), settings()).unwrap();
    let text = |index: usize| format!("{index} {}", "stormy sea ".repeat(1000))[..8192].to_owned();
    let blend = |first: f32| {
        let weight = |index: usize| if index == 0 { first } else { 1.0 };
        let entries = (0..16).map(|index| (text(index), weight(index))).collect();
        Settings { prompt: Blend { entries, ..Blend::one(String::new()) }, ..settings() }
    };
    let took = |stream: &mut Stream, settings| {
        let start = Instant::now();
        stream.update(settings).unwrap();
        start.elapsed()
    };
    let (first, again) = (took(&mut stream, blend(1.0)), took(&mut stream, blend(3.0)));
    println!("16 prompts of 8192 characters in {first:?}, with other weights in {again:?}");
    let limit = Duration::from_secs(20);
    assert!(first < limit, "{first:?} are more than even a busy machine needs");
    assert!(again < first, "texts that are in use are not encoded again");
    assert!(show(&mut stream, &frame(), 1).picture.rgb.iter().any(|&value| value != 0));
}
