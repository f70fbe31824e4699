//! IP-Adapters: the tokens of a picture that each of a batch's rows is given, and how much they count.
//!
//! The networks that make tokens belong to other plugins.

use serde_json::{Map, Value};

use super::settings::Settings;
use crate::nets::Unet;
use crate::schedule::Step;
use crate::tensor::Tensor;

/// One that is in use.
#[derive(Clone, Debug, PartialEq)]
pub struct Adapter {
    /// The value of its slot.
    pub name: String,
    /// What the plugin that has it is told.
    pub params: Map<String, Value>,
}

/// What one makes of its picture.
#[derive(Clone, Debug, PartialEq)]
pub struct ImagePrompt {
    /// `[1, tokens, width]`
    pub tokens: Tensor,
    /// The same of no picture.
    pub empty: Tensor,
    /// `[steps, layers]`, or one row for all steps.
    pub scales: Tensor,
}

/// What an adapter of another plugin does for a stream.
pub trait ImagePrompts {
    /// None where it does not work.
    fn image_prompt(&self) -> Option<&ImagePrompt>;
}

/// Which rows of a batch are which.
pub(super) struct Rows {
    /// Those with the negative prompt, which come first.
    negative: usize,
    /// Of the steps in their order.
    timesteps: Vec<f32>,
}

impl Rows {
    pub(super) fn new(steps: &[Step], settings: &Settings) -> Self {
        let timesteps = steps.iter().map(|step| step.timestep as f32).collect();
        Self { negative: settings.negative_rows(), timesteps }
    }

    /// Where in the schedule a batch is whose rows are all at one step.
    fn step(&self, timesteps: &Tensor) -> usize {
        let first = timesteps.data().first();
        self.timesteps.iter().position(|known| Some(known) == first).unwrap_or(0)
    }
}

/// The inputs of a UNet that takes tokens of a picture, for rows at these timesteps. Where no adapter works, the tokens are
/// nothing and count nothing.
pub(super) fn inputs(
    unet: &Unet,
    rows: &Rows,
    timesteps: &Tensor,
    adapter: Option<&ImagePrompt>,
) -> Vec<Tensor> {
    let Some(tokens) = unet.image_tokens() else { return Vec::new() };
    let (count, layers) = (timesteps.shape()[0], unet.cross_attentions());
    match adapter {
        Some(prompt) => prompt.inputs(rows, timesteps).into(),
        None => vec![Tensor::zeros([count, tokens, unet.context()]), Tensor::zeros([layers])],
    }
}

impl ImagePrompt {
    fn inputs(&self, rows: &Rows, timesteps: &Tensor) -> [Tensor; 2] {
        let count = timesteps.shape()[0];
        let negative = rows.negative.min(count);
        let [empty, tokens] = [(&self.empty, negative), (&self.tokens, count - negative)]
            .map(|(t, n)| t.repeat_rows(n));
        let step = rows.step(timesteps).min(self.scales.shape()[0] - 1);
        let scales = self.scales.row(step).to_vec();
        [Tensor::stack(&[&empty, &tokens]), Tensor::new([scales.len()], scales)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prompt() -> ImagePrompt {
        ImagePrompt {
            tokens: Tensor::new([1, 1, 2], vec![1.0, 2.0]),
            empty: Tensor::new([1, 1, 2], vec![-1.0, -2.0]),
            scales: Tensor::new([2, 3], vec![0.1, 0.2, 0.3, 0.4, 0.5, 0.6]),
        }
    }

    #[test]
    fn rows_with_the_negative_prompt_see_no_picture() {
        let timesteps = Tensor::new([3], vec![499.0, 999.0, 499.0]);
        let tokens = |negative| {
            let rows = Rows { negative, timesteps: vec![999.0, 499.0] };
            prompt().inputs(&rows, &timesteps)[0].clone()
        };
        assert_eq!(tokens(0).data(), [1.0, 2.0, 1.0, 2.0, 1.0, 2.0]);
        assert_eq!(tokens(1).data(), [-1.0, -2.0, 1.0, 2.0, 1.0, 2.0]);
        assert_eq!(tokens(1).shape(), [3, 1, 2]);
        assert_eq!(tokens(9).data(), [-1.0, -2.0, -1.0, -2.0, -1.0, -2.0]);
    }

    #[test]
    fn steps_that_run_one_after_another_have_scales_of_their_own() {
        let rows = Rows { negative: 0, timesteps: vec![999.0, 499.0, 19.0] };
        let scales =
            |timestep| prompt().inputs(&rows, &Tensor::new([1], vec![timestep]))[1].clone();
        assert_eq!(scales(999.0).data(), [0.1, 0.2, 0.3]);
        assert_eq!(scales(499.0).data(), [0.4, 0.5, 0.6]);
        assert_eq!(scales(19.0).data(), [0.4, 0.5, 0.6], "more steps than it was told");
        let mut one = prompt();
        one.scales = one.scales.head(1);
        let inputs = one.inputs(&rows, &Tensor::new([1], vec![499.0]));
        assert_eq!(inputs[1].data(), [0.1, 0.2, 0.3], "all steps share them");
    }
}
