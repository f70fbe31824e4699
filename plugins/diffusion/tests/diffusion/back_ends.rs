//! What both back ends must do alike beside the golden cases: half-precision weights, and errors that help.

use std::path::{Path, PathBuf};

use half::f16;
use plugins_diffusion::config::Config;
use plugins_diffusion::engine::{Engine, Model};
use plugins_diffusion::nets::{Dim, KlConfig, KlDecoder, Network, Port, Unet};
use plugins_diffusion::noise::Generator;
use plugins_diffusion::onnx::{Dialect, Provider, write};
use plugins_diffusion::ops::{Ops, Values};
use plugins_diffusion::tensor::Tensor;
use plugins_diffusion::weights::Weights;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView, serialize_to_file};

use crate::support::provider;

pub fn unet_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/test/sd15-tiny/unet")
}

pub fn network() -> Unet {
    Unet::from_config(&Config::read(&unet_folder().join("config.json")).unwrap()).unwrap()
}

pub fn weights() -> PathBuf {
    unet_folder().join("diffusion_pytorch_model.safetensors")
}

pub fn run(unet: &Model<Unet>) -> Tensor {
    let mut generator = Generator::new(1);
    let timesteps = Tensor::new([2], vec![359.0, 99.0]);
    unet.run(&[&generator.normal([2, 4, 8, 8]), &timesteps, &generator.normal([2, 77, 32])])
        .unwrap()
}

pub fn largest_difference(a: &Tensor, b: &Tensor) -> f32 {
    a.data().iter().zip(b.data()).fold(0.0, |largest, (a, b)| f32::max(largest, (a - b).abs()))
}

/// The weights with every tensor changed by `change`, which may also drop it.
pub fn rewrite(
    path: &Path,
    change: impl Fn(&str, &TensorView<'_>) -> Option<(Dtype, Vec<usize>, Vec<u8>)>,
) {
    let bytes = std::fs::read(weights()).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap().tensors();
    let changed: Vec<_> = tensors
        .iter()
        .filter_map(|(name, view)| Some((name.clone(), change(name, view)?)))
        .collect();
    let views = changed.iter().map(|(name, (dtype, shape, data))| {
        (name.as_str(), TensorView::new(*dtype, shape.clone(), data).unwrap())
    });
    serialize_to_file(views, None, path).unwrap();
}

fn same(view: &TensorView<'_>) -> (Dtype, Vec<usize>, Vec<u8>) {
    (view.dtype(), view.shape().to_vec(), view.data().to_vec())
}

#[test]
fn half_precision_weights_run_on_both() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("half.safetensors");
    rewrite(&path, |_, view| {
        let values = view.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()));
        let halves = values.flat_map(|value| f16::from_f32(value).to_le_bytes()).collect();
        Some((Dtype::F16, view.shape().to_vec(), halves))
    });
    let outputs: Vec<[Tensor; 2]> = crate::support::engines()
        .iter()
        .map(|engine| {
            [&path, &weights()]
                .map(|path| run(&engine.load(network(), path, &mut || true).unwrap()))
        })
        .collect();
    let [[onnx_half, onnx_full], [candle_half, _]] = &outputs[..] else { panic!("two engines") };
    let lost = largest_difference(onnx_half, onnx_full);
    assert!(
        lost > 0.0 && lost < 0.02,
        "rounding the weights changes the result a little, by {lost}"
    );
    let apart = largest_difference(onnx_half, candle_half);
    // CUDA computes with halves as well.
    let allowed = if provider() == Provider::Cuda { 0.02 } else { 1e-4 };
    assert!(apart < allowed, "both read the same halves, apart by {apart}");
}

/// So large that operators of our own work on several pieces at once.
#[test]
fn a_large_picture_that_is_not_square_is_the_same_on_both() {
    let mut generator = Generator::new(1);
    let sample = generator.normal([2, 4, 56, 40]);
    let texts = generator.normal([2, 77, 32]);
    let timesteps = Tensor::new([2], vec![359.0, 99.0]);
    let run = |engine: &Engine| {
        let unet = engine.load(network(), &weights(), &mut || true).unwrap();
        unet.run(&[&sample, &timesteps, &texts]).unwrap()
    };
    let outputs: Vec<Tensor> = crate::support::engines().iter().map(run).collect();
    let apart = largest_difference(&outputs[0], &outputs[1]);
    assert!(apart < 1e-4, "apart by {apart}");
}

#[test]
fn weights_behind_a_link_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("diffusion_pytorch_model.safetensors");
    std::os::unix::fs::symlink(weights(), &link).unwrap();
    for engine in crate::support::engines() {
        let difference = largest_difference(
            &run(&engine.load(network(), &link, &mut || true).unwrap()),
            &run(&engine.load(network(), &weights(), &mut || true).unwrap()),
        );
        assert_eq!(difference, 0.0);
    }
}

fn load_error(engine: &Engine, path: &Path) -> String {
    engine.load(network(), path, &mut || true).map(drop).unwrap_err().to_string()
}

#[test]
fn a_missing_or_misshapen_tensor_is_named_before_anything_runs() {
    let folder = tempfile::tempdir().unwrap();
    let (missing, misshapen) =
        (folder.path().join("missing.safetensors"), folder.path().join("shape.safetensors"));
    rewrite(&missing, |name, view| (name != "conv_out.bias").then(|| same(view)));
    rewrite(&misshapen, |name, view| {
        let (dtype, shape, data) = same(view);
        Some(if name == "conv_out.bias" { (dtype, vec![2, 2], data) } else { (dtype, shape, data) })
    });
    for engine in crate::support::engines() {
        let error = load_error(&engine, &missing);
        assert!(
            error.contains("`conv_out.bias` of shape [4]") && error.contains("missing.safetensors"),
            "{error}"
        );
        let error = load_error(&engine, &misshapen);
        assert!(
            error.contains("`conv_out.bias`") && error.contains("[2, 2]") && error.contains("[4]"),
            "{error}"
        );
        let error = load_error(&engine, &folder.path().join("absent.safetensors"));
        assert!(error.contains("absent.safetensors"), "{error}");
    }
}

