//! Guidance: pushing the prediction away from what a negative, or an estimated one, would be.
//!
//! `full` asks the UNet for both predictions. The residual kinds avoid the second one: the stock noise follows what the
//! noise of each row would look like to a model that ignores the prompt, and serves as the negative prediction.

use crate::schedule::Step;
use crate::tensor::Tensor;

/// Where the negative prediction comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CfgType {
    /// There is none: predictions are used as they are.
    None,
    /// From the UNet, for every row.
    Full,
    /// From the stock noise, which starts at nothing.
    Own,
    /// From the stock noise, which the UNet's negative prediction for the newest frame starts.
    Initialize,
}

/// How strongly and by what predictions are guided.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Guidance {
    pub cfg_type: CfgType,
    /// No guidance up to 1.
    pub scale: f32,
    /// Share of the stock noise in the negative prediction.
    pub delta: f32,
}

impl Guidance {
    pub fn is_active(&self) -> bool {
        self.cfg_type != CfgType::None && self.scale > 1.0
    }

    /// How many rows with the negative prompt the UNet is given before the `rows` others, of which the first `newest` are
    /// those of new frames.
    pub fn negative_rows(&self, rows: usize, newest: usize) -> usize {
        match self.cfg_type {
            CfgType::Full if self.is_active() => rows,
            CfgType::Initialize if self.is_active() => newest,
            _ => 0,
        }
    }

    /// The rows for the UNet: those with the negative prompt are copies of the first ones.
    pub fn widen(&self, batch: &Tensor, newest: usize) -> Tensor {
        let negative = self.negative_rows(batch.shape()[0], newest);
        Tensor::stack(&[&batch.head(negative), batch])
    }

    /// The guided prediction for `rows` rows, the first `newest` of new frames.
    pub fn guide(
        &self,
        predicted: &Tensor,
        (rows, newest): (usize, usize),
        stock: &mut StockNoise,
    ) -> Tensor {
        if !self.is_active() {
            return predicted.clone();
        }
        let split = self.negative_rows(rows, newest) * predicted.row_len();
        let (negative, positive) = predicted.data().split_at(split);
        let mut guided = predicted.head(rows);
        guided.data_mut().copy_from_slice(positive);
        if self.cfg_type == CfgType::Full {
            mix(&mut guided, negative.iter().copied(), self.scale);
        } else {
            stock.0.data_mut()[..split].copy_from_slice(negative);
            mix(&mut guided, stock.0.data().iter().map(|value| value * self.delta), self.scale);
        }
        guided
    }

    /// Whether the stock noise follows the predictions; it does so also while guidance is too weak to act.
    fn follows(&self) -> bool {
        matches!(self.cfg_type, CfgType::Own | CfgType::Initialize)
    }
}

fn mix(positive: &mut Tensor, negative: impl Iterator<Item = f32>, scale: f32) {
    for (value, negative) in positive.data_mut().iter_mut().zip(negative) {
        *value = negative + scale * (*value - negative);
    }
}

/// The estimate of every row's negative prediction.
#[derive(Clone, Debug)]
pub struct StockNoise(Tensor);

impl StockNoise {
    pub fn zeros(shape: &[usize]) -> Self {
        Self(Tensor::zeros(shape))
    }

    pub fn rows(&self) -> &Tensor {
        &self.0
    }

    /// Follows the frames one step on; the `newest` new ones start with the noise they were given.
    pub fn shift(&mut self, noise: &Tensor, newest: usize) {
        let rows = self.0.shape()[0];
        if rows > newest {
            self.0 =
                Tensor::stack(&[&noise.head(1).repeat_rows(newest), &self.0.head(rows - newest)]);
        }
    }

    /// Updates the estimates from the guided prediction. Row `i` is meant for the step after its own, which the next
    /// shift brings it to; the last ones fall out there.
    pub fn follow(
        &mut self,
        guidance: &Guidance,
        guided: &Tensor,
        (steps, newest): (&[Step], usize),
        noise: &Tensor,
    ) {
        if !guidance.follows() {
            return;
        }
        let width = self.0.row_len();
        for (row, (step, stock)) in
            steps.iter().zip(self.0.data_mut().chunks_exact_mut(width)).enumerate()
        {
            let (alpha, beta) =
                steps.get(row + newest).map_or((1.0, 1.0), |next| (next.alpha, next.beta));
            let next_noise = noise.row((row + newest) % steps.len());
            for ((value, &guided), &noise) in stock.iter_mut().zip(guided.row(row)).zip(next_noise)
            {
                let next = noise + alpha * step.denoise(step.beta * *value, guided) / beta;
                // The estimate feeds on itself: what once overflowed would stay so for ever.
                *value = if next.is_finite() { next } else { noise };
            }
        }
    }
}
