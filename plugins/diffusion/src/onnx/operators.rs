//! Operators of our own, which ONNX Runtime calls on the CPU where its own would make several passes over memory.

mod convolution;

use std::marker::PhantomData;
use std::sync::Mutex;

use ort::environment::Environment;
use ort::operator::{
    ComputeContext, FromKernelContext, Kernel, KernelContext, Operator, OperatorDomain,
    OperatorInput, OperatorOutput,
};
use ort::session::builder::SessionBuilder;
use ort::value::{TensorElementType, ValueRef, ValueRefMut};
use prost::Message;

use convolution::Convolution;

use super::messages::{
    FLOAT, GraphProto, ModelProto, NodeProto, OperatorSetProto, TensorTypeProto, TypeProto,
    ValueInfoProto,
};
use crate::kernels::{KeysAndValues, Moments, is_narrow, scale_and_shift};

/// The domain of their names in a graph.
pub const DOMAIN: &str = "streamdiffusion.host";

/// So many values are worth waking another thread for.
const PIECE: usize = 1 << 14;
/// Queries that one thread takes at a time.
const QUERIES: usize = 64;

pub fn domain() -> ort::Result<OperatorDomain> {
    OperatorDomain::new(DOMAIN)?
        .add(Registered::<GroupNorm>(PhantomData))?
        .add(Registered::<DepthToSpace>(PhantomData))?
        .add(Registered::<NarrowAttention>(PhantomData))?
        .add(Registered::<Convolution>(PhantomData))
}

/// Has the library note our domain, which it does once for the process, at the first session that has it: of two that are
/// first at once it refuses one.
pub fn note(environment: &Environment) {
    let port = |name: &str| {
        let tensor_type = TensorTypeProto { elem_type: FLOAT, ..TensorTypeProto::default() };
        let kind = Some(TypeProto { tensor_type: Some(tensor_type) });
        ValueInfoProto { name: name.into(), kind }
    };
    let node = NodeProto {
        input: vec!["x".into()],
        output: vec!["y".into()],
        op_type: "Identity".into(),
        ..NodeProto::default()
    };
    let graph = GraphProto {
        node: vec![node],
        name: "note".into(),
        input: vec![port("x")],
        output: vec![port("y")],
        ..GraphProto::default()
    };
    let opset_import = vec![OperatorSetProto { version: 17, ..OperatorSetProto::default() }];
    let model =
        ModelProto { ir_version: 9, graph: Some(graph), opset_import, ..ModelProto::default() };
    let session = SessionBuilder::new(environment).and_then(|builder| {
        builder.with_operators(domain()?)?.commit_from_memory(&model.encode_to_vec())
    });
    // Where another plugin of the process has just done the same it is noted too; anything else shows with a network.
    if let Err(error) = session {
        tracing::debug!(%error, "own operators were not noted");
    }
}

/// `x [rows, channels, height, width]`, `weight` and `bias` `[1, channels]` or `[rows, channels]`; with `silu` 1, SiLU
/// of the result.
struct GroupNorm {
    groups: usize,
    epsilon: f32,
    has_silu: bool,
}

/// `x [rows, channels * block * block, height, width]`, the places in a block counted by rows.
struct DepthToSpace {
    block: usize,
}

/// `query`, `key` and `value` `[rows, tokens, heads * width]`, of heads that are narrow.
struct NarrowAttention {
    width: usize,
}

/// A kernel and what its operator is registered with. All inputs and the one output are floats.
trait Registrable: Kernel + Sized + 'static {
    const NAME: &'static str;
    const INPUTS: usize;
    /// Inputs behind those that need not be there.
    const OPTIONAL: usize = 0;

    fn create(ctx: &KernelContext<'_>) -> ort::Result<Self>;
}

struct Registered<K>(PhantomData<fn() -> K>);

impl<K: Registrable> Operator for Registered<K> {
    type Kernel<'attr> = K;

    fn name(&self) -> &str {
        K::NAME
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        let required = (0..K::INPUTS).map(|_| OperatorInput::required(TensorElementType::Float32));
        let optional =
            (0..K::OPTIONAL).map(|_| OperatorInput::optional(TensorElementType::Float32));
        required.chain(optional)
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [OperatorOutput::required(TensorElementType::Float32)]
    }

    fn create_kernel<'attr>(&self, ctx: &KernelContext<'attr>) -> ort::Result<K> {
        K::create(ctx)
    }
}

fn attribute<T: for<'a> FromKernelContext<'a>>(
    ctx: &KernelContext<'_>,
    name: &str,
) -> ort::Result<T> {
    ctx.get(name).ok_or_else(|| ort::Error::new(format!("the attribute {name} is missing")))
}

fn count(ctx: &KernelContext<'_>, name: &str) -> ort::Result<usize> {
    let count = attribute::<i64>(ctx, name)?;
    let count = usize::try_from(count).ok().filter(|&count| count > 0);
    count.ok_or_else(|| ort::Error::new(format!("the attribute {name} is not above 0")))
}

impl Registrable for GroupNorm {
    const NAME: &'static str = "GroupNorm";
    const INPUTS: usize = 3;

