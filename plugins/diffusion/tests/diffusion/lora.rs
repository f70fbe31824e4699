//! LoRAs beside their golden cases: that files do not get in each other's way, that names and formats do not matter,
//! and that a file which cannot be used says why.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use plugins_diffusion::engine::{Backend, Engine, Source};
use plugins_diffusion::folder::{Checkpoint, Parts, check_loras};
use plugins_diffusion::lora::{Lora, LoraError, Loras, Part, Patches};
use plugins_diffusion::noise::Generator;
use plugins_diffusion::onnx;
use plugins_diffusion::tensor::Tensor;
use plugins_diffusion::weights::Weights;
use safetensors::tensor::{Dtype, TensorView, serialize_to_file};

use crate::back_ends::{largest_difference, network, rewrite, run, weights};

const QUERY: &str = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q";
const CONV: &str = "lora_unet_mid_block_resnets_0_conv1";
const RANK: usize = 4;

type ToHalf = fn(f32) -> [u8; 2];

/// A tensor for a file: name, shape, values.
type Entry = (String, Vec<usize>, Vec<f32>);

fn entry(name: impl Into<String>, shape: &[usize]) -> Entry {
    let name = name.into();
    let seed = name.bytes().fold(7, |seed: u64, byte| seed.wrapping_mul(31) + u64::from(byte));
    (name, shape.to_vec(), Generator::new(seed).normal(shape).into_data())
}

/// The two matrices for a linear layer of width 32.
fn query(module: &str) -> Vec<Entry> {
    let name = |end: &str| format!("{module}.{end}.weight");
    vec![entry(name("lora_down"), &[RANK, 32]), entry(name("lora_up"), &[32, RANK])]
}

fn conv(module: &str) -> Vec<Entry> {
    let name = |end: &str| format!("{module}.{end}.weight");
    vec![entry(name("lora_down"), &[RANK, 32, 3, 3]), entry(name("lora_up"), &[32, RANK, 1, 1])]
}

fn write(path: &Path, entries: &[Entry]) {
    write_with(path, entries, None);
}

fn write_with(path: &Path, entries: &[Entry], metadata: Option<HashMap<String, String>>) {
    let bytes: Vec<Vec<u8>> = entries
        .iter()
        .map(|(_, _, values)| values.iter().flat_map(|value| value.to_le_bytes()).collect())
        .collect();
    let views = entries.iter().zip(&bytes).map(|((name, shape, _), data)| {
        (name.as_str(), TensorView::new(Dtype::F32, shape.clone(), data).unwrap())
    });
    serialize_to_file(views, metadata, path).unwrap();
}

fn models() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/test")
}

fn recorded(name: &str) -> PathBuf {
    models().join("lora-sd15-tiny").join(name)
}

fn lora(path: impl Into<PathBuf>, scale: f32) -> Lora {
    Lora { path: path.into(), scale }
}

fn patches(loras: &[Lora]) -> Result<Patches, LoraError> {
    let mut loras = Loras::open(loras)?;
    let patches = loras.patches(Part::Unet, &network(), &weights())?;
    loras.leftovers()?;
    Ok(patches)
}

/// The weights that LoRAs change, by name.
fn fused(loras: &[Lora]) -> BTreeMap<String, Vec<f32>> {
    let (patches, file) = (patches(loras).unwrap(), Weights::open(&weights()).unwrap());
    let params = onnx::check(&network(), &file).unwrap().into_iter();
    params
        .filter(|(param, _)| patches.has(param))
        .map(|(param, (_, place))| {
            let values = patches.fuse(&param, &file, place).unwrap().into_floats();
            (param, values)
        })
        .collect()
}

fn assert_close(a: &BTreeMap<String, Vec<f32>>, b: &BTreeMap<String, Vec<f32>>, what: &str) {
    assert!(a.len() > 1 && a.keys().eq(b.keys()), "{what}");
    for (param, values) in a {
        for (a, b) in values.iter().zip(&b[param]) {
            assert!((a - b).abs() <= 1e-5 * a.abs().max(1.0), "{what}, {param}: {a} and {b}");
        }
    }
}

