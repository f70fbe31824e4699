//! Params as processors are given them: read from JSON, and inside their ranges.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::ops::Deref;

/// The params of one processor. What is absent in JSON has its default, which is in its range.
pub trait Params: Default + Serialize + DeserializeOwned + 'static {
    /// Of those that are numbers.
    const RANGES: &'static [Range<Self>];
}

/// What a number may be; both ends are included.
pub struct Range<P> {
    pub name: &'static str,
    pub from: f64,
    pub to: f64,
    pub get: fn(&P) -> f64,
}

/// Params that are inside their ranges.
#[derive(Clone, Debug, Default)]
pub struct Checked<P>(P);

#[derive(Debug, thiserror::Error)]
pub enum ParamsError {
    #[error("the params are not what this processor takes")]
    Shape(#[from] serde_json::Error),

    #[error("`{name}` must be from {from} to {to}, got {got}")]
    OutOfRange { name: &'static str, from: f64, to: f64, got: f64 },
}

impl<P: Params> Checked<P> {
    pub fn new(params: P) -> Result<Self, ParamsError> {
        for Range { name, from, to, get } in P::RANGES {
            let (from, to, got) = (*from, *to, get(&params));
            if !(from..=to).contains(&got) {
                return Err(ParamsError::OutOfRange { name, from, to, got });
            }
        }
        Ok(Self(params))
    }

    /// From a JSON object, which must have no other params.
    pub fn read(object: Value) -> Result<Self, ParamsError> {
        Self::new(serde_json::from_value(object)?)
    }
}

impl<P> Deref for Checked<P> {
    type Target = P;

    fn deref(&self) -> &P {
        &self.0
    }
}
