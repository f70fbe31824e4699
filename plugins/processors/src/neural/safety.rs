//! Which pictures may be shown, as Freepik's classifier sees them: one that may not is replaced by the last one that might.

use super::Neural;
use super::error::NeuralError;
use super::loading::{Loader, Network};
use super::ports::{PictureInput, only};
use super::sources::{NSFW, Source};
use crate::params::{Checked, Params, Range};
use crate::picture::Picture;
use crate::resize::{Filter, resize};
use plugins_diffusion::tensor::Tensor;
use serde::{Deserialize, Serialize};
use std::path::Path;

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct SafetyParams {
    /// A picture that is unsafe with this probability or more is withheld.
    pub threshold: f64,
}

impl Default for SafetyParams {
    fn default() -> Self {
        Self { threshold: 0.5 }
    }
}

impl Params for SafetyParams {
    const RANGES: &'static [Range<Self>] =
        &[Range { name: "threshold", from: 0.0, to: 1.0, get: |params| params.threshold }];
}

/// Where the file leaves it open.
const SIDE: usize = 448;
/// Those of CLIP, on which the network was trained.
const MEAN: [f32; 3] = [0.481_454_66, 0.457_827_5, 0.408_210_73];
const DEVIATION: [f32; 3] = [0.268_629_54, 0.261_302_6, 0.275_777_1];
/// What the network tells apart. A file with other classes could have the unsafe ones first.
const CLASSES: [&str; 4] = ["neutral", "low", "medium", "high"];

/// Judges each picture before it is shown, and remembers the last one that passed.
pub struct SafetyChecker {
    network: Network,
    input: PictureInput,
    size: (usize, usize),
    passed: Option<Picture>,
}

impl Neural for SafetyChecker {
    type Params = SafetyParams;

    fn sources(_: &SafetyParams) -> Vec<&'static Source> {
        vec![&NSFW]
    }

    fn load(loader: &Loader<'_>, _: &Checked<SafetyParams>) -> Result<Self, NeuralError> {
        let (input, size, network) = loader.load_for_picture(&NSFW, (SIDE, SIDE))?;
        Ok(Self { network, input, size, passed: None })
    }

    fn apply(
        &mut self,
        picture: &Picture,
        params: &Checked<SafetyParams>,
    ) -> Result<Picture, NeuralError> {
        if self.unsafe_probability(picture)? >= params.threshold {
            return Ok(self.passed.clone().unwrap_or_else(|| picture.black()));
        }
        Ok(self.passed.insert(picture.clone()).clone())
    }
}

impl SafetyChecker {
    fn unsafe_probability(&self, picture: &Picture) -> Result<f64, NeuralError> {
        let (width, height) = self.size;
        // Whatever its shape, it is seen whole.
        let seen = resize(picture, width, height, Filter::Bicubic)?;
        let number = |channel, level: f32| (level / 255.0 - MEAN[channel]) / DEVIATION[channel];
        let outputs = self.network.run(&[&self.input.tensor(&seen, number)])?;
        unsafe_share(self.network.path(), only(&self.network, &outputs)?)
    }
}

/// The probability of all classes but the first, of what they are before the softmax.
fn unsafe_share(path: &Path, scores: &Tensor) -> Result<f64, NeuralError> {
    let wanted = || format!("four finite scores, for {}", CLASSES.join(", "));
    if scores.shape() != [1, CLASSES.len()] {
        let got = format!("an output of {:?}", scores.shape());
        return Err(NeuralError::output(path, got, wanted()));
    }
    if !scores.is_finite() {
        return Err(NeuralError::output(path, "numbers that are not finite", wanted()));
    }
    let scores = scores.data();
    let highest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weights = scores.iter().map(|score| f64::from(score - highest).exp());
    let [neutral, total] =
        weights.enumerate().fold([0.0, 0.0], |[neutral, total], (at, weight)| {
            [if at == 0 { weight } else { neutral }, total + weight]
        });
    Ok(1.0 - neutral / total)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(scores: &[f32]) -> Result<f64, NeuralError> {
        unsafe_share(Path::new("file"), &Tensor::new(vec![1, scores.len()], scores.to_vec()))
    }

    #[test]
    fn all_classes_but_neutral_are_unsafe() {
        let near = |scores: &[f32], wanted: f64| {
            let got = share(scores).unwrap();
            assert!((got - wanted).abs() < 1e-7, "{got} instead of {wanted}");
        };
        near(&[0.0; 4], 0.75);
        // Of e^0 + 3 e^-1 the first is e^0.
        near(&[1.0, 0.0, 0.0, 0.0], 1.0 - 1.0 / (1.0 + 3.0 * (-1.0_f64).exp()));
        near(&[-1000.0, -1000.0, 1000.0, -1000.0], 1.0);
        near(&[3e38, -3e38, -3e38, -3e38], 0.0);
    }

    #[test]
    fn other_classes_and_what_is_no_number_are_refused() {
        let other = share(&[0.0, 1.0]).unwrap_err().to_string();
        assert!(other.contains("an output of [1, 2]") && other.contains("neutral"), "{other}");
        let none = share(&[0.0, f32::NAN, 0.0, 0.0]).unwrap_err().to_string();
        assert!(none.contains("not finite"), "{none}");
    }
}
