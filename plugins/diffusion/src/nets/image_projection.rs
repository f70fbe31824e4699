//! The part of an IP-Adapter that makes tokens for a UNet of what an encoder saw in a picture.
//!
//! Adapters come without a config; which kind one is, and its widths, are told from the shapes of its tensors.

mod resampler;

use std::path::PathBuf;

use super::layers::Module;
use super::{Dim, Network, Port};
use crate::ops::{Function, Ops, Value, Values};
use crate::weights::Weights;
use resampler::Resampler;

/// Where its tensors are in the adapter's file.
const ROOT: &str = "image_proj";
const EPSILON: f32 = 1e-5;

/// Why a file is not taken for an adapter.
#[derive(Debug, thiserror::Error)]
pub enum ProjectionError {
    #[error(
        "{} is not an IP-Adapter of a known kind; it must have `image_proj` as the regular ones, Plus or FaceID have it",
        path.display()
    )]
    Unknown { path: PathBuf },
    #[error("tensor `{tensor}` in {} has shape {found:?}; {wanted}", path.display())]
    Shape { tensor: String, path: PathBuf, found: Vec<usize>, wanted: &'static str },
    #[error("{} is a FaceID Plus adapter, which is not supported; FaceID without Plus is", path.display())]
    FacePlus { path: PathBuf },
}

/// What a projection takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// The whole picture as one vector, by `ClipVision`.
    Whole,
    /// Every patch of it, by `ClipVision`.
    Patches,
    /// A face, by a network that tells faces apart.
    Face,
}

/// A projection's shape.
#[derive(Clone, Debug)]
pub struct ImageProjection {
    kind: Kind,
    /// Width of what it takes.
    input: usize,
    tokens: usize,
    context: usize,
}

#[derive(Clone, Debug)]
enum Kind {
    /// `ImageProjModel`
    Linear,
    /// `MLPProjModel`, and its width inside.
    Face { inner: usize },
    /// `Resampler`, of Plus.
    Resampler(Resampler),
}

impl ImageProjection {
    /// That of an adapter's file.
    pub fn of(adapter: &Weights) -> Result<Self, ProjectionError> {
        let shapes = Shapes(adapter);
        if shapes.has("perceiver_resampler.proj_in.weight") {
            return Err(ProjectionError::FacePlus { path: shapes.path() });
        }
        if shapes.has("latents") {
            return resampler::of(&shapes);
        }
        let (first, last) = match shapes.has("proj.0.weight") {
            true => ("proj.0.weight", "proj.2.weight"),
            false => ("proj.weight", "proj.weight"),
        };
        let ([context], [inner, input], [width, _]) =
            (shapes.of("norm.weight")?, shapes.of(first)?, shapes.of(last)?);
        if width == 0 || context == 0 || width % context != 0 {
            return Err(shapes.wrong(last, "it must have rows for whole tokens"));
        }
        let kind = if first == last { Kind::Linear } else { Kind::Face { inner } };
        Ok(Self { kind, input, tokens: width / context, context })
    }

    pub fn seen(&self) -> Seen {
        match self.kind {
            Kind::Linear => Seen::Whole,
            Kind::Face { .. } => Seen::Face,
            Kind::Resampler(_) => Seen::Patches,
        }
    }

    /// Tokens that it makes of a picture.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Their width, which is that of the UNet's text embeddings.
    pub fn context(&self) -> usize {
        self.context
    }

    fn norm<O: Ops>(&self, module: &Module<O>, projected: &O::T) -> Value<O> {
        let dims = [-1, self.tokens as i64, self.context as i64];
        let tokens = module.ops.reshape(projected, &dims)?;
        module.at("norm").layer_norm(&tokens, self.context, EPSILON)
    }
}

impl Network for ImageProjection {
    fn inputs(&self) -> Vec<Port> {
        let (one, width) = (Dim::Fixed(1), Dim::Fixed(self.input));
        vec![match self.seen() {
            Seen::Whole => Port::new("image_embeds", [one, width]),
            Seen::Face => Port::new("face_embeds", [one, width]),
            Seen::Patches => Port::new("hidden_state", [one, Dim::Free("tokens"), width]),
        }]
    }

    fn outputs(&self) -> Vec<Port> {
        vec![Port::new("image_tokens", [1, self.tokens, self.context].map(Dim::Fixed))]
    }

    fn forward<O: Ops>(&self, ops: &O, inputs: &[O::T]) -> Values<O> {
        let module = Module::root(ops).at(ROOT);
        let (seen, width) = (&inputs[0], self.tokens * self.context);
        Ok(vec![match &self.kind {
            Kind::Linear => {
                let projected = module.at("proj").linear(seen, self.input, width, true)?;
                self.norm(&module, &projected)?
            }
            &Kind::Face { inner } => {
                let hidden = module.at("proj.0").linear(seen, self.input, inner, true)?;
                let hidden = ops.apply(&hidden, Function::Gelu)?;
                let projected = module.at("proj.2").linear(&hidden, inner, width, true)?;
                self.norm(&module, &projected)?
            }
            Kind::Resampler(resampler) => resampler.compute(&module, seen, self)?,
        }])
    }
}

/// The shapes in an adapter's file.
struct Shapes<'w>(&'w Weights);

impl Shapes<'_> {
    fn find(&self, name: &str) -> Option<&[usize]> {
        self.0.shape(&format!("{ROOT}.{name}"))
    }

    fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    fn of<const N: usize>(&self, name: &str) -> Result<[usize; N], ProjectionError> {
        let Some(found) = self.find(name) else {
            return Err(ProjectionError::Unknown { path: self.path() });
        };
        found.try_into().map_err(|_| self.wrong(name, "it must have another number of axes"))
    }

    fn wrong(&self, name: &str, wanted: &'static str) -> ProjectionError {
        let found = self.find(name).unwrap_or_default().to_vec();
        ProjectionError::Shape {
            tensor: format!("{ROOT}.{name}"),
            path: self.path(),
            found,
            wanted,
        }
    }

    fn path(&self) -> PathBuf {
        self.0.path().to_owned()
    }
}
