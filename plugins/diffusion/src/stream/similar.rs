//! The similar-image filter: frames that are like the last one shown to the model are passed over, which saves power
//! while nothing moves.
//!
//! As in StreamDiffusion 0.1.1: the closer two frames, the likelier one is passed over, so that a slow change is not
//! missed for ever.

use super::settings::Similarity;
use crate::noise::Generator;
use crate::tensor::Tensor;

/// Keeps two frames of zeros from having no similarity at all.
const EPSILON: f64 = 1e-6;

/// The last frame that was not passed over, and how many were since.
pub struct SimilarImageFilter {
    similarity: Similarity,
    last: Option<Tensor>,
    skipped: u64,
    /// Chance; its seed is nobody's concern.
    generator: Generator,
}

impl SimilarImageFilter {
    pub fn new(similarity: Similarity) -> Self {
        Self { similarity, last: None, skipped: 0, generator: Generator::new(0) }
    }

    /// Whether to pass over this frame.
    pub fn skips(&mut self, frame: &Tensor) -> bool {
        if self.last.is_none() {
            return self.skips_by(frame, 1.0);
        }
        let chance = self.generator.uniform(1)[0];
        self.skips_by(frame, chance)
    }

    /// The same, with the chance given: a number drawn evenly from [0, 1).
    pub fn skips_by(&mut self, frame: &Tensor, chance: f32) -> bool {
        let Some(last) = &self.last else {
            self.last = Some(frame.clone());
            return false;
        };
        let Similarity { threshold, max_skip_frame } = self.similarity;
        let is_alike = chance < probability(cosine(last, frame), threshold);
        if is_alike && self.skipped <= max_skip_frame {
            self.skipped += 1;
            return true;
        }
        if is_alike {
            self.skipped = 0;
        }
        self.last = Some(frame.clone());
        false
    }
}

fn probability(cosine: f32, threshold: f32) -> f32 {
    if threshold >= 1.0 { 0.0 } else { (1.0 - (1.0 - cosine) / (1.0 - threshold)).max(0.0) }
}

fn cosine(a: &Tensor, b: &Tensor) -> f32 {
    let sum = |a: &Tensor, b: &Tensor| -> f64 {
        a.data().iter().zip(b.data()).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
    };
    (sum(a, b) / (sum(a, a).sqrt() * sum(b, b).sqrt()).max(EPSILON)) as f32
}
