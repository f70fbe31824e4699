//! `ControlNetHED`: edges at five scales, by a network like VGG whose every block also tells what it sees.

use super::layers::{Conv, Module};
use super::{Dim, Network, Port};
use crate::ops::{Ops, Value, Values};

/// Channels and convolutions of the blocks.
const BLOCKS: [(usize, usize); 5] = [(64, 2), (128, 2), (256, 3), (512, 3), (512, 3)];
const SIDES: [&str; 5] = ["edges.1", "edges.2", "edges.3", "edges.4", "edges.5"];

/// Takes pictures of levels from 0 to 255; the edges are before the sigmoid, each of half the size of the one before.
#[derive(Clone, Copy, Debug)]
pub struct Hed;

impl Hed {
    /// Each side of a picture must be at least that long, for its last edges to have a pixel.
    pub const SHORTEST: usize = 1 << (BLOCKS.len() - 1);
}

impl Network for Hed {
    fn inputs(&self) -> Vec<Port> {
        vec![Port::picture_of("picture", 3, |name| Dim::AtLeast(name, Self::SHORTEST))]
    }

    fn outputs(&self) -> Vec<Port> {
        SIDES.map(|name| Port::picture(name, 1)).into()
    }

    fn forward<O: Ops>(&self, ops: &O, inputs: &[O::T]) -> Values<O> {
        let root = Module::root(ops);
        let norm = root.param("norm", &[1, 3, 1, 1])?;
        let mut hidden = ops.add(&inputs[0], &ops.scale(&norm, -1.0)?)?;
        let (mut inputs, mut edges) = (3, Vec::with_capacity(BLOCKS.len()));
        for (index, (channels, count)) in BLOCKS.into_iter().enumerate() {
            if index > 0 {
                hidden = ops.max_pool(&hidden)?;
            }
            let block = root.at(format_args!("block{}", index + 1));
            hidden = convolve(&block, hidden, [inputs, channels], count)?;
            edges.push(block.at("projection").conv(&hidden, Conv::same(channels, 1, 1))?);
            inputs = channels;
        }
        Ok(edges)
    }
}

fn convolve<O: Ops>(
    block: &Module<O>,
    mut hidden: O::T,
    [inputs, channels]: [usize; 2],
    count: usize,
) -> Value<O> {
    for index in 0..count {
        let conv = Conv::same(if index == 0 { inputs } else { channels }, channels, 3);
        let module = block.at(format_args!("convs.{index}"));
        hidden = module.conv_then(&hidden, conv, None, true)?;
    }
    Ok(hidden)
}
