//! The candle back end: computes a network at once, without any native library.
//!
//! Slower than ONNX Runtime; it is the reference to compare with and what remains where the library is absent.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use candle_core::{D, DType, Device, Module};
use candle_nn::GroupNorm;

use crate::engine::{LoadError, RunError};
use crate::lora::Fused;
use crate::nets::Network;
use crate::onnx;
use crate::ops::{Function, Groups, OpError, Ops, Value, Window};
use crate::resident::{Place, Resident};
use crate::tensor::Tensor;
use crate::weights::Weights;

type Candle = candle_core::Tensor;

/// The parameters of one network, in memory as `f32`.
pub struct Params {
    tensors: HashMap<String, Candle>,
    /// What was computed of them, by the name of the first.
    kept: Mutex<HashMap<String, [Candle; 2]>>,
}

impl Params {
    /// Checks all of the network's parameters, then reads them while `goes_on`; those in `fused` are taken from there.
    pub fn load<N: Network>(
        network: &N,
        weights: &Weights,
        mut fused: BTreeMap<String, Fused>,
        goes_on: &mut dyn FnMut() -> bool,
    ) -> Result<Self, LoadError> {
        let mut tensors = HashMap::new();
        for (name, (shape, place)) in onnx::check(network, weights)? {
            if !goes_on() {
                return Err(LoadError::Cancelled);
            }
            let values = match fused.remove(&name) {
                Some(fused) => fused.into_floats(),
                None => weights.read(place)?,
            };
            let tensor = Candle::from_vec(values, shape, &Device::Cpu).map_err(backend)?;
            tensors.insert(name, tensor);
        }
        Ok(Self { tensors, kept: Mutex::default() })
    }

    /// Of given values, for tests of what networks are made of.
    #[cfg(test)]
    pub(crate) fn of(tensors: impl IntoIterator<Item = (String, Candle)>) -> Self {
        Self { tensors: tensors.into_iter().collect(), kept: Mutex::default() }
    }

    pub fn run<N: Network>(
        &self,
        network: &N,
        inputs: &[&Tensor],
    ) -> Result<Vec<Tensor>, RunError> {
        let outputs = network.forward(self, &to_candle(inputs)?)?;
        Ok(outputs.iter().map(to_host).collect::<Result<_, _>>()?)
    }

    /// See [`Model::run_resident`](crate::engine::Model::run_resident).
    pub fn run_resident<N: Network>(
        &self,
        network: &N,
        inputs: &[&Tensor],
        resident: &[&Resident],
        keeps: bool,
    ) -> Result<(Tensor, Vec<Resident>), RunError> {
        let mut given = to_candle(inputs)?;
        for tensor in resident {
            given.push(tensor.candle()?);
        }
        let mut outputs = network.forward(self, &given)?;
        let kept = if keeps { outputs.split_off(1) } else { Vec::new() };
        Ok((to_host(&outputs[0])?, kept.into_iter().map(to_resident).collect()))
    }

    pub fn zeros(shape: &[usize]) -> Result<Resident, RunError> {
        let zeros = Candle::zeros(shape, DType::F32, &Device::Cpu).map_err(backend)?;
        Ok(to_resident(zeros))
    }
}

fn to_candle(tensors: &[&Tensor]) -> Result<Vec<Candle>, OpError> {
    let to_candle =
        |tensor: &&Tensor| Candle::from_slice(tensor.data(), tensor.shape(), &Device::Cpu);
    tensors.iter().map(to_candle).collect::<candle_core::Result<_>>().map_err(backend)
}

fn to_host(tensor: &Candle) -> Result<Tensor, OpError> {
    let data = tensor.flatten_all().and_then(|flat| flat.to_vec1()).map_err(backend)?;
    Ok(Tensor::new(tensor.dims(), data))
}

fn to_resident(tensor: Candle) -> Resident {
    Resident { shape: tensor.dims().to_vec(), place: Place::Candle(tensor) }
}

fn backend(error: candle_core::Error) -> OpError {
    OpError::Backend(Box::new(error))
}

/// The dimensions a reshape asks for, with 0 and -1 resolved.
fn resolve(dims: &[i64], from: &[usize]) -> Vec<usize> {
    let known = |(index, &dim): (usize, &i64)| match dim {
        0 => from[index],
        -1 => 1,
        dim => dim as usize,
    };
    let mut resolved: Vec<usize> = dims.iter().enumerate().map(known).collect();
    if let Some(free) = dims.iter().position(|&dim| dim == -1) {
        resolved[free] = from.iter().product::<usize>() / resolved.iter().product::<usize>().max(1);
    }
    resolved
}

