//! One LoRA file: its tensors by module, checked to be whole. Values are read later, and only those that are used.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::SystemTime;

use super::metadata::{self, Settings};
use super::names::{self, Module, Role};
use super::{Lora, LoraError, MAX_SCALE};
use crate::weights::{Place, Weights};

/// An opened file and how strongly it counts.
#[derive(Debug)]
pub(super) struct File {
    pub weights: Weights,
    pub scale: f32,
    pub modules: BTreeMap<Module, Change>,
    /// Tensors whose names tell nothing.
    pub strangers: Vec<String>,
    settings: Settings,
    family: Option<&'static str>,
}

/// The names of the tensors that change one module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub down: String,
    pub up: String,
    pub alpha: Option<String>,
}

/// Tensors of a module as they are found.
#[derive(Default)]
struct Found {
    down: Option<String>,
    up: Option<String>,
    alpha: Option<String>,
}

impl File {
    pub fn open(lora: &Lora) -> Result<Self, LoraError> {
        let (path, scale) = (lora.path.clone(), lora.scale);
        if !(-MAX_SCALE..=MAX_SCALE).contains(&scale) {
            return Err(LoraError::Scale { path, scale });
        }
        let weights = Weights::open(&lora.path)?;
        let settings = Settings::parse(weights.metadata(metadata::KEY));
        if let Some((tensor, kind)) = settings.other_kind() {
            return Err(LoraError::Kind { path, tensor, kind });
        }
        let (mut found, mut strangers) = (BTreeMap::<Module, Found>::new(), Vec::new());
        for (name, _) in weights.tensors() {
            if let Some(kind) = names::other_kind(name) {
                return Err(LoraError::Kind { path, tensor: name.into(), kind });
            }
            match names::parse(name) {
                Some((module, role)) => {
                    found.entry(module).or_default().put(role, name, &path)?;
                }
                None => strangers.push(name.to_owned()),
            }
        }
        let mut modules = BTreeMap::new();
        for (module, found) in found {
            match found.whole(&path)? {
                Ok(change) => drop(modules.insert(module, change)),
                Err(alone) => strangers.extend(alone),
            }
        }
        let family = family(&weights, &modules);
        Ok(Self { weights, scale, modules, strangers, settings, family })
    }

    pub fn path(&self) -> PathBuf {
        self.weights.path().to_owned()
    }

    /// The models the file looks made for, by the width of the text embeddings they attend to.
    pub fn family(&self) -> Option<&'static str> {
        self.family
    }

    /// Tells this file apart from others and from itself before it was changed.
    pub fn identity(&self) -> (PathBuf, Option<(u64, SystemTime)>, u32) {
        let metadata = std::fs::metadata(self.weights.path()).ok();
        let state = metadata.and_then(|file| Some((file.len(), file.modified().ok()?)));
        (self.path(), state, self.scale.to_bits())
    }

    /// A tensor's shape and where it lies.
    pub fn find(&self, tensor: &str) -> Result<(Vec<usize>, Place), LoraError> {
        let shape = self.weights.shape(tensor).unwrap_or_default().to_vec();
        let place = self.weights.find(tensor, &shape)?;
        Ok((shape, place))
    }

    /// A tensor's values, all of them finite.
    pub fn read(&self, tensor: &str, place: Place) -> Result<Vec<f32>, LoraError> {
        let values = self.weights.read(place)?;
        if values.iter().all(|value| value.is_finite()) {
            return Ok(values);
        }
        Err(LoraError::NotFinite { path: self.path(), tensor: tensor.into() })
    }

    /// The number that the trainer divides by the rank; the rank itself where the file has none.
    pub fn alpha(&self, module: &Module, change: &Change, rank: usize) -> Result<f32, LoraError> {
        let Some(tensor) = &change.alpha else {
            return Ok(self.settings.alpha(module).unwrap_or(rank as f32));
        };
        let (shape, place) = self.find(tensor)?;
        if shape.iter().any(|&dim| dim != 1) {
            let (path, tensor) = (self.path(), tensor.clone());
            return Err(LoraError::Alpha { path, tensor, found: shape });
        }
        Ok(self.read(tensor, place)?[0])
    }
}

impl Found {
    fn put(&mut self, role: Role, name: &str, path: &std::path::Path) -> Result<(), LoraError> {
        let slot = match role {
            Role::Down => &mut self.down,
            Role::Up => &mut self.up,
            Role::Alpha => &mut self.alpha,
        };
        match slot.replace(name.to_owned()) {
            Some(other) => {
                Err(LoraError::Twice { path: path.to_owned(), tensor: name.into(), other })
            }
            None => Ok(()),
        }
    }

    /// The change, or an alpha that belongs to none of our kind.
    fn whole(self, path: &std::path::Path) -> Result<Result<Change, Option<String>>, LoraError> {
        let incomplete =
            |tensor, missing| Err(LoraError::Incomplete { path: path.to_owned(), tensor, missing });
        match (self.down, self.up) {
            (Some(down), Some(up)) => Ok(Ok(Change { down, up, alpha: self.alpha })),
            (Some(down), None) => incomplete(down, "up matrix"),
            (None, Some(up)) => incomplete(up, "down matrix"),
            (None, None) => Ok(Err(self.alpha)),
        }
    }
}

fn family(weights: &Weights, modules: &BTreeMap<Module, Change>) -> Option<&'static str> {
    let attends =
        |(_, module): &Module| ["attn2_to_k", "attn2_to_v"].iter().any(|end| module.ends_with(end));
    let (_, change) = modules.iter().find(|(module, _)| attends(module))?;
    match weights.shape(&change.down)?.get(1)? {
        768 => Some("Stable Diffusion 1.x"),
        1024 => Some("Stable Diffusion 2.x"),
        2048 => Some("Stable Diffusion XL"),
        _ => None,
    }
}
