//! `Resampler`, by which Plus adapters make tokens of all patches of a picture: queries that were learned ask the patches
//! and each other, layer after layer.

use super::{EPSILON, ImageProjection, Kind, ProjectionError, Shapes};
use crate::nets::layers::Module;
use crate::ops::{Function, Heads, Ops, Value};

/// Of every adapter that was published.
const HEAD_WIDTH: usize = 64;
/// Far more layers than any adapter has.
const MOST_LAYERS: usize = 64;

#[derive(Clone, Debug)]
pub(super) struct Resampler {
    width: usize,
    heads: usize,
    inner: usize,
    layers: usize,
}

/// That of an adapter's file.
pub(super) fn of(shapes: &Shapes) -> Result<ImageProjection, ProjectionError> {
    let [_, tokens, _] = shapes.of("latents")?;
    let [context, _] = shapes.of("proj_out.weight")?;
    let (resampler, input) = layers(shapes, "")?;
    Ok(ImageProjection { kind: Kind::Resampler(resampler), input, tokens, context })
}

/// The layers at a path, and the width of the patches that they take.
pub(super) fn layers(shapes: &Shapes, path: &str) -> Result<(Resampler, usize), ProjectionError> {
    let at = |name: &str| format!("{path}{name}");
    let [width, patches] = shapes.of(&at("proj_in.weight"))?;
    let query = at("layers.0.0.to_q.weight");
    let ([heads_width, _], [inner, _]) =
        (shapes.of(&query)?, shapes.of(&at("layers.0.1.1.weight"))?);
    if heads_width == 0 || heads_width % HEAD_WIDTH != 0 {
        return Err(shapes.wrong(&query, "it must have rows for heads of width 64"));
    }
    let is_there = |layer: &usize| shapes.has(&at(&format!("layers.{layer}.0.to_q.weight")));
    let layers = (0..MOST_LAYERS).take_while(is_there).count();
    Ok((Resampler { width, heads: heads_width / HEAD_WIDTH, inner, layers }, patches))
}

impl Resampler {
    /// Those that were learned.
    pub fn queries<O: Ops>(&self, module: &Module<O>, tokens: usize) -> Value<O> {
        module.param("latents", &[1, tokens, self.width])
    }

    /// What queries learn of the patches, of widths that come in and go out.
    pub fn ask<O: Ops>(
        &self,
        module: &Module<O>,
        seen: &O::T,
        mut queries: O::T,
        [input, context]: [usize; 2],
    ) -> Value<O> {
        let ops = module.ops;
        let patches = module.at("proj_in").linear(seen, input, self.width, true)?;
        for layer in 0..self.layers {
            let layer = module.at(format_args!("layers.{layer}"));
            let asked = self.attend(&layer.at(0), &patches, &queries)?;
            queries = ops.add(&asked, &queries)?;
            queries = ops.add(&self.feed_forward(&layer.at(1), &queries)?, &queries)?;
        }
        let projected = module.at("proj_out").linear(&queries, self.width, context, true)?;
        module.at("norm_out").layer_norm(&projected, context, EPSILON)
    }

    /// `PerceiverAttention`
    fn attend<O: Ops>(&self, module: &Module<O>, patches: &O::T, queries: &O::T) -> Value<O> {
        let (ops, width, heads_width) = (module.ops, self.width, self.heads * HEAD_WIDTH);
        let patches = module.at("norm1").layer_norm(patches, width, EPSILON)?;
        let queries = module.at("norm2").layer_norm(queries, width, EPSILON)?;
        let query = module.at("to_q").linear(&queries, width, heads_width, false)?;
        let all = ops.concat(&[&patches, &queries], 1)?;
        let both = module.at("to_kv").linear(&all, width, 2 * heads_width, false)?;
        let (keys, values) = ops.halves(&both)?;
        let heads = Heads { count: self.heads, width: HEAD_WIDTH };
        let mixed = ops.attention([&query, &keys, &values], heads, None)?;
        module.at("to_out").linear(&mixed, heads_width, width, false)
    }

    fn feed_forward<O: Ops>(&self, module: &Module<O>, x: &O::T) -> Value<O> {
        let normed = module.at(0).layer_norm(x, self.width, EPSILON)?;
        let hidden = module.at(1).linear(&normed, self.width, self.inner, false)?;
        let hidden = module.ops.apply(&hidden, Function::Gelu)?;
        module.at(3).linear(&hidden, self.inner, self.width, false)
    }
}
