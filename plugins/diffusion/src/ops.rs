//! The operations networks are written in, each offered by every back end.
//!
//! A network is written once, generic over [`Ops`]. The ONNX back end records the calls as graph nodes, candle computes
//! at once. Attention and group norm have plain definitions here that a back end may replace by a fused kernel.

use crate::weights::WeightsError;

/// Why building or computing a network failed.
#[derive(Debug, thiserror::Error)]
pub enum OpError {
    #[error(transparent)]
    Weights(#[from] WeightsError),
    #[error("back end could not compute an operation")]
    Backend(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Element-wise functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    Silu,
    /// The exact one, by the error function.
    Gelu,
    /// `x * sigmoid(1.702 x)`, what the first CLIP was trained with.
    QuickGelu,
    Relu,
    Tanh,
    Sin,
    Cos,
}

/// Stride and zero padding of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    pub stride: usize,
    /// Top, left, bottom, right.
    pub padding: [usize; 4],
}

impl Window {
    pub const fn symmetric(stride: usize, padding: usize) -> Self {
        Self { stride, padding: [padding; 4] }
    }
}

/// A convolution by square kernels, and what is done with its result.
#[derive(Clone, Copy, Debug)]
pub struct Convolution<'a, T> {
    /// `[outputs, inputs, side, side]`.
    pub weight: &'a T,
    pub bias: Option<&'a T>,
    pub inputs: usize,
    pub outputs: usize,
    pub side: usize,
    pub window: Window,
    /// Added, in the shape of the result.
    pub summand: Option<&'a T>,
    /// Whether what is negative then becomes 0.
    pub has_relu: bool,
}

/// Shape and constants of a group norm.
#[derive(Clone, Copy, Debug)]
pub struct Groups {
    pub channels: usize,
    pub count: usize,
    pub epsilon: f32,
}

/// Result of an operation of the back end `O`.
pub type Value<O> = Result<<O as Ops>::T, OpError>;

/// Results of a network in the back end `O`.
pub type Values<O> = Result<Vec<<O as Ops>::T>, OpError>;

/// One back end's operations on its own tensor type.
pub trait Ops {
    type T: Clone;

    /// A tensor of the weights file, checked to have this shape.
    fn param(&self, name: &str, shape: &[usize]) -> Value<Self>;
    fn constant(&self, values: &[f32], shape: &[usize]) -> Value<Self>;

    /// `x [rows, in, height, width]`, `weight [out, in, side, side]`.
    fn conv2d(
        &self,
        x: &Self::T,
        weight: &Self::T,
        bias: Option<&Self::T>,
        window: Window,
    ) -> Value<Self>;
    /// A convolution and what is done with its result.
    fn convolve(&self, x: &Self::T, convolution: Convolution<Self::T>) -> Value<Self> {
        plain_convolution(self, x, convolution)
    }
    /// `x [..., in]`, `weight [out, in]`.
    fn linear(&self, x: &Self::T, weight: &Self::T, bias: Option<&Self::T>) -> Value<Self>;
    fn matmul(&self, a: &Self::T, b: &Self::T) -> Value<Self>;
    /// Rows of `table [count, width]` picked by `ids`, whole numbers.
    fn embedding(&self, table: &Self::T, ids: &Self::T) -> Value<Self>;

    /// Over each group of channels and all pixels, then scaled and shifted per channel, `[channels]`, or per row and
    /// channel, `[rows, channels]`.
    fn group_norm(&self, x: &Self::T, affine: [&Self::T; 2], groups: Groups) -> Value<Self>;
    /// SiLU of a group norm.
    fn group_norm_silu(&self, x: &Self::T, affine: [&Self::T; 2], groups: Groups) -> Value<Self> {
        self.apply(&self.group_norm(x, affine, groups)?, Function::Silu)
    }
    /// Over the last axis.
    fn layer_norm(
        &self,
        x: &Self::T,
        weight: &Self::T,
        bias: &Self::T,
        epsilon: f32,
    ) -> Value<Self>;
    /// Over the last axis.
    fn softmax(&self, x: &Self::T) -> Value<Self>;
    /// Over `axis`, which stays with length 1.
    fn mean(&self, x: &Self::T, axis: usize) -> Value<Self>;

    fn apply(&self, x: &Self::T, function: Function) -> Value<Self>;
    /// Broadcasts.
    fn add(&self, a: &Self::T, b: &Self::T) -> Value<Self>;
    /// Broadcasts.
    fn mul(&self, a: &Self::T, b: &Self::T) -> Value<Self>;