#[test]
fn files_add_up_whatever_their_order() {
    let folder = tempfile::tempdir().unwrap();
    let own = folder.path().join("own.safetensors");
    write(&own, &[query(QUERY), conv(CONV)].concat());
    let files = [recorded("kohya.safetensors"), recorded("pytorch_lora_weights.safetensors"), own];
    for seed in 0..6 {
        let scales = Generator::new(seed).normal([3]);
        let mut loras: Vec<Lora> =
            files.iter().zip(scales.data()).map(|(file, &scale)| lora(file, scale)).collect();
        let wanted = fused(&loras);
        loras.rotate_left(1 + seed as usize % 2);
        assert_close(&fused(&loras), &wanted, &format!("rotated, seed {seed}"));
        loras.swap(0, 1);
        assert_close(&fused(&loras), &wanted, &format!("swapped, seed {seed}"));
        let scale = scales.data()[0];
        let (twice, once) =
            ([lora(&files[0], scale), lora(&files[0], scale)], [lora(&files[0], 2.0 * scale)]);
        assert_close(&fused(&twice), &fused(&once), &format!("doubled, seed {seed}"));
    }
}

#[test]
fn a_lora_without_strength_changes_no_bit() {
    let file = recorded("kohya.safetensors");
    let (none, still) = (Patches::NONE, patches(&[lora(&file, 0.0)]).unwrap());
    let loud = patches(&[lora(&file, 0.5)]).unwrap();
    for engine in crate::support::engines() {
        let path = weights();
        let picture = |patches| {
            let source = Source { weights: &path, patches };
            run(&engine.load(network(), source, &mut || true).unwrap())
        };
        assert_eq!(picture(&still), picture(&none));
        assert!(largest_difference(&picture(&loud), &picture(&none)) > 0.01);
    }
    assert_ne!(loud.digest(), patches(&[lora(&file, 0.6)]).unwrap().digest());
}

#[test]
fn halves_stay_halves_and_both_back_ends_agree() {
    let folder = tempfile::tempdir().unwrap();
    let formats: [(Dtype, ToHalf); 2] = [
        (Dtype::F16, |value| f16::from_f32(value).to_le_bytes()),
        (Dtype::BF16, |value| bf16::from_f32(value).to_le_bytes()),
    ];
    for (dtype, convert) in formats {
        let path = folder.path().join(format!("{dtype:?}.safetensors"));
        rewrite(&path, |_, view| {
            let values =
                view.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()));
            Some((dtype, view.shape().to_vec(), values.flat_map(convert).collect()))
        });
        let mut loras = Loras::open(&[lora(recorded("kohya.safetensors"), 0.7)]).unwrap();
        let patches = &loras.patches(Part::Unet, &network(), &path).unwrap();
        let outputs: Vec<Tensor> = crate::support::engines()
            .iter()
            .map(|engine| {
                let source = Source { weights: &path, patches };
                run(&engine.load(network(), source, &mut || true).unwrap())
            })
            .collect();
        let apart = largest_difference(&outputs[0], &outputs[1]);
        assert!(apart < 1e-4, "{dtype:?}: apart by {apart}");
        let plain =
            run(&crate::support::engines()[1].load(network(), &path, &mut || true).unwrap());
        assert!(largest_difference(&outputs[1], &plain) > 0.01, "{dtype:?}: no effect");
    }
}

#[test]
fn the_original_names_mean_the_same_modules() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let with_values_of = |entries: Vec<Entry>, like: Vec<Entry>| -> Vec<Entry> {
        entries
            .into_iter()
            .zip(like)
            .map(|((name, shape, _), (.., values))| (name, shape, values))
            .collect()
    };
    let (diffusers, original) = (path("diffusers.safetensors"), path("original.safetensors"));
    let wanted = [query(QUERY), conv(CONV)].concat();
    let block = "lora_unet_input_blocks_1_1_transformer_blocks_0_attn1_to_q";
    let renamed = [query(block), conv("lora_unet_middle_block_0_in_layers_2")].concat();
    write(&diffusers, &wanted);
    write(&original, &with_values_of(renamed, wanted));
    assert_eq!(fused(&[lora(original, 1.0)]), fused(&[lora(diffusers, 1.0)]));
}

