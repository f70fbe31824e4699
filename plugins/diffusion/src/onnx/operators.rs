//! Operators of our own, which ONNX Runtime calls on the CPU where its own would make several passes over memory.

use std::sync::Mutex;

use ort::operator::{
    ComputeContext, Kernel, KernelContext, Operator, OperatorDomain, OperatorInput, OperatorOutput,
};
use ort::value::{TensorElementType, ValueRef};

use crate::kernels::{Memory, Moments, scale_and_shift};

/// The domain of their names in a graph.
pub const DOMAIN: &str = "streamdiffusion.host";

/// So many values are worth waking another thread for.
const PIECE: usize = 1 << 14;
/// Queries that one thread takes at a time.
const QUERIES: usize = 64;

pub fn domain() -> ort::Result<OperatorDomain> {
    OperatorDomain::new(DOMAIN)?.add(GroupNorm)?.add(DepthToSpace)?.add(NarrowAttention)
}

/// `x [rows, channels, height, width]`, `weight` and `bias` `[1, channels]` or `[rows, channels]`; with `silu` 1, SiLU of the
/// result.
struct GroupNorm;

struct GroupNormKernel {
    groups: usize,
    epsilon: f32,
    has_silu: bool,
}

/// `x [rows, channels * block * block, height, width]`, the places in a block counted by rows.
struct DepthToSpace;

struct DepthToSpaceKernel {
    block: usize,
}

/// `query`, `key` and `value` `[rows, tokens, heads * width]`, of heads that are narrow.
struct NarrowAttention;

struct NarrowAttentionKernel {
    width: usize,
}

fn floats<const COUNT: usize>() -> [OperatorInput; COUNT] {
    std::array::from_fn(|_| OperatorInput::required(TensorElementType::Float32))
}

fn attribute<T: for<'a> ort::operator::FromKernelContext<'a>>(
    ctx: &KernelContext<'_>,
    name: &str,
) -> ort::Result<T> {
    ctx.get(name).ok_or_else(|| ort::Error::new(format!("the attribute {name} is missing")))
}

impl Operator for GroupNorm {
    type Kernel<'attr> = GroupNormKernel;

    fn name(&self) -> &str {
        "GroupNorm"
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        floats::<3>()
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [OperatorOutput::required(TensorElementType::Float32)]
    }

    fn create_kernel<'attr>(&self, ctx: &KernelContext<'attr>) -> ort::Result<GroupNormKernel> {
        let groups = attribute::<i64>(ctx, "groups")?;
        let epsilon = attribute(ctx, "epsilon")?;
        let has_silu = attribute::<i64>(ctx, "silu")? == 1;
        Ok(GroupNormKernel { groups: groups as usize, epsilon, has_silu })
    }
}

impl Operator for DepthToSpace {
    type Kernel<'attr> = DepthToSpaceKernel;

    fn name(&self) -> &str {
        "DepthToSpace"
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        floats::<1>()
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [OperatorOutput::required(TensorElementType::Float32)]
    }

    fn create_kernel<'attr>(&self, ctx: &KernelContext<'attr>) -> ort::Result<DepthToSpaceKernel> {
        Ok(DepthToSpaceKernel { block: attribute::<i64>(ctx, "block")? as usize })
    }
}

impl Operator for NarrowAttention {
    type Kernel<'attr> = NarrowAttentionKernel;

    fn name(&self) -> &str {
        "NarrowAttention"
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        floats::<3>()
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [OperatorOutput::required(TensorElementType::Float32)]
    }

    fn create_kernel<'attr>(
        &self,
        ctx: &KernelContext<'attr>,
    ) -> ort::Result<NarrowAttentionKernel> {
        Ok(NarrowAttentionKernel { width: attribute::<i64>(ctx, "width")? as usize })
    }
}

/// An input of a kernel.
struct Input<'a>(ValueRef<'a>);

impl<'a> Input<'a> {
    fn of(ctx: &'a ComputeContext, place: usize) -> ort::Result<Self> {
        let input = ctx.input(place)?;
        Ok(Self(input.ok_or_else(|| ort::Error::new(format!("the input {place} is missing")))?))
    }

    fn parts(&self) -> ort::Result<(Vec<usize>, &[f32])> {
        let (shape, values) = self.0.try_extract_tensor::<f32>()?;
        Ok((shape.iter().map(|&dim| dim as usize).collect(), values))
    }
}

/// Fills the first output piece by piece, on all threads: `fill` gets the piece's number and place.
fn fill(
    ctx: &ComputeContext,
    shape: &[usize],
    piece: usize,
    fill: impl Fn(usize, &mut [f32]) + Send + Sync,
) -> ort::Result<()> {
    let shape: Vec<i64> = shape.iter().map(|&dim| dim as i64).collect();
    let output = ctx.output(0, shape)?;
    let mut output = output.ok_or_else(|| ort::Error::new("the output is missing"))?;
    let (_, values) = output.try_extract_tensor_mut::<f32>()?;
    in_pieces(ctx, values, piece, fill)
}

