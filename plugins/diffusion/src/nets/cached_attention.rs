//! Cached attention, as StreamV2V has it: the self-attention of a UNet attends to the keys and values of earlier frames
//! beside those of its own.
//!
//! To the network they are inputs, and those of the frames at hand are outputs. Which ones are kept, and for how long, is
//! for `crate::stream::attention` to say.

use std::cell::{Cell, RefCell};

use super::layers::{Attention, Module};
use super::{Dim, Port};
use crate::ops::{Ops, Value};

/// Most earlier frames that can be attended to; as in `schema/params.json`.
pub const MOST_CACHED_FRAMES: usize = 4;

/// What a layer keeps of a frame.
const PARTS: [&str; 2] = ["key", "value"];

/// One self-attention of a network.
pub(super) struct Layer {
    /// Its place in the state dict.
    pub path: String,
    pub channels: usize,
}

/// For each layer the keys of the earlier frames, then their values. A slot without a frame has no tokens.
pub(super) fn inputs(layers: &[Layer]) -> Vec<Port> {
    let slots =
        |layer, part| (0..MOST_CACHED_FRAMES).map(move |slot| port(layer, part, Some(slot)));
    let parts = |layer| PARTS.into_iter().flat_map(move |part| slots(layer, part));
    layers.iter().flat_map(parts).collect()
}

/// For each layer its keys, then its values.
pub(super) fn outputs(layers: &[Layer]) -> Vec<Port> {
    layers.iter().flat_map(|layer| PARTS.map(|part| port(layer, part, None))).collect()
}

fn port(Layer { path, channels }: &Layer, part: &str, slot: Option<usize>) -> Port {
    let name = match slot {
        Some(slot) => format!("{path}.{part}.{slot}"),
        None => format!("{path}.{part}"),
    };
    Port::new(name, [Dim::Free("rows"), Dim::Any, Dim::Fixed(*channels)])
}

/// The keys and values of one call, in the order in which layers run.
pub(super) struct Cached<'a, T> {
    /// Of the layers that did not run yet.
    earlier: Cell<&'a [T]>,
    /// Of those that did.
    latest: RefCell<Vec<T>>,
}

impl<'a, T: Clone> Cached<'a, T> {
    pub fn new(earlier: &'a [T]) -> Self {
        Self { earlier: Cell::new(earlier), latest: RefCell::default() }
    }

    /// Self-attention of the next layer. What it keeps has not been split into heads.
    pub fn attend<O: Ops<T = T>>(
        &self,
        module: &Module<O>,
        x: &T,
        attention: Attention,
    ) -> Value<O> {
        let [query, keys, values] = module.project(x, x, attention)?;
        let (keys_before, rest) = self.earlier.get().split_at(MOST_CACHED_FRAMES);
        let (values_before, rest) = rest.split_at(MOST_CACHED_FRAMES);
        self.earlier.set(rest);
        let after = |now, before: &'a [T]| {
            let parts: Vec<&T> = std::iter::once(now).chain(before).collect();
            module.ops.concat(&parts, 1)
        };
        let (all_keys, all_values) = (after(&keys, keys_before)?, after(&values, values_before)?);
        self.latest.borrow_mut().extend([keys, values]);
        module.attend([&query, &all_keys, &all_values], attention)
    }

    /// What all layers leave for later calls.
    pub fn into_latest(self) -> Vec<T> {
        self.latest.into_inner()
    }
}

#[cfg(test)]
mod tests;
