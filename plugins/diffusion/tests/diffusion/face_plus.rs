//! FaceID Plus: tokens of a face that ask its patches, against the same computed here number by number.

use std::collections::BTreeMap;
use std::path::Path;

use plugins_diffusion::nets::{ImageProjection, Network as _, Seen};
use plugins_diffusion::tensor::Tensor;
use plugins_diffusion::weights::Weights;
use safetensors::tensor::{Dtype, TensorView, serialize_to_file};

use crate::support::engines;

/// Widths: of a face, of a patch, of tokens and inside of the layers, and of their two heads.
const FACE: usize = 6;
const INNER: usize = 12;
const PATCH: usize = 5;
const WIDTH: usize = 8;
const HEADS: usize = 2 * HEAD;
const HEAD: usize = 64;
const HIDDEN: usize = 16;
const TOKENS: usize = 4;
const LAYERS: usize = 2;
const EPSILON: f64 = 1e-5;

type Rows = Vec<Vec<f64>>;

/// The tensors below `image_proj`, of numbers that differ everywhere.
struct File(BTreeMap<String, (Vec<usize>, Vec<f32>)>);

impl File {
    fn new() -> Self {
        let mut file = Self(BTreeMap::new());
        file.linear("proj.0", [INNER, FACE], true);
        file.linear("proj.2", [TOKENS * WIDTH, INNER], true);
        file.norm("norm");
        let inside = |name: &str| format!("perceiver_resampler.{name}");
        file.linear(&inside("proj_in"), [WIDTH, PATCH], true);
        file.linear(&inside("proj_out"), [WIDTH, WIDTH], true);
        file.norm(&inside("norm_out"));
        for layer in 0..LAYERS {
            let at = |name: &str| inside(&format!("layers.{layer}.{name}"));
            ["0.norm1", "0.norm2", "1.0"].iter().for_each(|name| file.norm(&at(name)));
            file.linear(&at("0.to_q"), [HEADS, WIDTH], false);
            file.linear(&at("0.to_kv"), [2 * HEADS, WIDTH], false);
            file.linear(&at("0.to_out"), [WIDTH, HEADS], false);
            file.linear(&at("1.1"), [HIDDEN, WIDTH], false);
            file.linear(&at("1.3"), [WIDTH, HIDDEN], false);
        }
        file
    }

    fn add(&mut self, name: String, shape: &[usize], around: f64) {
        let seed = self.0.len() as f64;
        let number = |index: usize| (around + 0.4 * (12.9898 * index as f64 + seed).sin()) as f32;
        let count: usize = shape.iter().product();
        self.0.insert(name, (shape.to_vec(), (0..count).map(number).collect()));
    }

    fn linear(&mut self, name: &str, shape: [usize; 2], has_bias: bool) {
        self.add(format!("{name}.weight"), &shape, 0.0);
        if has_bias {
            self.add(format!("{name}.bias"), &shape[..1], 0.0);
        }
    }

    fn norm(&mut self, name: &str) {
        self.add(format!("{name}.weight"), &[WIDTH], 1.0);
        self.add(format!("{name}.bias"), &[WIDTH], 0.0);
    }

    fn write(&self, path: &Path) {
        let bytes =
            |values: &[f32]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>();
        let stored: Vec<_> =
            self.0.iter().map(|(name, (shape, values))| (name, shape, bytes(values))).collect();
        let views = stored.iter().map(|(name, shape, bytes)| {
            let view = TensorView::new(Dtype::F32, shape.to_vec(), bytes).unwrap();
            (format!("image_proj.{name}"), view)
        });
        serialize_to_file(views, None, path).unwrap();
    }

    fn get(&self, name: &str) -> Vec<f64> {
        self.0[name].1.iter().map(|value| f64::from(*value)).collect()
    }

    fn apply(&self, name: &str, rows: &Rows) -> Rows {
        let weight = self.get(&format!("{name}.weight"));
        let bias = format!("{name}.bias");
        let bias = self.0.contains_key(&bias).then(|| self.get(&bias));
        let row = |row: &Vec<f64>| {
            let outputs = weight.chunks(row.len()).enumerate();
            let output = |(at, weights): (usize, &[f64])| {
                dot(weights, row) + bias.as_ref().map_or(0.0, |bias| bias[at])
            };
            outputs.map(output).collect()
        };
        rows.iter().map(row).collect()
    }

    fn normed(&self, name: &str, rows: &Rows) -> Rows {
        let (weight, bias) =
            (self.get(&format!("{name}.weight")), self.get(&format!("{name}.bias")));
        let row = |row: &Vec<f64>| {
            let mean = row.iter().sum::<f64>() / row.len() as f64;
            let spread = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / row.len() as f64;
            let unit = row.iter().map(|x| (x - mean) / (spread + EPSILON).sqrt());
            unit.zip(&weight).zip(&bias).map(|((x, weight), bias)| x * weight + bias).collect()
        };
        rows.iter().map(row).collect()
    }

