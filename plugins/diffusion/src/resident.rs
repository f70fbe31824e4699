//! Tensors that stay where networks are computed, so that what one call leaves for later ones is not carried to and fro.

use std::sync::Arc;

use ort::value::DynValue;

use crate::engine::RunError;

/// A tensor in the memory of a back end; copies share it.
#[derive(Clone)]
pub struct Resident {
    pub(crate) shape: Vec<usize>,
    pub(crate) place: Place,
}

#[derive(Clone)]
pub(crate) enum Place {
    Onnx(Arc<DynValue>),
    Candle(candle_core::Tensor),
}

impl Resident {
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    pub(crate) fn onnx(&self) -> Result<&DynValue, RunError> {
        match &self.place {
            Place::Onnx(value) => Ok(value),
            Place::Candle(_) => Err(RunError::Foreign { lies: "candle", wanted: "ONNX Runtime" }),
        }
    }

    pub(crate) fn candle(&self) -> Result<candle_core::Tensor, RunError> {
        match &self.place {
            Place::Candle(tensor) => Ok(tensor.clone()),
            Place::Onnx(_) => Err(RunError::Foreign { lies: "ONNX Runtime", wanted: "candle" }),
        }
    }
}