    fn create(ctx: &KernelContext<'_>) -> ort::Result<Self> {
        let (epsilon, silu) = (attribute(ctx, "epsilon")?, attribute::<i64>(ctx, "silu")?);
        Ok(Self { groups: count(ctx, "groups")?, epsilon, has_silu: silu == 1 })
    }
}

impl Registrable for DepthToSpace {
    const NAME: &'static str = "DepthToSpace";
    const INPUTS: usize = 1;

    fn create(ctx: &KernelContext<'_>) -> ort::Result<Self> {
        Ok(Self { block: count(ctx, "block")? })
    }
}

impl Registrable for NarrowAttention {
    const NAME: &'static str = "NarrowAttention";
    const INPUTS: usize = 3;

    fn create(ctx: &KernelContext<'_>) -> ort::Result<Self> {
        let width = count(ctx, "width")?;
        if is_narrow(width) {
            return Ok(Self { width });
        }
        Err(ort::Error::new(format!("heads {width} wide are not narrow")))
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

/// Fills the output piece by piece, on all threads: `write` gets the piece's number and place.
fn fill(
    ctx: &ComputeContext,
    shape: &[usize],
    piece: usize,
    write: impl Fn(usize, &mut [f32]) + Send + Sync,
) -> ort::Result<()> {
    let mut output = output(ctx, shape)?;
    let (_, values) = output.try_extract_tensor_mut::<f32>()?;
    in_pieces(ctx, values, piece, write)
}

fn output<'a>(ctx: &'a ComputeContext, shape: &[usize]) -> ort::Result<ValueRefMut<'a>> {
    let shape: Vec<i64> = shape.iter().map(|&dim| dim as i64).collect();
    ctx.output(0, shape)?.ok_or_else(|| ort::Error::new("the output is missing"))
}

fn in_pieces<T: Send>(
    ctx: &ComputeContext,
    values: &mut [T],
    piece: usize,
    write: impl Fn(usize, &mut [T]) + Send + Sync,
) -> ort::Result<()> {
    on_all_threads(ctx, values.chunks_mut(piece).collect(), |number, values| write(number, values))
}

fn on_all_threads<T: Send>(
    ctx: &ComputeContext,
    pieces: Vec<T>,
    write: impl Fn(usize, &mut T) + Send + Sync,
) -> ort::Result<()> {
    // The callback may be called by several threads; each takes a piece that is no other's.
    let pieces: Vec<Mutex<T>> = pieces.into_iter().map(Mutex::new).collect();
    ctx.par_for(pieces.len(), pieces.len(), |number| {
        // Nobody panics while holding one, and the numbers are those of pieces.
        if let Some(Ok(mut piece)) = pieces.get(number).map(Mutex::lock) {
            write(number, &mut piece);
        }
    })
}

fn mismatch(what: &str, shapes: &[&[usize]]) -> ort::Error {
    ort::Error::new(format!("{what} does not take inputs of the shapes {shapes:?}"))
}

impl GroupNorm {
    /// Factor and summand of each plane, from the moments of all planes of its group.
    fn lines(&self, moments: &[Moments], size: usize, params: [&[f32]; 2]) -> Vec<(f32, f32)> {
        let groups = moments.chunks(size).enumerate();
        let lines = groups.flat_map(|(group, moments)| {
            let whole = moments.iter().copied().fold(Moments::default(), Moments::and);
            (group * size..(group + 1) * size).map(move |plane| {
                let [weight, bias] = params.map(|values| values[plane % values.len()]);
                whole.normalising(self.epsilon, weight, bias)
            })
        });
        lines.collect()
    }
}

impl Kernel for GroupNorm {
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
        let each = PIECE.div_ceil(area);
        let mut moments = vec![Moments::default(); planes];
        in_pieces(ctx, &mut moments, each, |piece, moments| {
            let planes = x[piece * each * area..].chunks_exact(area);
            for (moments, plane) in moments.iter_mut().zip(planes) {
                *moments = Moments::of(plane);
            }
        })?;
        let lines = self.lines(&moments, channels / self.groups, [weight, bias]);
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

impl Kernel for DepthToSpace {
    fn compute(&mut self, ctx: &ComputeContext) -> ort::Result<()> {
        let (block, x) = (self.block, Input::of(ctx, 0)?);
        let (shape, x) = x.parts()?;
        let &[rows, depth, height, width] = &shape[..] else {
            return Err(mismatch("DepthToSpace", &[&shape]));
        };
        if x.is_empty() || depth % (block * block) != 0 {
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

impl Kernel for NarrowAttention {
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
        let memories: Vec<_> = memories
            .map(|(key, value)| KeysAndValues::new(key, value, keys[1], self.width))
            .collect();
        // A piece is of one row.
        let each = (1..=QUERIES).rev().find(|each| tokens % each == 0).unwrap_or(1) * columns;
        fill(ctx, &shape, each, |piece, results| {
            let start = piece * each;
            memories[start / asked].attend(&query[start..start + results.len()], results);
        })
    }
}