    fn tokens(&self, face: &[f64], patches: &Rows, has_shortcut: bool) -> Rows {
        let hidden = gelu(self.apply("proj.0", &vec![face.to_vec()]));
        let flat = self.apply("proj.2", &hidden).remove(0);
        let face = self.normed("norm", &flat.chunks(WIDTH).map(<[f64]>::to_vec).collect());
        let inside = |name: &str| format!("perceiver_resampler.{name}");
        let patches = self.apply(&inside("proj_in"), patches);
        let mut queries = face.clone();
        for layer in 0..LAYERS {
            let at = |name: &str| inside(&format!("layers.{layer}.{name}"));
            let seen = self.normed(&at("0.norm1"), &patches);
            let asking = self.normed(&at("0.norm2"), &queries);
            let all = [seen, asking.clone()].concat();
            let mixed = mix(&self.apply(&at("0.to_q"), &asking), &self.apply(&at("0.to_kv"), &all));
            queries = sum(&self.apply(&at("0.to_out"), &mixed), &queries);
            let hidden = self.apply(&at("1.1"), &self.normed(&at("1.0"), &queries));
            queries = sum(&self.apply(&at("1.3"), &gelu(hidden)), &queries);
        }
        let asked = self.normed(&inside("norm_out"), &self.apply(&inside("proj_out"), &queries));
        if has_shortcut { sum(&face, &asked) } else { asked }
    }
}

fn mix(queries: &Rows, both: &Rows) -> Rows {
    let mut mixed = vec![vec![0.0; HEADS]; queries.len()];
    for head in 0..HEADS / HEAD {
        let (from, to) = (head * HEAD, (head + 1) * HEAD);
        for (query, mixed) in queries.iter().zip(&mut mixed) {
            let near =
                |row: &Vec<f64>| dot(&query[from..to], &row[from..to]) / (HEAD as f64).sqrt();
            let weights: Vec<f64> = both.iter().map(|row| near(row).exp()).collect();
            let total: f64 = weights.iter().sum();
            for (row, weight) in both.iter().zip(weights) {
                let values = &row[HEADS + from..HEADS + to];
                mixed[from..to]
                    .iter_mut()
                    .zip(values)
                    .for_each(|(sum, v)| *sum += v * weight / total);
            }
        }
    }
    mixed
}

fn dot(one: &[f64], other: &[f64]) -> f64 {
    one.iter().zip(other).map(|(a, b)| a * b).sum()
}

fn sum(one: &Rows, other: &Rows) -> Rows {
    let row =
        |(one, other): (&Vec<f64>, &Vec<f64>)| one.iter().zip(other).map(|(a, b)| a + b).collect();
    one.iter().zip(other).map(row).collect()
}

/// By the normal distribution, integrated by Simpson's rule.
fn gelu(rows: Rows) -> Rows {
    let density = |x: f64| (-x * x / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
    let below = |x: f64| {
        let step = x / 400.0;
        let parts = (0..200).map(|part| {
            let at = 2.0 * f64::from(part) * step;
            density(at) + 4.0 * density(at + step) + density(at + 2.0 * step)
        });
        0.5 + parts.sum::<f64>() * step / 3.0
    };
    rows.into_iter().map(|row| row.into_iter().map(|x| x * below(x)).collect()).collect()
}

#[test]
fn tokens_of_a_face_ask_its_patches_and_v2_adds_what_they_say() {
    let folder = tempfile::tempdir().unwrap();
    let described = File::new();
    let face: Vec<f64> = (0..FACE).map(|at| f64::from((at as f32 * 1.7).cos())).collect();
    let patches: Rows = (0..3)
        .map(|row| (0..PATCH).map(|at| f64::from(((row * 7 + at) as f32).sin())).collect())
        .collect();
    let flat = |rows: &Rows| rows.iter().flatten().map(|x| *x as f32).collect::<Vec<f32>>();
    let inputs = [
        Tensor::new([1, FACE], flat(&vec![face.clone()])),
        Tensor::new([1, patches.len(), PATCH], flat(&patches)),
    ];
    for (name, has_shortcut) in
        [("ip-adapter-faceid-plus_sd15", false), ("ip-adapter-faceid-plusv2_sd15", true)]
    {
        let path = folder.path().join(format!("{name}.safetensors"));
        described.write(&path);
        let network = ImageProjection::of(&Weights::open(&path).unwrap()).unwrap();
        assert_eq!((network.seen(), network.tokens()), (Seen::FaceAndPatches, TOKENS));
        assert_eq!((network.context(), network.inputs().len()), (WIDTH, 2));
        let wanted = flat(&described.tokens(&face, &patches, has_shortcut));
        for engine in engines() {
            let model = engine.load(network.clone(), &path, &mut || true).unwrap();
            let made = model.run(&[&inputs[0], &inputs[1]]).unwrap();
            assert_eq!(made.shape(), [1, TOKENS, WIDTH]);
            let pairs = made.data().iter().zip(&wanted);
            let apart = pairs.fold(0.0_f32, |apart, (a, b)| apart.max((a - b).abs()));
            println!("{name}: at most {apart} apart");
            assert!(apart < 1e-4, "{name}: {apart}");
        }
    }
}
