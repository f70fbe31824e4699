//! Names the style of a picture, with the classifier that the demo model was judged by; `tools/demo-model/evaluate.py`
//! writes its weights.

use crate::libraries::root;
use safetensors::SafeTensors;

/// Side of the pictures it looks at.
pub const SIDE: usize = 128;
const CONVOLUTIONS: usize = 4;

/// A small convolutional network: four 3x3 convolutions of stride 2 with ReLU, the mean of each channel, a linear layer.
pub struct Classifier {
    convolutions: Vec<Layer>,
    last: Layer,
    styles: Vec<String>,
}

/// Weights `[out, in, ...]`, and a bias for each output.
struct Layer {
    weight: Vec<f32>,
    bias: Vec<f32>,
}

impl Classifier {
    pub fn load() -> Self {
        let path = root().join("tests/e2e/data/style-classifier.safetensors");
        let bytes = std::fs::read(path).expect("the classifier is there");
        let file = SafeTensors::deserialize(&bytes).expect("a safetensors file");
        let (_, about) = SafeTensors::read_metadata(&bytes).expect("a safetensors file");
        let styles = &about.metadata().as_ref().expect("metadata")["styles"];
        let layer = |name: &str| {
            let values = |part: &str| {
                let tensor = file.tensor(&format!("{name}.{part}")).expect("the layer is there");
                let numbers = tensor.data().chunks_exact(4);
                numbers.map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
            };
            Layer { weight: values("weight"), bias: values("bias") }
        };
        Self {
            convolutions: (0..CONVOLUTIONS).map(|number| layer(&number.to_string())).collect(),
            last: layer("last"),
            styles: styles.split(' ').map(String::from).collect(),
        }
    }

    /// The name of the likeliest style, and how likely it is; `rgb` are the bytes of a picture of `SIDE` by `SIDE`.
    pub fn name(&self, rgb: &[f64]) -> (&str, f64) {
        let area = SIDE * SIDE;
        assert_eq!(rgb.len(), 3 * area, "a picture of {SIDE}x{SIDE}");
        let pixel = |index: usize| rgb[index % area * 3 + index / area] / 127.5 - 1.0;
        let mut x: Vec<f32> = (0..3 * area).map(|index| pixel(index) as f32).collect();
        let mut side = SIDE;
        for layer in &self.convolutions {
            x = layer.convolve(&x, side);
            side /= 2;
        }
        let means: Vec<f32> = x
            .chunks_exact(side * side)
            .map(|plane| plane.iter().sum::<f32>() / plane.len() as f32)
            .collect();
        let scores: Vec<f64> = self.last.multiply(&means).map(f64::from).collect();
        let best = (0..scores.len()).max_by(|&a, &b| scores[a].total_cmp(&scores[b])).unwrap_or(0);
        let likelihood = 1.0 / scores.iter().map(|score| (score - scores[best]).exp()).sum::<f64>();
        (&self.styles[best], likelihood)
    }
}

impl Layer {
    /// `x [in, side, side]` to `[out, side / 2, side / 2]`, with zeros around it.
    fn convolve(&self, x: &[f32], side: usize) -> Vec<f32> {
        let inputs = x.len() / (side * side);
        let half = side / 2;
        let answer = |index: usize| {
            let (output, row, column) = (index / (half * half), index / half % half, index % half);
            let kernel = &self.weight[output * inputs * 9..][..inputs * 9];
            let product = |(place, weight): (usize, &f32)| {
                let (y, x_) = (2 * row + place / 3 % 3, 2 * column + place % 3);
                let is_inside = (1..=side).contains(&y) && (1..=side).contains(&x_);
                if is_inside { weight * x[(place / 9 * side + y - 1) * side + x_ - 1] } else { 0.0 }
            };
            let sum: f32 = kernel.iter().enumerate().map(product).sum();
            (sum + self.bias[output]).max(0.0)
        };
        (0..self.bias.len() * half * half).map(answer).collect()
    }

    fn multiply<'a>(&'a self, x: &'a [f32]) -> impl Iterator<Item = f32> + 'a {
        let rows = self.weight.chunks_exact(x.len());
        let product = move |row: &'a [f32]| row.iter().zip(x).map(|(a, b)| a * b).sum::<f32>();
        rows.map(product).zip(&self.bias).map(|(sum, bias)| sum + bias)
    }
}
