//! Checkpoints in one file are the same models as the folders they could be unpacked to.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use plugins_diffusion::config::Config;
use plugins_diffusion::engine::Engine;
use plugins_diffusion::family::Family;
use plugins_diffusion::files::{ModelFiles, weights_file};
use plugins_diffusion::folder::{Checkpoint, Parts};
use plugins_diffusion::lora::Lora;
use plugins_diffusion::nets::{ClipText, KlConfig, KlDecoder, KlEncoder, Reading, Unet};
use plugins_diffusion::original::{Component, OriginalFile};
use plugins_diffusion::stream::{Source, Stream};
use plugins_diffusion::weights::Weights;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors, serialize_to_file};
use serde_json::{Value, json};

use crate::names::Names;
use crate::original_layout::{self as layout, Blocks, Tensors};
use crate::streams::{settings, show};

const CLIP: &str = "cond_stage_model.transformer.";
const OPEN_CLIP: &str = "cond_stage_model.model.";
const CLIP_XL: &str = "conditioner.embedders.0.transformer.";
const OPEN_CLIP_XL: &str = "conditioner.embedders.1.model.";

fn models() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/test")
}

fn read(folder: &Path, component: Component) -> Tensors {
    let path = weights_file(&folder.join(component.folder()), component.stem()).unwrap();
    let bytes = std::fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let tensors = file.tensors().into_iter().filter(|(_, view)| view.dtype() == Dtype::F32);
    tensors.map(|(name, view)| (name, (view.shape().to_vec(), view.data().to_vec()))).collect()
}

fn write(path: &Path, tensors: &Tensors, metadata: Option<HashMap<String, String>>) {
    let views = tensors.iter().map(|(name, (shape, bytes))| {
        (name, TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap())
    });
    serialize_to_file(views, metadata, path).unwrap();
}

fn blocks(model: &str) -> Blocks {
    let (layers, attention) = match model {
        "sd15-tiny" => (2, vec![true, true, true, false]),
        "sdturbo-tiny" => (1, vec![true, true, false]),
        _ => (2, vec![false, true, true]),
    };
    Blocks { layers, attention }
}

/// The tiny model as the original code would have saved it.
fn original(model: &str) -> Tensors {
    let folder = models().join(model);
    let part = |component| read(&folder, component);
    let mut all = layout::unet(&part(Component::Unet), &blocks(model));
    all.extend(layout::autoencoder(&part(Component::Autoencoder), 4));
    let text = part(Component::TextEncoder);
    all.extend(match model {
        "sd15-tiny" => layout::clip(&text, CLIP),
        "sdturbo-tiny" => layout::open_clip(&text, OPEN_CLIP),
        _ => {
            let second = layout::open_clip(&part(Component::TextEncoder2), OPEN_CLIP_XL);
            layout::clip(&text, CLIP_XL).into_iter().chain(second).collect()
        }
    });
    all
}

/// What cannot be told by tiny networks' shapes, and their cut vocabularies, beside the file.
fn write_configs(model: &str, beside: &Path) {
    let parts = ["unet", "vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2"];
    for part in
        parts.map(|part| models().join(model).join(part)).iter().filter(|part| part.is_dir())
    {
        let target = beside.join(part.file_name().unwrap());
        std::fs::create_dir_all(&target).unwrap();
        for entry in std::fs::read_dir(part).unwrap().map(Result::unwrap) {
            if entry.path().extension().is_some_and(|ending| ending != "safetensors") {
                std::fs::copy(entry.path(), target.join(entry.file_name())).unwrap();
            }
        }
    }
}

fn picture(engine: &Engine, parts: Parts<'_>) -> Vec<u8> {
    let checkpoint = Checkpoint::load(engine, parts, &mut |_, _| true).unwrap();
    let mut stream = Stream::new(Arc::new(checkpoint), settings(&[20, 40])).unwrap();
    show(&mut stream, &(0..3 * 64 * 64).map(|index| (index / 7) as u8).collect::<Vec<_>>(), 1)
        .picture
        .rgb
}

