//! Runs of layers without an activation between them.
//!
//! Such a run is linear, so one convolution can do what several do, often at a fraction of the cost: where a decoder
//! doubles a picture twice on its way to the pixels, everything after the last activation is computed at the size of
//! the activation. The kernel is the run's answer to impulses, asked for with the operations of the network itself.
//!
//! Near the borders the answer is another one, as layers inside the run see zeros beyond the picture where a single
//! convolution sees what the layers before them would have made of zeros. There the run is computed layer by layer.

use super::layers::{Conv, Module};
use crate::ops::{Convolution, OpError, Ops, Value, Window};

/// More impulses than this are not worth the memory of their answers.
const MAX_IMPULSES: usize = 1024;
/// Height and width of `[rows, channels, height, width]`.
const SIDES: [usize; 2] = [2, 3];

/// A layer of a run.
pub enum Link<'a, O> {
    Conv(Module<'a, O>, Conv),
    /// Nearest neighbour, to twice the height and width.
    Double,
    /// `factor * x + offset`
    Affine {
        factor: f32,
        offset: f32,
    },
}

/// Computes a run of layers; `channels` are those of `x`. Its sides are multiples of the run's stride, and at least 2
/// where the run doubles.
pub fn run<O: Ops>(ops: &O, x: &O::T, channels: usize, links: &[Link<O>]) -> Value<O> {
    match Merged::plan(links, channels).filter(|_| ops.merges_runs()) {
        Some(merged) => merged.compute(ops, x, links),
        None => one_by_one(ops, x, links),
    }
}

fn one_by_one<O: Ops>(ops: &O, x: &O::T, links: &[Link<O>]) -> Value<O> {
    links.iter().try_fold(x.clone(), |x, link| match link {
        Link::Conv(module, conv) => module.conv(&x, *conv),
        Link::Double => ops.upsample(&x),
        Link::Affine { factor, offset } => ops.shift(&ops.scale(&x, *factor)?, *offset),
    })
}

/// Distances along one side, relative to a block: the pixels that one pixel of the smaller end stands for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Ends {
    /// At the top and at the left.
    first: usize,
    /// At the bottom and at the right.
    last: usize,
}

/// How to compute a run as one convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Merged {
    inputs: usize,
    outputs: usize,
    /// Output pixels of a block along one side; 1 for a run that shrinks.
    doubling: usize,
    /// Input pixels of a block along one side; 1 for a run that doubles.
    stride: usize,
    /// Side of the kernel, and how far it reaches before the block.
    side: usize,
    before: usize,
    /// Blocks at the borders that the merged kernel gets wrong.
    ring: Ends,
    /// Blocks beside a block that it depends on.
    reach: Ends,
}

impl Merged {
    /// Gives nothing where merging does not pay, or where the run is of a form that no network here has.
    fn plan<O: Ops>(links: &[Link<O>], inputs: usize) -> Option<Self> {
        let convs: Vec<Conv> = links.iter().filter_map(Link::conv).collect();
        let doubling = 1 << links.iter().filter(|link| matches!(link, Link::Double)).count();
        let stride: usize = convs.iter().map(|conv| conv.window.stride).product();
        let is_even = |conv: &Conv| conv.window.padding == [conv.window.padding[0]; 4];
        if (doubling > 1 && stride > 1) || !convs.iter().all(is_even) {
            return None;
        }
        let (mut span, mut ring, mut cost) = (Span::of_block(doubling), Ends::default(), 0);
        for (index, link) in links.iter().enumerate().rev() {
            cost += span.products(link);
            span.step_back(link);
            if link.conv().is_some() && !links[..index].iter().all(Link::keeps_zeros) {
                ring = ring.max(span.outside());
            }
        }
        let outputs = convs.last()?.outputs;
        let (side, before) = ((span.high - span.low + 1) as usize, -span.low as usize);
        let merged = inputs * outputs * (doubling * side).pow(2);
        let pays = 2 * merged < cost && inputs * side * side <= MAX_IMPULSES;
        let reach = span.outside();
        let fits = before.is_multiple_of(stride) && side >= before + stride;
        (pays && fits).then_some(Self {
            inputs,
            outputs,
            doubling,
            stride,
            side,
            before,
            ring,
            reach,
        })
    }

    fn compute<O: Ops>(&self, ops: &O, x: &O::T, links: &[Link<O>]) -> Value<O> {
        let name = links.iter().find_map(Link::name).unwrap_or_default();
        let [kernel, bias] = ops.keep(name, || self.kernel(ops, links))?;
        let after = self.side - self.before - self.stride;
        let padding = [self.before, self.before, after, after];
        let window = Window { stride: self.stride, padding };
        let convolution = Convolution {
            weight: &kernel,
            bias: Some(&bias),
            inputs: self.inputs,
            outputs: self.outputs * self.doubling * self.doubling,
            side: self.side,
            window,
            summand: None,
            has_relu: false,
        };
        let mut result = ops.convolve(x, convolution)?;
        if self.doubling > 1 {
            result = ops.depth_to_space(&result, self.doubling)?;
        }
        for axis in SIDES {
            result = self.mend(ops, x, links, result, axis)?;
        }
        Ok(result)
    }