impl Ops for Params {
    type T = Candle;

    fn param(&self, name: &str, _shape: &[usize]) -> Value<Self> {
        Ok(self
            .tensors
            .get(name)
            .expect("loading went through the same calls and read every parameter")
            .clone())
    }

    fn constant(&self, values: &[f32], shape: &[usize]) -> Value<Self> {
        Candle::from_slice(values, shape, &Device::Cpu).map_err(backend)
    }

    fn conv2d(
        &self,
        x: &Candle,
        weight: &Candle,
        bias: Option<&Candle>,
        window: Window,
    ) -> Value<Self> {
        let convolve = || {
            let [top, left, bottom, right] = window.padding;
            let is_even = [left, bottom, right] == [top; 3];
            let (x, padding) = if is_even {
                (x.clone(), top)
            } else {
                (x.pad_with_zeros(2, top, bottom)?.pad_with_zeros(3, left, right)?, 0)
            };
            let result = x.conv2d(weight, padding, window.stride, 1, 1)?;
            bias.map_or(Ok(result.clone()), |bias| {
                result.broadcast_add(&bias.reshape((1, (), 1, 1))?)
            })
        };
        convolve().map_err(backend)
    }

    fn linear(&self, x: &Candle, weight: &Candle, bias: Option<&Candle>) -> Value<Self> {
        let multiply = || {
            let inputs = x.dim(D::Minus1)?;
            let product = x.reshape(((), inputs))?.matmul(&weight.t()?)?;
            let mut dims = x.dims().to_vec();
            *dims.last_mut().expect("a dimension was just read") = weight.dim(0)?;
            let product = product.reshape(dims)?;
            bias.map_or(Ok(product.clone()), |bias| product.broadcast_add(bias))
        };
        multiply().map_err(backend)
    }

    fn matmul(&self, a: &Candle, b: &Candle) -> Value<Self> {
        a.contiguous().and_then(|a| a.matmul(&b.contiguous()?)).map_err(backend)
    }

    fn embedding(&self, table: &Candle, ids: &Candle) -> Value<Self> {
        let pick = || {
            let rows = table.index_select(&ids.flatten_all()?.to_dtype(DType::U32)?, 0)?;
            rows.reshape([ids.dims(), &table.dims()[1..]].concat())
        };
        pick().map_err(backend)
    }

    fn group_norm(&self, x: &Candle, [weight, bias]: [&Candle; 2], groups: Groups) -> Value<Self> {
        let Groups { channels, count, epsilon } = groups;
        let norm = |weight: Candle, bias: Candle| {
            GroupNorm::new(weight, bias, channels, count, epsilon.into())?.forward(x)
        };
        if weight.rank() == 1 {
            return norm(weight.clone(), bias.clone()).map_err(backend);
        }
        let per_row = |param: &Candle| param.reshape(((), channels, 1, 1));
        let by_row = || {
            let ones = Candle::ones(channels, x.dtype(), x.device())?;
            norm(ones.clone(), ones.zeros_like()?)?
                .broadcast_mul(&per_row(weight)?)?
                .broadcast_add(&per_row(bias)?)
        };
        by_row().map_err(backend)
    }

    fn layer_norm(&self, x: &Candle, weight: &Candle, bias: &Candle, epsilon: f32) -> Value<Self> {
        x.contiguous()
            .and_then(|x| candle_nn::ops::layer_norm(&x, weight, bias, epsilon))
            .map_err(backend)
    }

    fn softmax(&self, x: &Candle) -> Value<Self> {
        candle_nn::ops::softmax_last_dim(x).map_err(backend)
    }

    fn mean(&self, x: &Candle, axis: usize) -> Value<Self> {
        x.mean_keepdim(axis).map_err(backend)
    }

    fn apply(&self, x: &Candle, function: Function) -> Value<Self> {
        let result = match function {
            Function::Silu => x.silu(),
            Function::Gelu => x.gelu_erf(),
            Function::QuickGelu => {
                x.affine(1.702, 0.0).and_then(|scaled| x * candle_nn::ops::sigmoid(&scaled)?)
            }
            Function::Relu => x.relu(),
            Function::Tanh => x.tanh(),
            Function::Sin => x.sin(),
            Function::Cos => x.cos(),
        };
        result.map_err(backend)
    }

