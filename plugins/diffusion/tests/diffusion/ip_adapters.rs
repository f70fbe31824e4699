//! IP-Adapters beyond what is recorded: their files, and kinds of them.

use std::path::Path;

use plugins_diffusion::config::Config;
use plugins_diffusion::files::Stored;
use plugins_diffusion::nets::{ADAPTER, ImageProjection, Seen, Unet};
use plugins_diffusion::tensor::Tensor;
use plugins_diffusion::weights::Weights;
use safetensors::tensor::{Dtype, TensorView, serialize_to_file};

use crate::cases::unet_inputs;
use crate::ip_adapter_cases::{file, load_unet, scales};
use crate::support::{Golden, engines};

const ADAPTER_OF_SD15: &str = "ip-adapter-sd15-tiny";

/// An adapter may lie anywhere on the disk.
#[test]
fn an_adapter_of_no_scale_changes_nothing_and_every_layer_counts() {
    let golden = Golden::checked_in();
    let case = golden.case("ipadapter_sd15");
    let elsewhere = tempfile::tempdir().unwrap();
    let copy = elsewhere.path().join(ADAPTER_OF_SD15).join("ip-adapter.safetensors");
    std::fs::create_dir_all(copy.parent().unwrap()).unwrap();
    std::fs::copy(file(&golden, ADAPTER_OF_SD15), &copy).unwrap();
    let base = golden.checkpoints.join("sd15-tiny/unet/diffusion_pytorch_model.safetensors");
    for engine in engines() {
        let unet = load_unet(&golden, "sd15-tiny", ADAPTER_OF_SD15, 4, &engine);
        let network = unet.network().clone();
        let far = Stored::file(&base).with(ADAPTER, &copy);
        let far = engine.load(network, &far, &mut || true).unwrap();
        let plain = Unet::from_config(&Config::read(&base.with_file_name("config.json")).unwrap());
        let plain = engine.load(plain.unwrap(), &base, &mut || true).unwrap();
        let usual = unet_inputs(&case);
        let tokens = case.float("image_tokens").repeat_rows(usual[0].shape()[0]);
        let run = |scales: &Tensor| {
            let inputs: Vec<&Tensor> = usual.iter().chain([&tokens, scales]).collect();
            far.run(&inputs).unwrap()
        };
        let without = plain.run(&usual.iter().collect::<Vec<_>>()).unwrap();
        let none = scales(&unet, 0.0);
        assert!(apart(&run(&none), &without) < 1e-5, "no scale");
        for layer in 0..none.shape()[0] {
            let mut one = none.clone();
            one.data_mut()[layer] = 1.0;
            assert!(apart(&run(&one), &without) > 1e-4, "layer {layer}");
        }
    }
}

#[test]
fn an_adapter_for_another_family_is_named_with_what_does_not_fit() {
    let golden = Golden::checked_in();
    let folder = golden.checkpoints.join("sd15-tiny/unet");
    let config = Config::read(&folder.join("config.json")).unwrap();
    let network = Unet::from_config(&config).unwrap().with_image_tokens(4);
    let weights = Stored::file(folder.join("diffusion_pytorch_model.safetensors"));
    let both = weights.with(ADAPTER, file(&golden, "ip-adapter-sdxl-tiny"));
    for engine in engines() {
        let loaded = engine.load(network.clone(), &both, &mut || true);
        let Err(error) = loaded else { panic!("it was taken") };
        let message = error.to_string();
        for part in ["ip-adapter-sdxl-tiny", "`ip_adapter.1.to_k_ip.weight`", "[32, 64]"] {
            assert!(message.contains(part), "{part}: {message}");
        }
    }
}

