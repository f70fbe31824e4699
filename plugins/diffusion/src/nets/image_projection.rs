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
    /// The same, then every patch of it by `ClipVision`.
    FaceAndPatches,
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
    /// `ProjPlusModel`
    FacePlus(FacePlus),
    /// `Resampler`, of Plus.
    Resampler(Resampler),
}

/// Tokens of a face that ask its patches.
#[derive(Clone, Debug)]
struct FacePlus {
    inner: usize,
    resampler: Resampler,
    /// Width of what a patch is told by.
    patches: usize,
    /// Whether what the patches say is added to the tokens, and does not take their place.
    has_shortcut: bool,
}

/// Where the layers are that ask patches.
const PERCEIVER: &str = "perceiver_resampler";
/// In the names of files of adapters with the shortcut, whose tensors are like those of others.
const SHORTCUT: &str = "plusv2";

impl ImageProjection {
    /// That of an adapter's file.
    pub fn of(adapter: &Weights) -> Result<Self, ProjectionError> {
        let shapes = Shapes(adapter);
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
        let is_plus = shapes.has(&format!("{PERCEIVER}.proj_in.weight"));
        let kind = match (first == last, is_plus) {
            (true, _) => Kind::Linear,
            (false, false) => Kind::Face { inner },
            (false, true) => Kind::FacePlus(shapes.face_plus(inner)?),
        };
        Ok(Self { kind, input, tokens: width / context, context })
    }

    pub fn seen(&self) -> Seen {
        match self.kind {
            Kind::Linear => Seen::Whole,
            Kind::Face { .. } => Seen::Face,
            Kind::FacePlus(_) => Seen::FaceAndPatches,
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

    /// `MLPProjModel`
    fn face<O: Ops>(&self, module: &Module<O>, seen: &O::T, inner: usize) -> Value<O> {
        let hidden = module.at("proj.0").linear(seen, self.input, inner, true)?;
        let hidden = module.ops.apply(&hidden, Function::Gelu)?;
        let width = self.tokens * self.context;
        self.norm(module, &module.at("proj.2").linear(&hidden, inner, width, true)?)
    }

    fn norm<O: Ops>(&self, module: &Module<O>, projected: &O::T) -> Value<O> {
        let dims = [-1, self.tokens as i64, self.context as i64];
        let tokens = module.ops.reshape(projected, &dims)?;
        module.at("norm").layer_norm(&tokens, self.context, EPSILON)
    }
}

impl Network for ImageProjection {
    fn inputs(&self) -> Vec<Port> {
        let one = Dim::Fixed(1);
        let vector = |name| Port::new(name, [one, Dim::Fixed(self.input)]);
        let patches =
            |width| Port::new("hidden_state", [one, Dim::Free("tokens"), Dim::Fixed(width)]);
        match &self.kind {
            Kind::Linear => vec![vector("image_embeds")],
            Kind::Face { .. } => vec![vector("face_embeds")],
            Kind::FacePlus(plus) => vec![vector("face_embeds"), patches(plus.patches)],
            Kind::Resampler(_) => vec![patches(self.input)],
        }
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
            &Kind::Face { inner } => self.face(&module, seen, inner)?,
            Kind::FacePlus(FacePlus { inner, resampler, patches, has_shortcut }) => {
                let face = self.face(&module, seen, *inner)?;
                let widths = [*patches, self.context];
                let perceiver = module.at(PERCEIVER);
                let asked = resampler.ask(&perceiver, &inputs[1], face.clone(), widths)?;
                if *has_shortcut { ops.add(&face, &asked)? } else { asked }
            }
            Kind::Resampler(resampler) => {
                let queries = resampler.queries(&module, self.tokens)?;
                resampler.ask(&module, seen, queries, [self.input, self.context])?
            }
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

    fn face_plus(&self, inner: usize) -> Result<FacePlus, ProjectionError> {
        let (resampler, patches) = resampler::layers(self, &format!("{PERCEIVER}."))?;
        let name = self.0.path().file_name().unwrap_or_default().to_string_lossy();
        Ok(FacePlus { inner, resampler, patches, has_shortcut: name.contains(SHORTCUT) })
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