    fn permute(&self, x: &Self::T, axes: &[usize]) -> Value<Self>;
    /// 0 keeps the dimension at that place, one -1 is inferred.
    fn reshape(&self, x: &Self::T, dims: &[i64]) -> Value<Self>;
    fn reshape_like(&self, x: &Self::T, like: &Self::T) -> Value<Self>;
    fn concat(&self, parts: &[&Self::T], axis: usize) -> Value<Self>;
    /// From `start` to before `end`, or to the last; negative places count from the end.
    fn slice(&self, x: &Self::T, axis: usize, start: i64, end: Option<i64>) -> Value<Self>;
    /// Two equal halves along the last axis.
    fn halves(&self, x: &Self::T) -> Result<(Self::T, Self::T), OpError>;
    /// Nearest neighbour, to twice the height and width.
    fn upsample(&self, x: &Self::T) -> Value<Self>;
    /// Nearest neighbour, to the height and width of `like`.
    fn upsample_to(&self, x: &Self::T, like: &Self::T) -> Value<Self>;
    /// The largest of each 2x2 pixels; what is left over at the right and below is left out.
    fn max_pool(&self, x: &Self::T) -> Value<Self>;
    /// `[rows, channels * block * block, height, width]` to `[rows, channels, height * block, width * block]`.
    fn depth_to_space(&self, x: &Self::T, block: usize) -> Value<Self>;

    /// What depends on weights alone, under the name of the first of them. A back end that computes at once keeps it;
    /// in a graph it is folded into constants.
    fn keep(
        &self,
        _name: &str,
        compute: impl FnOnce() -> Result<[Self::T; 2], OpError>,
    ) -> Result<[Self::T; 2], OpError> {
        compute()
    }

    /// Whether runs of layers without an activation are computed as one convolution.
    fn merges_runs(&self) -> bool;

    /// `x * factor`.
    fn scale(&self, x: &Self::T, factor: f32) -> Value<Self> {
        self.mul(x, &self.constant(&[factor], &[1])?)
    }

    /// `x + offset`.
    fn shift(&self, x: &Self::T, offset: f32) -> Value<Self> {
        self.add(x, &self.constant(&[offset], &[1])?)
    }

    /// Scaled dot-product attention; queries, keys and values are `[rows, tokens, heads * width]`, `mask` is added to
    /// the scores.
    fn attention(&self, qkv: [&Self::T; 3], heads: Heads, mask: Option<&Self::T>) -> Value<Self> {
        plain_attention(self, qkv, heads, mask)
    }
}

/// A convolution spelled out, for back ends and cases without a fused operator.
pub fn plain_convolution<O: Ops + ?Sized>(
    ops: &O,
    x: &O::T,
    convolution: Convolution<O::T>,
) -> Value<O> {
    let Convolution { weight, bias, window, summand, has_relu, .. } = convolution;
    let mut result = ops.conv2d(x, weight, bias, window)?;
    if let Some(summand) = summand {
        result = ops.add(summand, &result)?;
    }
    if has_relu { ops.apply(&result, Function::Relu) } else { Ok(result) }
}

/// Attention spelled out, for back ends and cases without a fused operator.
pub fn plain_attention<O: Ops + ?Sized>(
    ops: &O,
    qkv: [&O::T; 3],
    heads: Heads,
    mask: Option<&O::T>,
) -> Value<O> {
    let split = |x: &O::T, axes: &[usize]| {
        ops.permute(&ops.reshape(x, &[0, 0, heads.count as i64, heads.width as i64])?, axes)
    };
    let query = ops.scale(qkv[0], (heads.width as f32).powf(-0.5))?;
    let mut scores = ops.matmul(&split(&query, &[0, 2, 1, 3])?, &split(qkv[1], &[0, 2, 3, 1])?)?;
    if let Some(mask) = mask {
        scores = ops.add(&scores, mask)?;
    }
    let mixed = ops.matmul(&ops.softmax(&scores)?, &split(qkv[2], &[0, 2, 1, 3])?)?;
    ops.reshape(&ops.permute(&mixed, &[0, 2, 1, 3])?, &[0, 0, (heads.count * heads.width) as i64])
}

/// Number and width of attention heads.
#[derive(Clone, Copy, Debug)]
pub struct Heads {
    pub count: usize,
    pub width: usize,
}
