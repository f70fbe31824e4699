//! An autoencoder of another depth and scale: both are its config's business, nothing assumes 8 or 1.

use std::path::Path;

use plugins_diffusion::engine::Engine;
use plugins_diffusion::noise::Generator;
use plugins_diffusion::sizes::Pictures;
use plugins_diffusion::tensor::Tensor;
use plugins_diffusion::vae::Autoencoder;
use safetensors::tensor::{Dtype, TensorView, serialize_to_file};
use serde_json::json;

const WIDTH: usize = 8;
/// A power of two, so that scaling rounds nothing.
const SCALE: f32 = 16.0;

/// The convolutions of a three-level AutoencoderTiny: name, outputs, inputs, whether it has a bias.
fn convolutions() -> Vec<(String, usize, usize, bool)> {
    let conv = |name: &str, outputs, inputs, has_bias| (name.to_owned(), outputs, inputs, has_bias);
    let mut list = vec![
        conv("encoder.layers.0", WIDTH, 3, true),
        conv("encoder.layers.1", WIDTH, WIDTH, false),
        conv("encoder.layers.2", WIDTH, WIDTH, false),
        conv("encoder.layers.4", 4, WIDTH, true),
        conv("decoder.layers.0", WIDTH, 4, true),
        conv("decoder.layers.4", WIDTH, WIDTH, false),
        conv("decoder.layers.7", WIDTH, WIDTH, false),
        conv("decoder.layers.8", 3, WIDTH, true),
    ];
    for block in ["encoder.layers.3", "decoder.layers.2", "decoder.layers.5"] {
        list.extend(
            [0, 2, 4].map(|index| conv(&format!("{block}.conv.{index}"), WIDTH, WIDTH, true)),
        );
    }
    list
}

fn write_checkpoint(folder: &Path, scaling_factor: f32) {
    let widths = [WIDTH; 3];
    let config = json!({
        "_class_name": "AutoencoderTiny", "act_fn": "relu", "latent_channels": 4, "scaling_factor": scaling_factor,
        "encoder_block_out_channels": widths, "decoder_block_out_channels": widths,
        "num_encoder_blocks": [0, 0, 1], "num_decoder_blocks": [1, 1, 0],
    });
    std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
    let mut generator = Generator::new(5);
    let mut tensors: Vec<(String, Vec<usize>, Vec<u8>)> = Vec::new();
    let mut add = |name: String, shape: Vec<usize>| {
        let values = generator.normal(shape.clone());
        let bytes = values.data().iter().flat_map(|value| (0.2 * value).to_le_bytes()).collect();
        tensors.push((name, shape, bytes));
    };
    for (name, outputs, inputs, has_bias) in convolutions() {
        add(format!("{name}.weight"), vec![outputs, inputs, 3, 3]);
        if has_bias {
            add(format!("{name}.bias"), vec![outputs]);
        }
    }
    let views = tensors.iter().map(|(name, shape, data)| {
        (name.as_str(), TensorView::new(Dtype::F32, shape.clone(), data).unwrap())
    });
    serialize_to_file(views, None, &folder.join("diffusion_pytorch_model.safetensors")).unwrap();
}

fn load(engine: &Engine, scaling_factor: f32) -> Autoencoder {
    let folder = tempfile::tempdir().unwrap();
    write_checkpoint(folder.path(), scaling_factor);
    Autoencoder::load(engine, folder.path(), &Pictures::new(512, 512), &mut || true).unwrap()
}

#[test]
fn depth_and_scale_come_from_the_config() {
    for engine in crate::support::engines() {
        let (plain, scaled) = (load(&engine, 1.0), load(&engine, SCALE));
        assert_eq!((scaled.downsampling(), scaled.scaling_factor()), (4, SCALE));
        let image = Tensor::new([1, 3, 32, 64], Generator::new(1).uniform(3 * 32 * 64));
        let latents =
            [&plain, &scaled].map(|vae| vae.encode(&image, &mut Generator::new(0)).unwrap());
        assert_eq!(latents[1].shape(), [1, 4, 8, 16]);
        for (plain, scaled) in latents[0].data().iter().zip(latents[1].data()) {
            assert_eq!(plain * SCALE, *scaled);
        }
        let images = [plain.decode(&latents[0]).unwrap(), scaled.decode(&latents[1]).unwrap()];
        assert_eq!(images[1].shape(), image.shape());
        assert_eq!(images[0], images[1], "the scale is undone before decoding");
    }
}

/// That of the demo ends in a run of layers as one, whose channels are then shuffled into pixels.
#[test]
fn several_pictures_that_are_not_square_are_decoded_alike_on_both() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/demo/vae");
    let latents = Generator::new(1).normal([2, 4, 40, 24]);
    let decode = |engine: &Engine| {
        let pictures = Pictures::new(96, 160);
        let vae = Autoencoder::load(engine, &folder, &pictures, &mut || true).unwrap();
        vae.decode(&latents).unwrap()
    };
    let pictures: Vec<Tensor> = crate::support::engines().iter().map(decode).collect();
    assert_eq!(pictures[0].shape(), [2, 3, 160, 96]);
    let apart = crate::back_ends::largest_difference(&pictures[0], &pictures[1]);
    assert!(apart < 1e-4, "apart by {apart}");
}

#[test]
fn unequal_widths_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    write_checkpoint(folder.path(), 1.0);
    let path = folder.path().join("config.json");
    let config = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, config.replacen("[8,8,8]", "[8,16,8]", 1)).unwrap();
    let engine = crate::support::engines().remove(1);
    let error = Autoencoder::load(&engine, folder.path(), &Pictures::new(512, 512), &mut || true)
        .map(drop)
        .unwrap_err()
        .to_string();
    assert!(error.contains("block_out_channels") && error.contains("same width"), "{error}");
}