#[test]
fn a_checkpoint_in_one_file_makes_the_pictures_of_its_folder() {
    for model in ["sd15-tiny", "sdturbo-tiny", "sdxl-tiny"] {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("one.safetensors");
        write(&file, &original(model), None);
        write_configs(model, &place.path().join("one.config"));
        let folder = models().join(model);
        for engine in crate::support::engines() {
            let vae = folder.join("vae");
            let expected = picture(&engine, Parts::new(&folder, &vae));
            assert_eq!(picture(&engine, Parts::new(&file, &file)), expected, "{model}");
        }
    }
}

#[test]
fn a_checkpoint_in_one_file_goes_with_loras_and_with_parts_of_folders() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("one.safetensors");
    write(&file, &original("sd15-tiny"), None);
    write_configs("sd15-tiny", &place.path().join("one.config"));
    let loras = [Lora { path: models().join("lora-sd15-tiny/kohya.safetensors"), scale: 1.0 }];
    let (folder, taesd) = (models().join("sd15-tiny"), models().join("taesd-tiny"));
    for engine in crate::support::engines() {
        let of =
            |model: &Path| picture(&engine, Parts { loras: &loras, ..Parts::new(model, &taesd) });
        let merged = of(&folder);
        assert_eq!(of(&file), merged);
        // Parts of either kind go together.
        let picture = |model: &Path, vae: &Path| picture(&engine, Parts::new(model, vae));
        assert_eq!(picture(&folder, &file), picture(&file, &folder.join("vae")));
        assert_ne!(merged, picture(&file, &taesd));
    }
}

#[test]
fn a_network_of_one_file_that_makes_no_numbers_is_named_by_file_and_part() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("one.safetensors");
    let mut tensors = original("sd15-tiny");
    tensors.get_mut("model.diffusion_model.out.2.bias").unwrap().1.fill(0xff);
    write(&file, &tensors, None);
    write_configs("sd15-tiny", &place.path().join("one.config"));
    let engine = &crate::support::engines()[1];
    let checkpoint = Checkpoint::load(engine, Parts::new(&file, &file), &mut |_, _| true).unwrap();
    let mut stream = Stream::new(Arc::new(checkpoint), settings(&[20])).unwrap();
    let error = stream.process(&[0; 3 * 64 * 64], Source { id: 1, captured_ns: 0 }).unwrap_err();
    assert!(
        error.to_string().contains("one.safetensors/unet made numbers that are not finite"),
        "{error}"
    );
}

#[test]
fn the_tensors_of_a_checkpoint_in_one_file_are_those_of_its_folder() {
    for model in ["sd15-tiny", "sdturbo-tiny", "sdxl-tiny"] {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("one.safetensors");
        write(&path, &original(model), None);
        let file = OriginalFile::open(&path).unwrap();
        let folder = models().join(model);
        let mut parts = vec![Component::Unet, Component::Autoencoder, Component::TextEncoder];
        parts.extend((model == "sdxl-tiny").then_some(Component::TextEncoder2));
        for part in parts {
            let view = file.view(part).unwrap();
            let plain = weights_file(&folder.join(part.folder()), part.stem()).unwrap();
            let plain = Weights::open(&plain).unwrap();
            let values = |weights: &Weights, name: &str, shape: &[usize]| {
                weights.read(weights.find(name, shape).unwrap()).unwrap()
            };
            let mut count = 0;
            for (name, shape) in plain.tensors().filter(|(name, _)| !name.ends_with("position_ids"))
            {
                assert!(
                    values(&view, name, shape) == values(&plain, name, shape),
                    "{model} {name}"
                );
                count += 1;
            }
            assert!(count > 30, "{model}: {count}");
            let names = |weights: &Weights| {
                weights.tensors().map(|(name, _)| name.to_owned()).collect::<Vec<_>>()
            };
            assert_eq!(names(&view), names(&plain));
            check_config(&file.config(part).unwrap(), &folder.join(part.folder()));
        }
    }
}