    /// The merged kernel and bias: answers to an impulse at each place and in each channel, and to none.
    fn kernel<O: Ops>(&self, ops: &O, links: &[Link<O>]) -> Result<[O::T; 2], OpError> {
        let Self { inputs, outputs, doubling, side, .. } = *self;
        let impulses = inputs * side * side;
        let mut values = vec![0.0; (impulses + 1) * impulses];
        values.iter_mut().step_by(impulses + 1).take(impulses).for_each(|value| *value = 1.0);
        let probes = ops.constant(&values, &[impulses + 1, inputs, side, side])?;
        let mut answers = one_by_one(ops, &probes, links)?;
        let block = (self.before / self.stride * doubling) as i64;
        for axis in SIDES {
            answers = ops.slice(&answers, axis, block, Some(block + doubling as i64))?;
        }
        let silence = ops.slice(&answers, 0, -1, None)?;
        let answers = ops.slice(&answers, 0, 0, Some(-1))?;
        let kernel = ops.add(&answers, &ops.scale(&silence, -1.0)?)?;
        let dims = [inputs, side, side, outputs, doubling, doubling].map(|dim| dim as i64);
        let kernel = ops.permute(&ops.reshape(&kernel, &dims)?, &[3, 4, 5, 0, 1, 2])?;
        let channels = (outputs * doubling * doubling) as i64;
        let dims = [channels, inputs as i64, side as i64, side as i64];
        Ok([ops.reshape(&kernel, &dims)?, ops.reshape(&silence, &[channels])?])
    }

    /// Puts what the layers make of the two borders across `axis` in the place of what the merged kernel made there.
    fn mend<O: Ops>(
        &self,
        ops: &O,
        x: &O::T,
        links: &[Link<O>],
        result: O::T,
        axis: usize,
    ) -> Value<O> {
        let Self { ring, reach, .. } = *self;
        let given = |blocks: usize| (blocks * self.stride) as i64;
        let made = |blocks: usize| (blocks * self.doubling) as i64;
        let mut parts = Vec::new();
        if ring.first > 0 {
            let strip = ops.slice(x, axis, 0, Some(given(ring.first + reach.last)))?;
            let strip = one_by_one(ops, &strip, links)?;
            parts.push(ops.slice(&strip, axis, 0, Some(made(ring.first)))?);
        }
        let end = (ring.last > 0).then(|| -made(ring.last));
        parts.push(ops.slice(&result, axis, made(ring.first), end)?);
        if ring.last > 0 {
            let strip = ops.slice(x, axis, -given(ring.last + reach.first), None)?;
            let strip = one_by_one(ops, &strip, links)?;
            parts.push(ops.slice(&strip, axis, -made(ring.last), None)?);
        }
        if ring == Ends::default() {
            return Ok(result);
        }
        ops.concat(&parts.iter().collect::<Vec<_>>(), axis)
    }
}

impl<O: Ops> Link<'_, O> {
    pub fn conv(&self) -> Option<Conv> {
        match self {
            Self::Conv(_, conv) => Some(*conv),
            _ => None,
        }
    }

    /// Of its weights.
    fn name(&self) -> Option<&str> {
        match self {
            Self::Conv(module, _) => Some(module.path()),
            _ => None,
        }
    }

    /// Whether zeros beyond the picture are still zeros after this layer.
    fn keeps_zeros(&self) -> bool {
        match self {
            Self::Conv(..) => false,
            Self::Double => true,
            Self::Affine { offset, .. } => *offset == 0.0,
        }
    }
}

/// The pixels that one block of the result depends on along one side, at some place of the run.
#[derive(Clone, Copy, Debug)]
struct Span {
    /// The first and the last, where the block's own begin at 0.
    low: i64,
    high: i64,
    /// Pixels of a block here.
    scale: i64,
}

impl Span {
    /// At the end of a run.
    fn of_block(doubling: usize) -> Self {
        let scale = doubling as i64;
        Self { low: 0, high: scale - 1, scale }
    }

    /// From a layer's result to what it is computed from.
    fn step_back<O: Ops>(&mut self, link: &Link<O>) {
        match link {
            Link::Affine { .. } => {}
            Link::Double => {
                let Self { low, high, scale } = *self;
                *self = Self { low: low.div_euclid(2), high: high.div_euclid(2), scale: scale / 2 };
            }
            Link::Conv(_, conv) => {
                let (step, before) = (conv.window.stride as i64, conv.window.padding[0] as i64);
                self.low = step * self.low - before;
                self.high = step * self.high - before + conv.side as i64 - 1;
                self.scale *= step;
            }
        }
    }

    /// Products of a layer for one block, when the span is at its result.
    fn products<O: Ops>(&self, link: &Link<O>) -> usize {
        let area = (self.scale * self.scale) as usize;
        link.conv().map_or(0, |conv| conv.inputs * conv.outputs * conv.side.pow(2) * area)
    }

