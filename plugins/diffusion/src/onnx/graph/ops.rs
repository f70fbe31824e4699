//! The operations as nodes of the graph.

use std::rc::Rc;

use super::super::messages::AttributeProto;
use super::{FLOAT, INT64, Recorder};
use crate::kernels::is_narrow;
use crate::ops::{
    Convolution, Function, Groups, Heads, OpError, Ops, Value, Window, plain_convolution,
};
use crate::weights::Dtype;

/// Our own convolution keeps its weights a second time, in four times the room. Where channels are many, that is more
/// memory than a network of full size may take.
const MAX_CHANNELS: usize = 128;

/// Whether our own operator is quicker than ONNX Runtime's.
fn is_quicker<T>(convolution: &Convolution<T>) -> bool {
    let Convolution { inputs, outputs, side, window, .. } = *convolution;
    side == 3 && window.stride == 1 && inputs.max(outputs) <= MAX_CHANNELS
}

impl Ops for Recorder<'_> {
    type T = Rc<str>;

    fn param(&self, name: &str, shape: &[usize]) -> Value<Self> {
        let place = self.weights.find(name, shape)?;
        self.state.borrow_mut().params.insert(name.into(), (shape.to_vec(), place));
        let name: Rc<str> = name.into();
        if place.dtype == Dtype::F16 && self.dialect.has_half {
            self.state.borrow_mut().halves.insert(name.clone());
            return Ok(name);
        }
        Ok(if place.dtype == Dtype::F32 { name } else { self.cast(&name, FLOAT) })
    }

    fn constant(&self, values: &[f32], shape: &[usize]) -> Value<Self> {
        Ok(self.float_constant(values, shape))
    }

    fn conv2d(
        &self,
        x: &Rc<str>,
        weight: &Rc<str>,
        bias: Option<&Rc<str>>,
        window: Window,
    ) -> Value<Self> {
        let mut inputs = vec![x, weight];
        inputs.extend(bias);
        let strides = AttributeProto::ints("strides", [window.stride; 2]);
        let pads = AttributeProto::ints("pads", window.padding);
        Ok(self.joined("Conv", &inputs, vec![strides, pads]))
    }

    fn convolve(&self, x: &Rc<str>, convolution: Convolution<Rc<str>>) -> Value<Self> {
        // What is folded into constants must be made of what the library can fold.
        let is_folded = self.state.borrow().is_folding;
        if self.dialect.has_operators && !is_folded && is_quicker(&convolution) {
            return self.own_convolution(x, convolution);
        }
        plain_convolution(self, x, convolution)
    }

    fn linear(&self, x: &Rc<str>, weight: &Rc<str>, bias: Option<&Rc<str>>) -> Value<Self> {
        let product = self.matmul(x, &self.permute(weight, &[1, 0])?)?;
        bias.map_or(Ok(product.clone()), |bias| self.add(&product, bias))
    }

    fn matmul(&self, a: &Rc<str>, b: &Rc<str>) -> Value<Self> {
        Ok(self.joined("MatMul", &[a, b], vec![]))
    }

    fn embedding(&self, table: &Rc<str>, ids: &Rc<str>) -> Value<Self> {
        Ok(self.node("Gather", &[table, &self.cast(ids, INT64)], vec![]))
    }

    /// Written with InstanceNormalization: every provider has that one.
    fn group_norm(&self, x: &Rc<str>, affine: [&Rc<str>; 2], groups: Groups) -> Value<Self> {
        if self.dialect.has_operators {
            return self.own_group_norm(x, affine, groups, false);
        }
        if self.fuses_group_norm(x, affine, groups) {
            return self.fused_group_norm(x, affine, groups, false);
        }
        let Groups { channels, count, epsilon } = groups;
        let grouped = self.reshape(x, &[0, count as i64, -1])?;
        let ones = self.float_constant(&vec![1.0; count], &[count]);
        let zeros = self.float_constant(&vec![0.0; count], &[count]);
        let epsilon = AttributeProto::float("epsilon", epsilon);
        let inputs = [&grouped, &ones, &zeros];
        let normed = self.joined("InstanceNormalization", &inputs, vec![epsilon]);
        let per_channel = |param: &Rc<str>| self.reshape(param, &[-1, channels as i64, 1, 1]);
        let [weight, bias] = affine.map(per_channel);
        self.add(&self.mul(&self.reshape_like(&normed, x)?, &weight?)?, &bias?)
    }

    fn group_norm_silu(&self, x: &Rc<str>, affine: [&Rc<str>; 2], groups: Groups) -> Value<Self> {
        if self.dialect.has_operators {
            return self.own_group_norm(x, affine, groups, true);
        }
        if self.fuses_group_norm(x, affine, groups) {
            return self.fused_group_norm(x, affine, groups, true);
        }
        self.apply(&self.group_norm(x, affine, groups)?, Function::Silu)
    }

    fn layer_norm(
        &self,
        x: &Rc<str>,
        weight: &Rc<str>,
        bias: &Rc<str>,
        epsilon: f32,
    ) -> Value<Self> {
        let epsilon = AttributeProto::float("epsilon", epsilon);
        Ok(self.joined("LayerNormalization", &[x, weight, bias], vec![epsilon]))
    }

    fn softmax(&self, x: &Rc<str>) -> Value<Self> {
        Ok(self.node("Softmax", &[x], vec![AttributeProto::int("axis", -1)]))
    }

    fn mean(&self, x: &Rc<str>, axis: usize) -> Value<Self> {
        let axes = self.int_constant(&[axis as i64]);
        Ok(self.node("ReduceMean", &[x, &axes], vec![]))
    }

    fn apply(&self, x: &Rc<str>, function: Function) -> Value<Self> {
        let node = |op| Ok(self.node(op, &[x], vec![]));
        match function {
            Function::Silu => self.mul(x, &self.node("Sigmoid", &[x], vec![])),
            Function::QuickGelu => {
                self.mul(x, &self.node("Sigmoid", &[&self.scale(x, 1.702)?], vec![]))
            }
            Function::Gelu => node("Gelu"),
            Function::Relu => node("Relu"),
            Function::Tanh => node("Tanh"),
            Function::Sin => node("Sin"),
            Function::Cos => node("Cos"),
        }
    }

    fn add(&self, a: &Rc<str>, b: &Rc<str>) -> Value<Self> {
        Ok(self.joined("Add", &[a, b], vec![]))
    }

    fn mul(&self, a: &Rc<str>, b: &Rc<str>) -> Value<Self> {
        Ok(self.joined("Mul", &[a, b], vec![]))
    }

    fn permute(&self, x: &Rc<str>, axes: &[usize]) -> Value<Self> {
        Ok(self.node("Transpose", &[x], vec![AttributeProto::ints("perm", axes.iter().copied())]))
    }

    fn reshape(&self, x: &Rc<str>, dims: &[i64]) -> Value<Self> {
        Ok(self.node("Reshape", &[x, &self.int_constant(dims)], vec![]))
    }

    fn reshape_like(&self, x: &Rc<str>, like: &Rc<str>) -> Value<Self> {
        Ok(self.node("Reshape", &[x, &self.shape_of(like, vec![])], vec![]))
    }

    fn concat(&self, parts: &[&Rc<str>], axis: usize) -> Value<Self> {
        Ok(self.joined("Concat", parts, vec![AttributeProto::int("axis", axis as i64)]))
    }

    fn slice(&self, x: &Rc<str>, axis: usize, start: i64, end: Option<i64>) -> Value<Self> {
        let [start, end, axis] =
            [start, end.unwrap_or(i64::MAX), axis as i64].map(|place| self.int_constant(&[place]));
        Ok(self.node("Slice", &[x, &start, &end, &axis], vec![]))
    }

    fn halves(&self, x: &Rc<str>) -> Result<(Rc<str>, Rc<str>), OpError> {
        let name = format!("Split_{}", self.state.borrow().nodes.len());
        let names = [format!("{name}_a"), format!("{name}_b")];
        let attributes =
            vec![AttributeProto::int("axis", -1), AttributeProto::int("num_outputs", 2)];
        self.add_node("Split", "", &[x], attributes, names.to_vec());
        let (first, second) = (names[0].as_str().into(), names[1].as_str().into());
        self.mark_like(x, &first);
        self.mark_like(x, &second);
        Ok((first, second))
    }

    fn upsample(&self, x: &Rc<str>) -> Value<Self> {
        Ok(self.resize(x, &self.float_constant(&[1.0, 1.0, 2.0, 2.0], &[4]), None))
    }

    fn upsample_to(&self, x: &Rc<str>, like: &Rc<str>) -> Value<Self> {
        let rows_and_channels = self.shape_of(x, vec![AttributeProto::int("end", 2)]);
        let sides = self.shape_of(like, vec![AttributeProto::int("start", 2)]);
        let sizes = self.concat(&[&rows_and_channels, &sides], 0)?;
        Ok(self.resize(x, &"".into(), Some(&sizes)))
    }

    fn max_pool(&self, x: &Rc<str>) -> Value<Self> {
        let sides = ["kernel_shape", "strides"];
        let attributes = sides.map(|name| AttributeProto::ints(name, [2, 2])).into();
        Ok(self.node("MaxPool", &[x], attributes))
    }

    fn depth_to_space(&self, x: &Rc<str>, block: usize) -> Value<Self> {
        if self.dialect.has_operators {
            let block = vec![AttributeProto::int("block", block as i64)];
            return Ok(self.own("DepthToSpace", &[x], block, 4));
        }
        // The order in which channels come before the places in a block.
        let mode = AttributeProto::text("mode", "CRD");
        let attributes = vec![AttributeProto::int("blocksize", block as i64), mode];
        Ok(self.node("DepthToSpace", &[x], attributes))
    }

    fn keep(
        &self,
        _name: &str,
        compute: impl FnOnce() -> Result<[Rc<str>; 2], OpError>,
    ) -> Result<[Rc<str>; 2], OpError> {
        self.state.borrow_mut().is_folding = true;
        let kept = compute();
        self.state.borrow_mut().is_folding = false;
        kept
    }

    fn merges_runs(&self) -> bool {
        self.dialect.merges_runs
    }

    fn attention(&self, qkv: [&Rc<str>; 3], heads: Heads, mask: Option<&Rc<str>>) -> Value<Self> {
        if !self.dialect.has_fused_attention || mask.is_some() {
            return crate::ops::plain_attention(self, qkv, heads, mask);
        }
        if self.dialect.has_operators && is_narrow(heads.width) {
            let width = AttributeProto::int("width", heads.width as i64);
            return Ok(self.own("NarrowAttention", &qkv, vec![width], 3));
        }
        let heads = AttributeProto::int("num_heads", heads.count as i64);
        let qkv = self.alike(&qkv);
        let inputs: Vec<&Rc<str>> = qkv.iter().collect();
        let mixed = self.node_of("MultiHeadAttention", "com.microsoft", &inputs, vec![heads]);
        self.mark_like(&qkv[0], &mixed);
        Ok(mixed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn convolutions_by_small_steps_in_few_channels_are_our_own() {
        let is_own = |inputs, outputs, side, stride| {
            let window = Window::symmetric(stride, side / 2);
            is_quicker(&Convolution {
                weight: &(),
                bias: None,
                inputs,
                outputs,
                side,
                window,
                summand: None,
                has_relu: false,
            })
        };
        assert!(is_own(4, 16, 3, 1) && is_own(128, 128, 3, 1));
        assert!(!is_own(129, 64, 3, 1) && !is_own(64, 129, 3, 1), "many channels");
        assert!(!is_own(64, 64, 1, 1) && !is_own(64, 64, 5, 1), "other filters");
        assert!(!is_own(64, 64, 3, 2), "steps of two");
    }
}
