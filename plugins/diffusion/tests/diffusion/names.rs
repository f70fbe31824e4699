//! A back end that computes nothing and notes which weights a network asks for.

use std::cell::RefCell;

use plugins_diffusion::nets::Network;
use plugins_diffusion::ops::{Function, Groups, OpError, Ops, Value, Window};

/// Names and shapes of weights.
#[derive(Default)]
pub struct Names(RefCell<Vec<(String, Vec<usize>)>>);

impl Names {
    pub fn of(network: &impl Network) -> Vec<(String, Vec<usize>)> {
        let names = Self::default();
        network.forward(&names, &vec![(); network.inputs().len()]).unwrap();
        let mut list = names.0.into_inner();
        list.sort();
        list.dedup();
        list
    }
}

impl Ops for Names {
    type T = ();

    fn param(&self, name: &str, shape: &[usize]) -> Value<Self> {
        self.0.borrow_mut().push((name.into(), shape.into()));
        Ok(())
    }

    fn constant(&self, _: &[f32], _: &[usize]) -> Value<Self> {
        Ok(())
    }

    fn conv2d(&self, (): &(), (): &(), _: Option<&()>, _: Window) -> Value<Self> {
        Ok(())
    }

    fn linear(&self, (): &(), (): &(), _: Option<&()>) -> Value<Self> {
        Ok(())
    }

    fn matmul(&self, (): &(), (): &()) -> Value<Self> {
        Ok(())
    }

    fn embedding(&self, (): &(), (): &()) -> Value<Self> {
        Ok(())
    }

    fn group_norm(&self, (): &(), _: [&(); 2], _: Groups) -> Value<Self> {
        Ok(())
    }

    fn layer_norm(&self, (): &(), (): &(), (): &(), _: f32) -> Value<Self> {
        Ok(())
    }

    fn softmax(&self, (): &()) -> Value<Self> {
        Ok(())
    }

    fn mean(&self, (): &(), _: usize) -> Value<Self> {
        Ok(())
    }

    fn apply(&self, (): &(), _: Function) -> Value<Self> {
        Ok(())
    }

    fn add(&self, (): &(), (): &()) -> Value<Self> {
        Ok(())
    }

    fn mul(&self, (): &(), (): &()) -> Value<Self> {
        Ok(())
    }

    fn permute(&self, (): &(), _: &[usize]) -> Value<Self> {
        Ok(())
    }

    fn reshape(&self, (): &(), _: &[i64]) -> Value<Self> {
        Ok(())
    }

    fn reshape_like(&self, (): &(), (): &()) -> Value<Self> {
        Ok(())
    }

    fn concat(&self, _: &[&()], _: usize) -> Value<Self> {
        Ok(())
    }

    fn slice(&self, (): &(), _: usize, _: i64, _: Option<i64>) -> Value<Self> {
        Ok(())
    }

    fn halves(&self, (): &()) -> Result<((), ()), OpError> {
        Ok(((), ()))
    }

    fn upsample(&self, (): &()) -> Value<Self> {
        Ok(())
    }

    fn upsample_to(&self, (): &(), (): &()) -> Value<Self> {
        Ok(())
    }

    fn max_pool(&self, (): &()) -> Value<Self> {
        Ok(())
    }

    fn depth_to_space(&self, (): &(), _: usize) -> Value<Self> {
        Ok(())
    }

    fn merges_runs(&self) -> bool {
        false
    }
}