    /// How many blocks at each border look beyond the picture.
    fn outside(&self) -> Ends {
        let blocks = |pixels: i64| (pixels.max(0) as u64).div_ceil(self.scale as u64) as usize;
        Ends { first: blocks(-self.low), last: blocks(self.high - (self.scale - 1)) }
    }
}

impl Ends {
    fn max(self, other: Self) -> Self {
        Self { first: self.first.max(other.first), last: self.last.max(other.last) }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Tensor};

    use super::*;
    use crate::candle::Params;
    use crate::noise::Generator;

    /// Layers as `Link` has them, with numbers for names.
    enum Layer {
        Conv(Conv),
        Double,
        Affine(f32, f32),
    }

    use Layer::{Affine, Double};

    fn conv(inputs: usize, outputs: usize) -> Layer {
        Layer::Conv(Conv::same(inputs, outputs, 3))
    }

    fn down(channels: usize) -> Layer {
        Layer::Conv(Conv::down(channels, [1; 4]).without_bias())
    }

    fn noise(generator: &mut Generator, shape: &[usize]) -> Tensor {
        Tensor::from_vec(generator.normal(shape).into_data(), shape, &Device::Cpu).unwrap()
    }

    fn params(layers: &[Layer], generator: &mut Generator) -> Params {
        let convs = layers.iter().enumerate().filter_map(|(index, layer)| match layer {
            Layer::Conv(conv) => Some((index, *conv)),
            _ => None,
        });
        Params::of(convs.flat_map(|(index, conv)| {
            let weight = noise(generator, &[conv.outputs, conv.inputs, conv.side, conv.side]);
            let bias = noise(generator, &[conv.outputs]);
            [(format!("{index}.weight"), weight), (format!("{index}.bias"), bias)]
        }))
    }

    fn links<'a>(root: &Module<'a, Params>, layers: &[Layer]) -> Vec<Link<'a, Params>> {
        let link = |(index, layer): (usize, &Layer)| match *layer {
            Layer::Conv(conv) => Link::Conv(root.at(index), conv),
            Double => Link::Double,
            Affine(factor, offset) => Link::Affine { factor, offset },
        };
        layers.iter().enumerate().map(link).collect()
    }

    /// The largest difference between the merged run and its layers, relative to the largest value.
    fn difference(layers: &[Layer], channels: usize, height: usize, width: usize) -> f32 {
        let mut generator = Generator::new(7);
        let params = params(layers, &mut generator);
        let links = links(&Module::root(&params), layers);
        assert!(Merged::plan(&links, channels).is_some(), "the run is one that is merged");
        let x = noise(&mut generator, &[2, channels, height, width]);
        let merged = run(&params, &x, channels, &links).unwrap();
        let wanted = one_by_one(&params, &x, &links).unwrap();
        assert_eq!(merged.dims(), wanted.dims(), "{height}x{width}");
        let largest = |x: &Tensor| {
            x.abs()
                .unwrap()
                .max_all()
                .unwrap()
                .to_dtype(DType::F32)
                .unwrap()
                .to_scalar::<f32>()
                .unwrap()
        };
        largest(&(&merged - &wanted).unwrap()) / largest(&wanted)
    }

    #[test]
    fn a_run_that_doubles_is_the_same_in_one_convolution_up_to_the_borders() {
        let tail = [Double, conv(8, 8), Double, conv(8, 8), conv(8, 3), Affine(2.0, -1.0)];
        for (height, width) in [(2, 2), (2, 5), (7, 3), (16, 9)] {
            let difference = difference(&tail, 8, height, width);
            assert!(difference < 1e-5, "{height}x{width}: {difference}");
        }
    }

    #[test]
    fn a_run_that_shrinks_is_the_same_in_one_convolution_up_to_the_borders() {
        let head = [Affine(0.5, 0.5), conv(3, 8), down(8), down(8)];
        for (height, width) in [(8, 8), (8, 20), (28, 12), (64, 36)] {
            let difference = difference(&head, 3, height, width);
            assert!(difference < 1e-5, "{height}x{width}: {difference}");
        }
    }

    #[test]
    fn what_does_not_pay_or_fit_is_computed_layer_by_layer() {
        let params = Params::of([]);
        let root = Module::root(&params);
        let is_merged =
            |layers: &[Layer], channels| Merged::plan(&links(&root, layers), channels).is_some();
        let uneven = Layer::Conv(Conv::down(8, [0, 0, 1, 1]));
        assert!(!is_merged(&[conv(8, 8)], 8), "one layer");
        assert!(!is_merged(&[conv(8, 8), conv(8, 8)], 8), "25 products for each channel, not 18");
        assert!(!is_merged(&[Double, conv(512, 512), Double, conv(512, 3)], 512), "4608 impulses");
        assert!(!is_merged(&[down(8), Double, conv(8, 8)], 8), "down and up");
        assert!(!is_merged(&[conv(3, 8), uneven, down(8), down(8)], 3), "padding on one side");
        assert!(!is_merged(&[Double], 8) && !is_merged(&[Affine(2.0, 1.0)], 8), "no convolution");
        assert!(!is_merged(&[], 8), "nothing");
    }
}
