//! Weights for HED's network, which are too many to keep: hashes of their places, as in `models.py`.

use safetensors::tensor::{Dtype, TensorView};
use std::path::Path;

pub fn write(path: &Path) {
    let blocks = [(64, 2), (128, 2), (256, 3), (512, 3), (512, 3)];
    let mut shapes: Vec<(String, Vec<usize>)> = vec![("norm".into(), vec![1, 3, 1, 1])];
    let mut inputs = 3;
    for (block, (channels, count)) in blocks.into_iter().enumerate() {
        for index in 0..count {
            let name = format!("block{}.convs.{index}", block + 1);
            shapes.push((format!("{name}.weight"), vec![channels, inputs, 3, 3]));
            shapes.push((format!("{name}.bias"), vec![channels]));
            inputs = channels;
        }
        let name = format!("block{}.projection", block + 1);
        shapes.push((format!("{name}.weight"), vec![1, channels, 1, 1]));
        shapes.push((format!("{name}.bias"), vec![1]));
    }
    let tensors = shapes.iter().enumerate().map(|(seed, (name, shape))| {
        let count: usize = shape.iter().product();
        let fan = if shape.len() > 1 { shape[1..].iter().product() } else { 1 };
        let scale = scale(name, fan as f64) as f32;
        let values = (0..count as u64).flat_map(|place| {
            let mixed = (place + seed as u64 * 1_000_003).wrapping_mul(2_654_435_761) % (1 << 32);
            let value = (mixed as f64 / f64::from(1_u32 << 31) - 1.0) as f32;
            (value * scale).to_le_bytes()
        });
        (name, shape, values.collect::<Vec<u8>>())
    });
    let tensors: Vec<_> = tensors.collect();
    let views = tensors.iter().map(|(name, shape, bytes)| {
        (name.as_str(), TensorView::new(Dtype::F32, (*shape).clone(), bytes).unwrap())
    });
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    safetensors::serialize_to_file(views, None, path).unwrap();
}

fn scale(name: &str, fan: f64) -> f64 {
    match name {
        "norm" => 100.0,
        _ if name.ends_with("bias") => 0.1,
        "block1.projection.weight" => 2.0 / fan.sqrt() / 20.0,
        _ if name.contains("projection") => 2.0 / fan.sqrt(),
        _ => (3.0 / fan).sqrt() * 1.4,
    }
}