fn in_pieces<T: Send>(
    ctx: &ComputeContext,
    values: &mut [T],
    piece: usize,
    fill: impl Fn(usize, &mut [T]) + Send + Sync,
) -> ort::Result<()> {
    // The callback may be called by several threads; each takes a piece that is no other's.
    let pieces: Vec<Mutex<&mut [T]>> = values.chunks_mut(piece).map(Mutex::new).collect();
    ctx.par_for(pieces.len(), pieces.len(), |number| {
        if let Some(Ok(mut values)) = pieces.get(number).map(Mutex::lock) {
            fill(number, &mut values);
        }
    })
}

fn mismatch(what: &str, shapes: &[&[usize]]) -> ort::Error {
    ort::Error::new(format!("{what} does not take inputs of the shapes {shapes:?}"))
}

impl Kernel for GroupNormKernel {
    fn compute(&mut self, ctx: &ComputeContext) -> ort::Result<()> {
        let [x, weight, bias] = [Input::of(ctx, 0)?, Input::of(ctx, 1)?, Input::of(ctx, 2)?];
        let ((shape, x), (weights, weight), (biases, bias)) =
            (x.parts()?, weight.parts()?, bias.parts()?);
        let [rows, channels, ..] = shape[..] else {
            return Err(mismatch("GroupNorm", &[&shape]));
        };
        let planes = rows * channels;
        let fits = |values: &[f32]| values.len() == channels || values.len() == planes;
        if x.is_empty() || channels % self.groups != 0 || !fits(weight) || !fits(bias) {
            return Err(mismatch("GroupNorm", &[&shape, &weights, &biases]));
        }
        let area = x.len() / planes;
        let each = PIECE.div_ceil(area.max(1));
        let mut moments = vec![Moments::default(); planes];
        in_pieces(ctx, &mut moments, each, |piece, moments| {
            let planes = x[piece * each * area..].chunks_exact(area);
            for (moments, plane) in moments.iter_mut().zip(planes) {
                *moments = Moments::of(plane);
            }
        })?;
        let size = channels / self.groups;
        let mut lines = Vec::with_capacity(planes);
        for (group, moments) in moments.chunks(size).enumerate() {
            let whole = moments.iter().copied().fold(Moments::default(), Moments::and);
            lines.extend((group * size..(group + 1) * size).map(|plane| {
                let of = |values: &[f32]| values[plane % values.len()];
                whole.normalising(self.epsilon, of(weight), of(bias))
            }));
        }
        let has_silu = self.has_silu;
        fill(ctx, &shape, each * area, |piece, y| {
            let x = x[piece * each * area..].chunks_exact(area);
            let planes = x.zip(y.chunks_exact_mut(area)).zip(&lines[piece * each..]);
            for ((x, y), &line) in planes {
                scale_and_shift(x, y, line, has_silu);
            }
        })
    }
}

impl Kernel for DepthToSpaceKernel {
    fn compute(&mut self, ctx: &ComputeContext) -> ort::Result<()> {
        let (block, x) = (self.block, Input::of(ctx, 0)?);
        let (shape, x) = x.parts()?;
        let &[rows, depth, height, width] = &shape[..] else {
            return Err(mismatch("DepthToSpace", &[&shape]));
        };
        if x.is_empty() || block == 0 || depth % (block * block) != 0 {
            return Err(mismatch("DepthToSpace", &[&shape]));
        }
        let channels = depth / (block * block);
        let shape = [rows, channels, height * block, width * block];
        let line = width * block;
        let each = PIECE.div_ceil(line);
        fill(ctx, &shape, each * line, |piece, lines| {
            for (number, line) in lines.chunks_exact_mut(line).enumerate() {
                let (y, row) = ((piece * each + number) / block, (piece * each + number) % block);
                let (channel, y) = (y / height, y % height);
                for column in 0..block {
                    let depth = (channel * block + row) * block + column;
                    let source = &x[(depth * height + y) * width..][..width];
                    let places = line.chunks_exact_mut(block).zip(source);
                    places.for_each(|(places, value)| places[column] = *value);
                }
            }
        })
    }
}

impl Kernel for NarrowAttentionKernel {
    fn compute(&mut self, ctx: &ComputeContext) -> ort::Result<()> {
        let [query, key, value] = [Input::of(ctx, 0)?, Input::of(ctx, 1)?, Input::of(ctx, 2)?];
        let ((shape, query), (keys, key), (values, value)) =
            (query.parts()?, key.parts()?, value.parts()?);
        let (&[rows, tokens, columns], &[many, _, wide]) = (&shape[..], &keys[..]) else {
            return Err(mismatch("NarrowAttention", &[&shape, &keys, &values]));
        };
        if query.is_empty()
            || key.is_empty()
            || keys != values
            || many != rows
            || wide != columns
            || columns % self.width != 0
        {
            return Err(mismatch("NarrowAttention", &[&shape, &keys, &values]));
        }
        let (asked, known) = (tokens * columns, keys[1] * columns);
        let memories = key.chunks_exact(known).zip(value.chunks_exact(known));
        let memories: Vec<_> =
            memories.map(|(key, value)| Memory::new(key, value, keys[1], self.width)).collect();
        // A piece is of one row.
        let each = (1..=QUERIES).rev().find(|each| tokens % each == 0).unwrap_or(1) * columns;
        fill(ctx, &shape, each, |piece, results| {
            let start = piece * each;
            memories[start / asked].attend(&query[start..start + results.len()], results);
        })
    }
}