/// All that shapes show is as in the folder's config.
fn check_config(inferred: &Config, folder: &Path) {
    let told = Config::read(&folder.join("config.json")).unwrap();
    let keys = [
        "in_channels",
        "out_channels",
        "block_out_channels",
        "down_block_types",
        "up_block_types",
        "cross_attention_dim",
        "use_linear_projection",
        "addition_embed_type",
        "class_embed_type",
        "projection_class_embeddings_input_dim",
        "latent_channels",
        "scaling_factor",
        "vocab_size",
        "max_position_embeddings",
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "hidden_act",
        "layers_per_block",
    ];
    for key in keys {
        assert_eq!(inferred.get(key), told.get(key), "{} {key}", folder.display());
    }
    let depths = |config: &Config| {
        config.sizes_per_level(
            "transformer_layers_per_block",
            config.sizes("block_out_channels")?.len(),
        )
    };
    if told.get("cross_attention_dim").is_some() {
        assert_eq!(depths(inferred).unwrap(), depths(&told).unwrap());
    }
}

/// The published architectures: name, UNet, text encoders, whether the autoencoder is that of XL.
fn published() -> [(&'static str, Value, Vec<Value>); 3] {
    let text = |width: usize, layers: usize, heads: usize, activation: &str| {
        json!({
            "vocab_size": 49408, "hidden_size": width, "intermediate_size": 4 * width,
            "num_hidden_layers": layers, "num_attention_heads": heads, "hidden_act": activation,
            "max_position_embeddings": 77, "projection_dim": width,
        })
    };
    let unet = |changes: Value| {
        let mut unet = json!({
            "in_channels": 4, "out_channels": 4, "layers_per_block": 2,
            "block_out_channels": [320, 640, 1280, 1280], "transformer_layers_per_block": 1,
            "down_block_types": ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
            "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
            "use_linear_projection": true,
        });
        unet.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        unet
    };
    [
        (
            "sd15",
            unet(
                json!({"cross_attention_dim": 768, "attention_head_dim": 8, "use_linear_projection": false}),
            ),
            vec![text(768, 12, 12, "quick_gelu")],
        ),
        (
            "sd21",
            unet(json!({"cross_attention_dim": 1024, "attention_head_dim": [5, 10, 20, 20]})),
            vec![text(1024, 23, 16, "gelu")],
        ),
        (
            "sdxl",
            unet(json!({
                "cross_attention_dim": 2048, "attention_head_dim": [5, 10, 20],
                "block_out_channels": [320, 640, 1280], "transformer_layers_per_block": [1, 2, 10],
                "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
                "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
                "addition_embed_type": "text_time", "addition_time_embed_dim": 256,
                "projection_class_embeddings_input_dim": 2816,
            })),
            vec![text(768, 12, 12, "quick_gelu"), text(1280, 32, 20, "gelu")],
        ),
    ]
}

fn autoencoder_config(is_xl: bool) -> Value {
    json!({
        "_class_name": "AutoencoderKL", "in_channels": 3, "out_channels": 3, "latent_channels": 4,
        "block_out_channels": [128, 256, 512, 512], "layers_per_block": 2,
        "down_block_types": vec!["DownEncoderBlock2D"; 4], "up_block_types": vec!["UpDecoderBlock2D"; 4],
        "scaling_factor": if is_xl { 0.13025 } else { 0.18215 }, "force_upcast": is_xl,
    })
}

fn unet_names(config: &Config) -> Tensors {
    tensors(Names::of(&Unet::from_config(config).unwrap()))
}

fn autoencoder_names(config: &Config) -> Tensors {
    let shape = KlConfig::from_config(config).unwrap();
    let decoder = Names::of(&KlDecoder(shape.clone()));
    tensors(Names::of(&KlEncoder(shape)).into_iter().chain(decoder).collect())
}

fn text_names(config: &Config, is_pooled: bool) -> Tensors {
    let reading = if is_pooled { Reading::BeforeLastAndPooled } else { Reading::Last };
    tensors(Names::of(&ClipText::from_config(config, reading).unwrap()))
}

fn tensors(names: Vec<(String, Vec<usize>)>) -> Tensors {
    names.into_iter().map(|(name, shape)| (name, (shape, Vec::new()))).collect()
}

/// A file of zeros in half precision that takes no room on the disk.
fn write_sparse(path: &Path, tensors: &Tensors) {
    let (mut end, mut header) = (0, serde_json::Map::new());
    for (name, (shape, _)) in tensors {
        let start = end;
        end += 2 * shape.iter().product::<usize>();
        let entry = json!({"dtype": "F16", "shape": shape, "data_offsets": [start, end]});
        header.insert(name.clone(), entry);
    }
    let header = serde_json::to_vec(&header).unwrap();
    let mut file = File::create(path).unwrap();
    file.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
    file.write_all(&header).unwrap();
    file.set_len((8 + header.len() + end) as u64).unwrap();
}

/// The published checkpoint's names and shapes, of `encoders` text encoders, in the original layout.
fn published_layout(unet: &Value, texts: &[Value]) -> Tensors {
    let told = |values: &Value| Config::inferred("told".into(), values.clone());
    let is_xl = texts.len() == 2;
    let attention = unet["down_block_types"].as_array().unwrap();
    let attention = attention.iter().map(|kind| kind != "DownBlock2D").collect();
    let mut all = layout::unet(&unet_names(&told(unet)), &Blocks { layers: 2, attention });
    let autoencoder = autoencoder_names(&told(&autoencoder_config(is_xl)));
    all.extend(layout::autoencoder(&autoencoder, 4));
    match texts {
        [clip, open_clip] => {
            all.extend(layout::clip(&text_names(&told(clip), false), CLIP_XL));
            all.extend(layout::open_clip(&text_names(&told(open_clip), true), OPEN_CLIP_XL));
        }
        [clip] if clip["hidden_size"] == 768 => {
            all.extend(layout::clip(&text_names(&told(clip), false), CLIP));
        }
        [open_clip] => {
            // The files have a layer more than is read.
            let mut whole = open_clip.clone();
            whole["num_hidden_layers"] = json!(24);
            all.extend(layout::open_clip(&text_names(&told(&whole), true), OPEN_CLIP));
        }
        _ => unreachable!("one or two"),
    }
    all
}

#[test]
fn the_published_architectures_are_told_by_their_files() {
    for (name, unet, texts) in published() {
        let place = tempfile::tempdir().unwrap();
        // To be looked at by other programs.
        let folder =
            std::env::var_os("KEEP_LAYOUTS").map_or(place.path().to_owned(), PathBuf::from);
        let path = folder.join(name).with_extension("safetensors");
        write_sparse(&path, &published_layout(&unet, &texts));
        let file = OriginalFile::open(&path).unwrap();
        let is_xl = texts.len() == 2;
        check_published(name, &file, &unet, &texts);
        let files = ModelFiles::open(&path).unwrap();
        for own in Family::of(&files).unwrap().encoders() {
            let is_open_clip = name == "sd21" || own.encoder == Component::TextEncoder2;
            let padding = files.tokenizer(*own).unwrap().encode("a cat", 77)[76];
            assert_eq!(padding, if is_open_clip { 0 } else { 49407 }, "{name} {:?}", own.encoder);
        }
        assert_eq!(Family::of(&files).unwrap() == Family::Sdxl, is_xl, "{name}");
        assert_eq!(file.warning().is_some(), name == "sd21");
    }
}

fn check_published(name: &str, file: &OriginalFile, unet: &Value, texts: &[Value]) {
    let config = file.config(Component::Unet).unwrap();
    for (key, told) in unet.as_object().unwrap() {
        let found = config.get(key).unwrap();
        let fits = found == told
            || found.as_array().is_some_and(|list| list.iter().all(|entry| entry == told));
        assert!(fits, "{name} {key}: {found}");
    }
    check(file, Component::Unet, unet_names(&config));
    let config = file.config(Component::Autoencoder).unwrap();
    for (key, told) in autoencoder_config(texts.len() == 2).as_object().unwrap() {
        assert_eq!(config.get(key), Some(told), "{name} {key}");
    }
    check(file, Component::Autoencoder, autoencoder_names(&config));
    for (component, told) in
        [Component::TextEncoder, Component::TextEncoder2].into_iter().zip(texts)
    {
        let config = file.config(component).unwrap();
        // The projection is read of the second one of XL alone.
        let told = told.as_object().unwrap().iter().filter(|(key, _)| *key != "projection_dim");
        for (key, told) in told {
            assert_eq!(config.get(key), Some(told), "{name} {key}");
        }
        check(file, component, text_names(&config, component == Component::TextEncoder2));
    }
}

fn check(file: &OriginalFile, component: Component, wanted: Tensors) {
    let view = file.view(component).unwrap();
    assert!(wanted.len() > 150, "{component:?}");
    for (name, (shape, _)) in wanted {
        view.find(&name, &shape).unwrap_or_else(|error| panic!("{error}"));
    }
}

#[test]
fn what_is_no_whole_checkpoint_is_told_by_what_it_lacks() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("one.safetensors");
    let open = |tensors: &Tensors| {
        write(&path, tensors, None);
        write_configs("sd15-tiny", &place.path().join("one.config"));
        let engine = &crate::support::engines()[1];
        let loaded = Checkpoint::load(engine, Parts::new(&path, &path), &mut |_, _| true);
        loaded.map(drop).unwrap_err().to_string()
    };
    let whole = original("sd15-tiny");
    let without = |prefix: &str| -> Tensors {
        whole.clone().into_iter().filter(|(name, _)| !name.starts_with(prefix)).collect()
    };
    for (prefix, parts) in [
        ("model.", ["has no unet", "`model.diffusion_model.…`"]),
        ("first_stage_model.", ["has no vae", "`vae_id`"]),
        ("cond_stage_model.", ["has no text_encoder", "`cond_stage_model.transformer.…`"]),
        ("model.diffusion_model.out.2.bias", ["no tensor `conv_out.bias`", "one.safetensors"]),
    ] {
        let error = open(&without(prefix));
        for part in parts {
            assert!(error.contains(part), "{prefix}: {error}");
        }
    }
    let folder = models().join("sd15-tiny");
    let error = open(&read(&folder, Component::Unet));
    assert!(error.contains("has no unet"), "{error}");
}