    fn add(&self, a: &Candle, b: &Candle) -> Value<Self> {
        let sum = if a.dims() == b.dims() { a + b } else { a.broadcast_add(b) };
        sum.map_err(backend)
    }

    fn mul(&self, a: &Candle, b: &Candle) -> Value<Self> {
        let product = if a.dims() == b.dims() { a * b } else { a.broadcast_mul(b) };
        product.map_err(backend)
    }

    fn permute(&self, x: &Candle, axes: &[usize]) -> Value<Self> {
        x.permute(axes).map_err(backend)
    }

    fn reshape(&self, x: &Candle, dims: &[i64]) -> Value<Self> {
        let dims = resolve(dims, x.dims());
        x.contiguous().and_then(|x| x.reshape(dims)).map_err(backend)
    }

    fn reshape_like(&self, x: &Candle, like: &Candle) -> Value<Self> {
        x.contiguous().and_then(|x| x.reshape(like.dims())).map_err(backend)
    }

    fn concat(&self, parts: &[&Candle], axis: usize) -> Value<Self> {
        Candle::cat(parts, axis).map_err(backend)
    }

    fn slice(&self, x: &Candle, axis: usize, start: i64, end: Option<i64>) -> Value<Self> {
        let cut = || {
            let size = x.dim(axis)?;
            let place = |at: i64| {
                let at = if at < 0 {
                    size.saturating_sub(at.unsigned_abs() as usize)
                } else {
                    at as usize
                };
                at.min(size)
            };
            let (start, end) = (place(start), end.map_or(size, place));
            x.narrow(axis, start, end.saturating_sub(start))
        };
        cut().map_err(backend)
    }

    fn halves(&self, x: &Candle) -> Result<(Candle, Candle), OpError> {
        let split = || {
            let half = x.dim(D::Minus1)? / 2;
            let part = |start| x.narrow(D::Minus1, start, half)?.contiguous();
            Ok((part(0)?, part(half)?))
        };
        split().map_err(backend)
    }

    fn upsample(&self, x: &Candle) -> Value<Self> {
        x.dims4()
            .and_then(|(_, _, height, width)| x.upsample_nearest2d(2 * height, 2 * width))
            .map_err(backend)
    }

    fn upsample_to(&self, x: &Candle, like: &Candle) -> Value<Self> {
        like.dims4()
            .and_then(|(_, _, height, width)| x.upsample_nearest2d(height, width))
            .map_err(backend)
    }

    fn max_pool(&self, x: &Candle) -> Value<Self> {
        x.max_pool2d(2).map_err(backend)
    }

    fn depth_to_space(&self, x: &Candle, block: usize) -> Value<Self> {
        candle_nn::ops::pixel_shuffle(x, block).map_err(backend)
    }

    fn keep(
        &self,
        name: &str,
        compute: impl FnOnce() -> Result<[Candle; 2], OpError>,
    ) -> Result<[Candle; 2], OpError> {
        // What is in it is whole, whoever panicked.
        let kept = || self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = kept().get(name) {
            return Ok(known.clone());
        }
        let computed = compute()?;
        kept().insert(name.to_owned(), computed.clone());
        Ok(computed)
    }

    fn merges_runs(&self) -> bool {
        true
    }

    fn scale(&self, x: &Candle, factor: f32) -> Value<Self> {
        x.affine(factor.into(), 0.0).map_err(backend)
    }

    fn shift(&self, x: &Candle, offset: f32) -> Value<Self> {
        x.affine(1.0, offset.into()).map_err(backend)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_depends_on_weights_alone_is_computed_once() {
        let params = Params::of([]);
        let computed = || {
            Ok([Candle::new(1f32, &Device::Cpu), Candle::new(2f32, &Device::Cpu)]
                .map(|tensor| tensor.unwrap()))
        };
        params.keep("a", computed).unwrap();
        let [first, _] = params.keep("a", || panic!("it is known")).unwrap();
        assert_eq!(first.to_scalar::<f32>().unwrap(), 1.0);
        let failed = params.keep("b", || Err(OpError::Backend("no".into())));
        assert!(failed.is_err() && params.keep("b", computed).is_ok(), "a failure is not kept");
    }
}
