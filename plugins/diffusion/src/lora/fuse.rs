//! The arithmetic: weights with the changes added, in the number format the checkpoint has them in.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::{Device, Tensor};
use half::{bf16, f16};

use super::LoraError;
use super::file::File;
use crate::weights::{Dtype, Place, Weights};

/// What changes the parameters of one network. Nothing is in memory but names and places.
#[derive(Debug, Default)]
pub struct Patches {
    factors: BTreeMap<String, Vec<Factor>>,
    digest: u64,
}

/// One file's change of one parameter: two matrices, and what their product is multiplied by.
#[derive(Debug)]
pub(super) struct Factor {
    pub file: Arc<File>,
    pub down: (String, Place),
    pub up: (String, Place),
    pub rank: usize,
    pub strength: f32,
}

/// A parameter's new values, in the format in which the checkpoint has the old ones.
#[derive(Clone, Debug, PartialEq)]
pub enum Fused {
    F32(Vec<f32>),
    F16(Vec<f16>),
    Bf16(Vec<bf16>),
}

impl Patches {
    /// No change.
    pub const NONE: Self = Self { factors: BTreeMap::new(), digest: 0 };

    pub fn is_empty(&self) -> bool {
        self.factors.is_empty()
    }

    /// Tells sets of LoRAs apart: other files, other content or other strengths make another digest.
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// Whether the parameter changes.
    pub fn has(&self, param: &str) -> bool {
        self.factors.contains_key(param)
    }

    pub(super) fn add(&mut self, param: &str, factor: Factor) {
        self.factors.entry(param.into()).or_default().push(factor);
    }

    pub(super) fn set_digest(&mut self, digest: u64) {
        self.digest = if self.is_empty() { 0 } else { digest };
    }

    /// The new values of a parameter whose old ones lie at `place` in `weights`. The changes are added up before they
    /// are added to it, and rounding comes last.
    pub fn fuse(&self, param: &str, weights: &Weights, place: Place) -> Result<Fused, LoraError> {
        let mut values = weights.read(place)?;
        if let Some(change) = self.change(param)? {
            for (value, change) in values.iter_mut().zip(change) {
                let fused = round(*value + change, place.dtype);
                // Weights that were no numbers before are not the LoRA's fault.
                if !fused.is_finite() && value.is_finite() {
                    return Err(LoraError::Overflow { param: param.into(), dtype: place.dtype });
                }
                *value = fused;
            }
        }
        Ok(Fused::of(values, place.dtype))
    }

    fn change(&self, param: &str) -> Result<Option<Vec<f32>>, LoraError> {
        let compute = |source| LoraError::Compute { param: param.into(), source };
        let mut sum: Option<Tensor> = None;
        for factor in self.factors.get(param).into_iter().flatten() {
            let (up, down) = factor.read()?;
            let product = product(up, down, factor.rank).map_err(compute)?;
            sum = Some(match sum {
                Some(sum) => (sum + product).map_err(compute)?,
                None => product,
            });
        }
        let values = |sum: Tensor| sum.flatten_all()?.to_vec1();
        sum.map(values).transpose().map_err(compute)
    }
}

impl Factor {
    /// The matrices, the up one with the strength in it.
    fn read(&self) -> Result<(Vec<f32>, Vec<f32>), LoraError> {
        let mut up = self.file.read(&self.up.0, self.up.1)?;
        up.iter_mut().for_each(|value| *value *= self.strength);
        Ok((up, self.file.read(&self.down.0, self.down.1)?))
    }
}

/// `up [outputs, rank] @ down [rank, inputs]`; the kernel's places count as inputs.
fn product(up: Vec<f32>, down: Vec<f32>, rank: usize) -> candle_core::Result<Tensor> {
    let (outputs, inputs) = (up.len() / rank, down.len() / rank);
    let up = Tensor::from_vec(up, (outputs, rank), &Device::Cpu)?;
    up.matmul(&Tensor::from_vec(down, (rank, inputs), &Device::Cpu)?)
}

fn round(value: f32, dtype: Dtype) -> f32 {
    match dtype {
        Dtype::F32 => value,
        Dtype::F16 => f16::from_f32(value).to_f32(),
        Dtype::Bf16 => bf16::from_f32(value).to_f32(),
    }
}

impl Fused {
    fn of(values: Vec<f32>, dtype: Dtype) -> Self {
        match dtype {
            Dtype::F32 => Self::F32(values),
            Dtype::F16 => Self::F16(values.into_iter().map(f16::from_f32).collect()),
            Dtype::Bf16 => Self::Bf16(values.into_iter().map(bf16::from_f32).collect()),
        }
    }

    /// The values as `f32`.
    pub fn into_floats(self) -> Vec<f32> {
        match self {
            Self::F32(values) => values,
            Self::F16(values) => values.into_iter().map(f16::to_f32).collect(),
            Self::Bf16(values) => values.into_iter().map(bf16::to_f32).collect(),
        }
    }
}
