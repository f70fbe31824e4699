//! Named numbers that plugins hand each other.

use crate::Error;
use std::borrow::Cow;

/// Most axes of a tensor.
pub const MAX_AXES: usize = 8;
/// Most numbers in a tensor: 1 GiB of them.
pub const MAX_VALUES: usize = 1 << 28;

/// Numbers in rows: the last axis is the innermost, and nothing lies between them.
///
/// ```
/// let tensor = plugin_api::Tensor::new("latents", [1, 2], vec![0.5, 1.0]).unwrap();
/// assert_eq!((tensor.name(), tensor.shape()), ("latents", &[1, 2][..]));
/// assert!(plugin_api::Tensor::new("latents", [1, 3], vec![0.5, 1.0]).is_err());
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor<'a> {
    name: Cow<'a, str>,
    shape: Vec<usize>,
    values: Cow<'a, [f32]>,
}

impl<'a> Tensor<'a> {
    /// As many values as the shape says, with at most [`MAX_AXES`] axes.
    pub fn new(
        name: impl Into<Cow<'a, str>>,
        shape: impl Into<Vec<usize>>,
        values: impl Into<Cow<'a, [f32]>>,
    ) -> Result<Self, Error> {
        let (name, shape, values) = (name.into(), shape.into(), values.into());
        match count(&shape) {
            Some(count) if count == values.len() => Ok(Self { name, shape, values }),
            _ => Err(Error::invalid(format!(
                "`{name}` of the shape {shape:?} cannot have {} values",
                values.len()
            ))),
        }
    }

    /// What it is in the call.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Sizes of its axes, the outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Its numbers.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// Its numbers, copied only where they are lent.
    pub fn into_values(self) -> Vec<f32> {
        self.values.into_owned()
    }

    /// The one of this name among several.
    pub fn find<'t>(tensors: &'t [Tensor<'a>], name: &str) -> Result<&'t Self, Error> {
        tensors.iter().find(|tensor| tensor.name == name).ok_or_else(|| {
            let names: Vec<&str> = tensors.iter().map(Tensor::name).collect();
            Error::invalid(format!(
                "the tensor `{name}` is missing; there are {}",
                names.join(", ")
            ))
        })
    }
}

/// Values in a shape; none where there are too many axes or values.
pub(crate) fn count(shape: &[usize]) -> Option<usize> {
    let count = shape.iter().try_fold(1usize, |count, &size| count.checked_mul(size))?;
    (shape.len() <= MAX_AXES && count <= MAX_VALUES).then_some(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tensor_has_as_many_values_as_its_shape_says() {
        for (shape, values) in [(vec![], 1), (vec![2, 0], 0), (vec![2, 3], 6), (vec![1; 8], 1)] {
            assert!(Tensor::new("x", shape, vec![0.0; values]).is_ok());
        }
        let bad = [(vec![2, 3], 5), (vec![1; 9], 1), (vec![usize::MAX, 2], 0)];
        for (shape, values) in bad {
            assert!(Tensor::new("x", shape, vec![0.0; values]).is_err());
        }
    }

    #[test]
    fn a_missing_tensor_is_told_with_those_that_are_there() {
        let tensors = ["a", "b"].map(|name| Tensor::new(name, [1], vec![0.0]).unwrap());
        assert_eq!(Tensor::find(&tensors, "b").unwrap().name(), "b");
        let error = Tensor::find(&tensors, "c").unwrap_err();
        assert_eq!(error.message, "the tensor `c` is missing; there are a, b");
    }
}