#[test]
fn inputs_of_the_wrong_shape_are_refused() {
    for engine in crate::support::engines() {
        let unet = engine.load(network(), &weights(), &mut || true).unwrap();
        let [sample, timestep] = [Tensor::zeros([1, 4, 8, 8]), Tensor::zeros([1])];
        let error =
            unet.run(&[&sample, &timestep, &Tensor::zeros([1, 77, 64])]).unwrap_err().to_string();
        assert!(
            error.contains("`encoder_hidden_states`") && error.contains("[1, 77, 64]"),
            "{error}"
        );
        assert!(unet.run(&[&sample, &timestep]).is_err());
    }
}

#[test]
fn an_unknown_block_type_names_file_key_and_what_is_supported() {
    let folder = tempfile::tempdir().unwrap();
    let config = std::fs::read_to_string(unet_folder().join("config.json")).unwrap();
    let path = folder.path().join("config.json");
    for (old, new, key) in [
        ("\"DownBlock2D\"", "\"AttnDownBlock2D\"", "`down_block_types`"),
        ("\"act_fn\": \"silu\"", "\"act_fn\": \"mish\"", "`act_fn`"),
        ("\"norm_num_groups\": 8", "\"norm_num_groups\": 7", "`norm_num_groups`"),
        ("\"attention_head_dim\": 8", "\"attention_head_dim\": [8, 8]", "`attention_head_dim`"),
        (
            "\"addition_embed_type\": null",
            "\"addition_embed_type\": \"text_time\"",
            "`addition_time_embed_dim`",
        ),
        ("\"UpBlock2D\",", "\"CrossAttnUpBlock2D\",", "`up_block_types`"),
    ] {
        std::fs::write(&path, config.replacen(old, new, 1)).unwrap();
        let error =
            Unet::from_config(&Config::read(&path).unwrap()).map(drop).unwrap_err().to_string();
        assert!(
            error.contains(key) && error.contains("config.json") && error.contains("supported: "),
            "{error}"
        );
    }
}

/// A tensor of halves, times the input.
struct Product {
    needs_full_precision: bool,
}

impl Network for Product {
    fn inputs(&self) -> Vec<Port> {
        vec![Port { name: "x".into(), dims: vec![Dim::Fixed(1)] }]
    }

    fn outputs(&self) -> Vec<Port> {
        ["product", "sum"].map(|name| Port { name: name.into(), dims: vec![Dim::Fixed(1)] }).into()
    }

    fn forward<O: Ops>(&self, ops: &O, inputs: &[O::T]) -> Values<O> {
        let weight = ops.param("weight", &[1])?;
        Ok(vec![ops.mul(&inputs[0], &weight)?, ops.add(&inputs[0], &weight)?])
    }

    fn needs_full_precision(&self) -> bool {
        self.needs_full_precision
    }
}

fn product(folder: &Path) -> PathBuf {
    let path = folder.join("product.safetensors");
    let bytes = f16::from_f32(3.0).to_le_bytes();
    let view = TensorView::new(Dtype::F16, vec![1], &bytes).unwrap();
    serialize_to_file([("weight", view)], None, &path).unwrap();
    path
}

#[test]
fn a_network_gives_all_its_outputs_in_their_order() {
    let folder = tempfile::tempdir().unwrap();
    let path = product(folder.path());
    for engine in crate::support::engines() {
        let network = Product { needs_full_precision: false };
        let model = engine.load(network, &path, &mut || true).unwrap();
        let x = Tensor::new([1], vec![5.0]);
        let outputs = model.run_all(&[&x]).unwrap();
        assert_eq!(outputs, [15.0, 8.0].map(|value| Tensor::new([1], vec![value])));
        assert_eq!(model.run(&[&x]).unwrap(), outputs[0]);
    }
}

#[test]
fn only_the_cpu_is_given_operators_of_our_own() {
    let weights = Weights::open(&weights()).unwrap();
    let own = |dialect| {
        let model = write(&network(), &weights, dialect).unwrap();
        let is_own = |domain: &str| domain == "streamdiffusion.host";
        let nodes = model.graph.unwrap().node;
        (
            nodes.iter().any(|node| is_own(&node.domain)),
            model.opset_import.iter().any(|import| is_own(&import.domain)),
        )
    };
    assert_eq!(own(Dialect::CPU), (true, true));
    assert_eq!([own(Dialect::CUDA), own(Dialect::PLAIN)], [(false, false); 2]);
}

#[test]
fn what_overflows_halves_is_computed_in_full_precision() {
    let folder = tempfile::tempdir().unwrap();
    let weights = Weights::open(&product(folder.path())).unwrap();
    let dialect = Dialect { has_half: true, ..Dialect::PLAIN };
    let casts_weight = |needs_full_precision| {
        let graph = write(&Product { needs_full_precision }, &weights, dialect).unwrap();
        let nodes = graph.graph.unwrap().node;
        nodes.iter().any(|node| node.op_type == "Cast" && node.input == ["weight"])
    };
    assert!(casts_weight(true), "the weight becomes f32");
    assert!(!casts_weight(false), "all else becomes f16");

    let kl = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/test/sdxl-tiny/vae");
    let config = Config::read(&kl.join("config.json")).unwrap();
    assert!(KlDecoder(KlConfig::from_config(&config).unwrap()).needs_full_precision());
}