#[test]
fn the_alpha_comes_from_a_tensor_or_from_the_metadata() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let [plain, tensor, metadata, stabilised] = ["plain", "tensor", "metadata", "stabilised"]
        .map(|name| path(&format!("{name}.safetensors")));
    let matrices = [query(QUERY), conv(CONV)].concat();
    let alphas = [QUERY, CONV].map(|module| (format!("{module}.alpha"), vec![], vec![2.0]));
    let settings =
        |text: &str| Some(HashMap::from([("lora_adapter_metadata".into(), text.into())]));
    write(&plain, &matrices);
    write(&tensor, &[&matrices[..], &alphas].concat());
    write_with(&metadata, &matrices, settings(r#"{"unet.r": 4, "unet.lora_alpha": 2}"#));
    write_with(&stabilised, &matrices, settings(r#"{"unet.use_rslora": true}"#));
    let half = fused(&[lora(&plain, 0.5)]);
    assert_eq!(fused(&[lora(&tensor, 1.0)]), half);
    assert_eq!(fused(&[lora(&metadata, 1.0)]), half);
    let refusal = patches(&[lora(&stabilised, 1.0)]).unwrap_err().to_string();
    assert!(
        refusal.contains("unet.use_rslora") && refusal.contains("rank-stabilised"),
        "{refusal}"
    );
}

#[test]
fn the_text_encoder_is_changed_too_and_what_does_not_fit_is_told() {
    let engine = Engine::start(&crate::support::options(Backend::Onnx)).unwrap();
    let (folder, vae) = (models().join("sd15-tiny"), models().join("taesd-tiny"));
    let load = |loras: &[Lora]| {
        let parts = Parts { loras, ..Parts::new(&folder, &vae) };
        Checkpoint::load(&engine, parts, &mut |_, _| true).unwrap()
    };
    let embedding = |checkpoint: &Checkpoint| checkpoint.texts.embed("a cat").unwrap();
    let plain = load(&[]);
    assert_eq!(plain.warnings, [""; 0]);
    let files = tempfile::tempdir().unwrap();
    for (index, module) in [
        "lora_te_text_model_encoder_layers_0_self_attn_q_proj",
        "lora_te1_text_model_encoder_layers_0_self_attn_q_proj",
        "text_encoder.text_model.encoder.layers.0.self_attn.q_proj",
    ]
    .into_iter()
    .enumerate()
    {
        let path = files.path().join(format!("{index}.safetensors"));
        let strangers = [query("lora_te2_text_model_x"), vec![entry("odd", &[1])]].concat();
        write(&path, &[query(module), strangers].concat());
        let changed = load(&[lora(path, 1.0)]);
        let apart = largest_difference(embedding(&changed).hidden(), embedding(&plain).hidden());
        assert!(apart > 1e-3, "{module} has no effect");
        let [warning] = &changed.warnings[..] else { panic!("{:?}", changed.warnings) };
        for part in ["1 of its modules", "2 more fit nothing", "lora_te2_text_model_x", "`odd`"] {
            assert!(warning.contains(part), "{part} is not in: {warning}");
        }
    }
}

/// What is said of a file with these tensors.
fn refusal(entries: &[Entry], scale: f32) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bad.safetensors");
    write(&path, entries);
    let lora = [lora(path, scale)];
    let error = patches(&lora).and_then(|patches| {
        let file = Weights::open(&weights()).unwrap();
        let params = onnx::check(&network(), &file).unwrap();
        let changed = params.into_iter().filter(|(param, _)| patches.has(param));
        for (param, (_, place)) in changed {
            patches.fuse(&param, &file, place)?;
        }
        Ok(())
    });
    let message = error.unwrap_err().to_string();
    assert!(!message.contains("\n"), "{message}");
    message
}

#[test]
fn a_file_that_cannot_be_merged_says_what_is_wrong_with_it() {
    let (down, up) = (format!("{QUERY}.lora_down.weight"), format!("{QUERY}.lora_up.weight"));
    let both = |a: &[usize], b: &[usize]| vec![entry(&*down, a), entry(&*up, b)];
    let with = |name: &str, shape: &[usize], values: &[f32]| {
        let mut entries = query(QUERY);
        entries.push((format!("{QUERY}.{name}"), shape.to_vec(), values.to_vec()));
        entries
    };
    let changed = |index: usize, value: f32| {
        let mut entries = query(QUERY);
        entries[index].2[5] = value;
        entries
    };
    let cases: [(&str, Vec<Entry>, f32, &[&str]); 19] = [
        ("no up", query(QUERY)[..1].to_vec(), 1.0, &["lora_down", "no up matrix"]),
        ("no down", query(QUERY)[1..].to_vec(), 1.0, &["lora_up", "no down matrix"]),
        ("rank 0", both(&[0, 32], &[32, 0]), 1.0, &["has rank 0", "1 to 4096"]),
        ("no shape", both(&[], &[32, 4]), 1.0, &["has rank 0"]),
        ("high rank", both(&[5000, 32], &[32, 5000]), 1.0, &["has rank 5000"]),
        (
            "wide",
            both(&[4, 33], &[32, 4]),
            1.0,
            &["lora_down", "[4, 33]", "[32, 32]", "to_q.weight"],
        ),
        ("tall", both(&[4, 32], &[33, 4]), 1.0, &["lora_up", "[33, 4]", "[32, 32]"]),
        ("ranks", both(&[4, 32], &[32, 5]), 1.0, &["lora_up", "[32, 5]"]),
        ("flat up", both(&[4, 32], &[128]), 1.0, &["lora_up", "[128]"]),
        ("kernel", both(&[4, 32, 3, 3], &[32, 4, 1, 1]), 1.0, &["lora_down", "[4, 32, 3, 3]"]),
        ("nan down", changed(0, f32::NAN), 1.0, &["lora_down", "no finite numbers"]),
        ("infinite up", changed(1, f32::INFINITY), 1.0, &["lora_up", "no finite numbers"]),
        ("nan alpha", with("alpha", &[], &[f32::NAN]), 1.0, &["alpha", "no finite numbers"]),
        ("long alpha", with("alpha", &[2], &[1.0, 1.0]), 1.0, &["alpha", "single number", "[2]"]),
        ("too large", changed(1, f32::MAX), 100.0, &["too large", "F32"]),
        ("dora", with("dora_scale", &[1], &[1.0]), 1.0, &["DoRA", "dora_scale"]),
        ("nan scale", query(QUERY), f32::NAN, &["strength", "NaN", "-100 to 100"]),
        ("scale", query(QUERY), 100.5, &["strength", "100.5"]),
        ("empty", vec![], 1.0, &["nothing in", "no tensors", "lora_unet_conv_in", "unet.conv_in"]),
    ];
    for (what, entries, scale, parts) in cases {
        let message = refusal(&entries, scale);
        assert!(parts.iter().all(|part| message.contains(part)), "{what}: {message}");
        assert!(message.contains("bad.safetensors") || what == "too large", "{what}: {message}");
    }
    let twice = refusal(
        &[
            query(QUERY),
            vec![entry(
                "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.lora_A.weight",
                &[4, 32],
            )],
        ]
        .concat(),
        1.0,
    );
    assert!(twice.contains("same module"), "{twice}");
}

#[test]
fn a_file_for_other_models_says_for_which() {
    let module = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k";
    for (width, family) in [(768, "1.x"), (1024, "2.x"), (2048, "XL"), (31, "")] {
        let name = |end: &str| format!("{module}.{end}.weight");
        let wrong = [entry(name("lora_down"), &[4, width]), entry(name("lora_up"), &[320, 4])];
        let message = refusal(&wrong, 1.0);
        let family = format!("looks made for Stable Diffusion {family}");
        assert_eq!(message.contains(&family), width != 31, "{message}");
        assert!(message.contains(&format!("[4, {width}]")) && message.contains("[32, 32]"));
    }
}

#[test]
fn a_file_of_which_nothing_fits_lists_some_of_it_and_what_would_fit() {
    let many: Vec<Entry> =
        (10..30).map(|index| entry(format!("x{index}{}", "y".repeat(5000)), &[1])).collect();
    let message = refusal(&many, 1.0);
    assert_eq!(message.matches("`x").count(), 8, "{message}");
    assert!(message.len() < 2000 && message.contains("looked for were `lora_unet_"), "{message}");
}

#[test]
fn a_damaged_file_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bad.safetensors");
    let whole = std::fs::read(recorded("kohya.safetensors")).unwrap();
    for bytes in [
        &whole[..whole.len() - 1],
        &whole[..100],
        &whole[..7],
        b"\xff\xff\xff\xff\xff\xff\xff\xff{}",
        &[],
    ] {
        std::fs::write(&path, bytes).unwrap();
        let message = Loras::open(&[lora(&path, 1.0)]).unwrap_err().to_string();
        assert!(message.contains("bad.safetensors is not a safetensors file"), "{message}");
    }
    let absent = Loras::open(&[lora("/nowhere/a.safetensors", 1.0)]).unwrap_err().to_string();
    assert!(absent.contains("/nowhere/a.safetensors"), "{absent}");
}

#[test]
fn whether_loras_fit_is_known_without_loading() {
    let folder = models().join("sd15-tiny");
    let check = |path| check_loras(&folder, &[lora(path, 1.0)]).map_err(|error| error.to_string());
    assert_eq!(check(recorded("kohya.safetensors")), Ok(vec![]));
    assert!(
        check(folder.join("unet/diffusion_pytorch_model.safetensors"))
            .unwrap_err()
            .contains("nothing in")
    );
}
