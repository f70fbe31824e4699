//! A UNet with an IP-Adapter: where it attends to the text it also attends to tokens of a picture, by keys and values of
//! the adapter's own, and adds that, scaled.

use super::layers::{Attention, Module};
use super::{Dim, Port};
use crate::ops::{Ops, Value};

/// What the names of the adapter's tensors begin with that belong to the UNet.
pub const ADAPTER: &str = "ip_adapter.";

/// The inputs: tokens for every row, and for every layer how much what they add counts.
pub(super) fn inputs(tokens: usize, context: usize, layers: usize) -> [Port; 2] {
    let dims = [Dim::Free("rows"), Dim::Fixed(tokens), Dim::Fixed(context)];
    [Port::new("image_tokens", dims), Port::new("image_scales", [Dim::Fixed(layers)])]
}

/// What the layers are given of it.
pub(super) struct ImagePrompt<'a, T> {
    pub tokens: &'a T,
    pub scales: &'a T,
    /// The paths of the attentions, in the order in which the adapter numbers them.
    pub layers: Vec<String>,
}

impl<T: Clone> ImagePrompt<'_, T> {
    /// Attention of `x` to the text, `context`, and to the picture.
    pub fn attend<O: Ops<T = T>>(
        &self,
        module: &Module<O>,
        x: &T,
        context: &T,
        attention: Attention,
    ) -> Value<O> {
        let ops = module.ops;
        let [query, keys, values] = module.project(x, context, attention)?;
        let mixed = module.mix([&query, &keys, &values], attention)?;
        let path = module.path();
        let layer = self.layers.iter().position(|layer| layer == path);
        let layer = layer.expect("every attention to the text is listed");
        // Attention to itself counts too, though the adapter has nothing for it.
        let own = Module::root(ops).at(format_args!("{ADAPTER}{}", 2 * layer + 1));
        let Attention { channels, context: width, .. } = attention;
        let project = |name: &str| own.at(name).linear(self.tokens, width, channels, false);
        let (keys, values) = (project("to_k_ip")?, project("to_v_ip")?);
        let seen = module.mix([&query, &keys, &values], attention)?;
        let layer = layer as i64;
        let scale = ops.slice(self.scales, 0, layer, Some(layer + 1))?;
        module.leave(&ops.add(&mixed, &ops.mul(&seen, &scale)?)?, attention)
    }
}
