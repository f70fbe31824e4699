//! Weighted mixtures: of prompts as embeddings, of seeds as noise.

use crate::tensor::Tensor;

/// How two entries are mixed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interpolation {
    Linear,
    /// Along the arc between exactly two; linear otherwise.
    Slerp,
}

/// Entries with weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Blend<T> {
    pub entries: Vec<(T, f32)>,
    pub interpolation: Interpolation,
    /// Whether weights are scaled to the sum of 1.
    pub normalize: bool,
}

impl<T> Blend<T> {
    /// A single entry, as it is.
    pub fn one(entry: T) -> Self {
        Self { entries: vec![(entry, 1.0)], interpolation: Interpolation::Linear, normalize: true }
    }

    fn weights(&self) -> Vec<f32> {
        let weights = self.entries.iter().map(|(_, weight)| *weight);
        let sum: f32 = weights.clone().sum();
        let scale = if self.normalize && sum > 0.0 { 1.0 / sum } else { 1.0 };
        weights.map(|weight| weight * scale).collect()
    }

    /// Mixes what the entries stand for, given in their order and of one shape.
    ///
    /// # Panics
    /// When there is not one tensor for each entry, or no entry.
    pub fn mix(&self, tensors: &[&Tensor]) -> Tensor {
        assert_eq!(tensors.len(), self.entries.len(), "one tensor for each entry");
        let weights = self.weights();
        match (self.interpolation, tensors) {
            (Interpolation::Slerp, [first, second]) => slerp(first, second, weights[1]),
            _ => linear(tensors, &weights),
        }
    }

    /// Mixes noise: like [`mix`](Self::mix), but a normalised sum of several keeps the mean strength of its parts.
    pub fn mix_noise(&self, tensors: &[&Tensor]) -> Tensor {
        let mut mixed = self.mix(tensors);
        let is_sum = self.interpolation == Interpolation::Linear || tensors.len() != 2;
        if self.normalize && is_sum && tensors.len() > 1 {
            let mean = tensors.iter().map(|tensor| norm(tensor.data())).sum::<f32>()
                / tensors.len() as f32;
            let scale = mean / norm(mixed.data()).max(f32::MIN_POSITIVE);
            mixed.data_mut().iter_mut().for_each(|value| *value *= scale);
        }
        mixed
    }
}

fn norm(values: &[f32]) -> f32 {
    values.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>().sqrt() as f32
}

fn linear(tensors: &[&Tensor], weights: &[f32]) -> Tensor {
    let mut sum = Tensor::zeros(tensors[0].shape());
    for (tensor, weight) in tensors.iter().zip(weights) {
        for (total, value) in sum.data_mut().iter_mut().zip(tensor.data()) {
            *total += weight * value;
        }
    }
    sum
}

/// Along the arc between two tensors, each taken as one long vector; `share` is how much of the second.
fn slerp(first: &Tensor, second: &Tensor, share: f32) -> Tensor {
    if share <= 0.0 {
        return first.clone();
    }
    if share >= 1.0 {
        return second.clone();
    }
    let dot: f64 =
        first.data().iter().zip(second.data()).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
    let lengths = f64::from(norm(first.data())) * f64::from(norm(second.data()));
    let angle = (dot / lengths.max(f64::MIN_POSITIVE)).clamp(-1.0, 1.0).acos();
    if angle.abs() < 1e-6 {
        return linear(&[first, second], &[1.0 - share, share]);
    }
    let share = f64::from(share);
    let weight = |part: f64| ((part * angle).sin() / angle.sin()) as f32;
    linear(&[first, second], &[weight(1.0 - share), weight(share)])
}