#[test]
fn a_model_that_predicts_v_is_refused_where_its_file_tells() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("one.safetensors");
    let (tensors, beside) = (original("sdturbo-tiny"), place.path().join("one.config"));
    write_configs("sdturbo-tiny", &beside);
    let load = |told: Option<&str>| {
        let metadata = told
            .map(|told| HashMap::from([("modelspec.prediction_type".to_owned(), told.to_owned())]));
        write(&path, &tensors, metadata);
        let engine = &crate::support::engines()[1];
        let loaded = Checkpoint::load(engine, Parts::new(&path, &path), &mut |_, _| true);
        loaded.map(|checkpoint| checkpoint.warnings).map_err(|error| error.to_string())
    };
    assert_eq!(load(Some("epsilon")), Ok(vec![]));
    assert!(load(Some("v")).unwrap_err().contains("`prediction_type` is \"v_prediction\""));
    let warnings = load(None).unwrap();
    assert!(warnings.len() == 1 && warnings[0].contains("predicts `v`"), "{warnings:?}");
    let scheduler = beside.join("scheduler");
    std::fs::create_dir_all(&scheduler).unwrap();
    std::fs::write(
        scheduler.join("scheduler_config.json"),
        r#"{"prediction_type": "v_prediction"}"#,
    )
    .unwrap();
    assert!(load(None).unwrap_err().contains("scheduler_config.json: `prediction_type`"));
}