#[test]
fn an_adapter_for_faces_makes_its_tokens_of_a_faces_embedding() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("faceid.safetensors");
    write(
        &path,
        &[
            ("image_proj.proj.0.weight", &[2, 2], &[1.0, 0.0, 0.0, -1.0]),
            ("image_proj.proj.0.bias", &[2], &[0.0, 1.0]),
            ("image_proj.proj.2.weight", &[4, 2], &[1.0, 0.0, 0.0, 1.0, 1.0, 1.0, 2.0, 0.0]),
            ("image_proj.proj.2.bias", &[4], &[0.0, 0.0, 0.0, 3.0]),
            ("image_proj.norm.weight", &[2], &[1.0, 2.0]),
            ("image_proj.norm.bias", &[2], &[0.5, 0.0]),
        ],
    );
    let network = ImageProjection::of(&Weights::open(&path).unwrap()).unwrap();
    assert_eq!((network.seen(), network.tokens(), network.context()), (Seen::Face, 2, 2));
    for engine in engines() {
        let model = engine.load(network.clone(), &path, &mut || true).unwrap();
        let tokens = model.run(&[&Tensor::new([1, 2], vec![1.0, -1.0])]).unwrap();
        // Of 1 and 2 GELU makes 0.8413 and 1.9545: two tokens (0.8413, 1.9545) and (2.7958, 4.6827), each of which a
        // norm turns into -1 and 1.
        let wanted = Tensor::new([1, 2, 2], vec![-0.5, 2.0, -0.5, 2.0]);
        assert_eq!(tokens.shape(), wanted.shape());
        assert!(apart(&tokens, &wanted) < 1e-4, "{:?}", tokens.data());
    }
}

#[test]
fn a_file_that_is_no_adapter_is_refused_with_what_would_be_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file.safetensors");
    let refusal = |tensors: &[Described]| {
        write(&path, tensors);
        ImageProjection::of(&Weights::open(&path).unwrap()).unwrap_err().to_string()
    };
    let none = refusal(&[("conv_in.weight", &[1], &[0.0])]);
    assert!(none.contains("file.safetensors") && none.contains("FaceID"), "{none}");
    let norm: Described = ("image_proj.norm.weight", &[2], &[0.0; 2]);
    let uneven = refusal(&[norm, ("image_proj.proj.weight", &[3, 1], &[0.0; 3])]);
    assert!(uneven.contains("`image_proj.proj.weight`") && uneven.contains("[3, 1]"), "{uneven}");
    let flat = refusal(&[norm, ("image_proj.proj.weight", &[2], &[0.0; 2])]);
    assert!(flat.contains("number of axes"), "{flat}");
    let empty = refusal(&[
        ("image_proj.norm.weight", &[0], &[]),
        ("image_proj.proj.weight", &[1, 1], &[0.0]),
    ]);
    assert!(empty.contains("whole tokens"), "{empty}");
    let heads = refusal(&[
        ("image_proj.latents", &[1, 1, 1], &[0.0]),
        ("image_proj.proj_in.weight", &[1, 1], &[0.0]),
        ("image_proj.proj_out.weight", &[1, 1], &[0.0]),
        ("image_proj.layers.0.0.to_q.weight", &[1, 1], &[0.0]),
        ("image_proj.layers.0.1.1.weight", &[1, 1], &[0.0]),
    ]);
    assert!(heads.contains("width 64"), "{heads}");
}

/// Name, shape, values.
type Described<'a> = (&'a str, &'a [usize], &'a [f32]);

fn write(path: &Path, tensors: &[Described]) {
    let bytes: Vec<Vec<u8>> = tensors
        .iter()
        .map(|(_, _, values)| values.iter().flat_map(|value| value.to_le_bytes()).collect())
        .collect();
    let views = tensors.iter().zip(&bytes).map(|((name, shape, _), bytes)| {
        (*name, TensorView::new(Dtype::F32, shape.to_vec(), bytes).unwrap())
    });
    serialize_to_file(views, None, path).unwrap();
}

fn apart(a: &Tensor, b: &Tensor) -> f32 {
    let pairs = a.data().iter().zip(b.data());
    pairs.fold(0.0, |apart, (a, b)| apart.max((a - b).abs()))
}
