//! LoRAs: low-rank changes of a checkpoint's weights, merged when it is loaded.
//!
//! `W' = W + sum of scale * (alpha / rank) * up @ down`, every file's change measured from the weights as they are
//! stored, so that neither order nor number of the files matters. [`Loras`] opens the files and finds what fits a
//! network, by the network's own list of parameters; [`Patches`] is what was found, and computes the weights that
//! replace those of the checkpoint. What a file has beyond that is told, and one that fits nowhere is an error.

mod error;
mod file;
mod fuse;
mod metadata;
mod names;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::sync::Arc;

pub use error::{LoraError, Misfit};
use file::{Change, File};
use fuse::Factor;
pub use fuse::{Fused, Patches};
pub use names::Part;
use names::{Module, underscored};

use crate::files::Stored;
use crate::nets::Network;
use crate::onnx;

/// Strongest use of a LoRA; beyond a handful pictures are noise already.
pub const MAX_SCALE: f32 = 100.0;
/// Largest rank taken; trainers go up to some hundreds.
const MAX_RANK: usize = 4096;
/// How many names a message lists.
const NAMED: usize = 8;

/// A LoRA to merge.
#[derive(Clone, Debug, PartialEq)]
pub struct Lora {
    /// A safetensors file.
    pub path: PathBuf,
    pub scale: f32,
}

/// Opened LoRA files, and which of their modules fit somewhere.
#[derive(Debug, Default)]
pub struct Loras {
    files: Vec<Arc<File>>,
    /// By file.
    used: Vec<BTreeSet<Module>>,
    /// Names that would have fitted, an example in each notation of each network.
    looked_for: Vec<String>,
}

/// A parameter that can be changed.
struct Target<'a> {
    param: &'a str,
    shape: &'a [usize],
}

impl Loras {
    /// Opens the files and checks that each is whole.
    pub fn open(loras: &[Lora]) -> Result<Self, LoraError> {
        let files = loras
            .iter()
            .map(|lora| File::open(lora).map(Arc::new))
            .collect::<Result<Vec<_>, _>>()?;
        let used = vec![BTreeSet::new(); files.len()];
        Ok(Self { files, used, looked_for: Vec::new() })
    }

    /// What the files change in a network of the checkpoint, whose weights are in `weights`.
    pub fn patches<N: Network>(
        &mut self,
        part: Part,
        network: &N,
        weights: &Stored,
    ) -> Result<Patches, LoraError> {
        let mut patches = Patches::default();
        if self.files.is_empty() {
            return Ok(patches);
        }
        let params = onnx::check(network, &weights.open()?)?;
        let shapes = params.iter().map(|(param, (shape, _))| (param.as_str(), shape.as_slice()));
        let targets = targets(shapes);
        self.looked_for.extend(examples(part, &targets));
        let mut hasher = DefaultHasher::new();
        for (file, used) in self.files.iter().zip(&mut self.used) {
            file.identity().hash(&mut hasher);
            for (module, change) in file.modules.iter().filter(|(module, _)| module.0 == part) {
                let Some(target) = targets.get(&module.1) else { continue };
                if let Some(factor) = factor(file, (module, change), target)? {
                    patches.add(target.param, factor);
                }
                used.insert(module.clone());
            }
        }
        patches.set_digest(hasher.finish());
        Ok(patches)
    }

    /// After all networks had their turn: what did not fit anywhere, in words. A file of which nothing fits is an error.
    pub fn leftovers(&self) -> Result<Vec<String>, LoraError> {
        let told = self.files.iter().zip(&self.used).map(|(file, used)| self.leftover(file, used));
        told.filter_map(Result::transpose).collect()
    }

    fn leftover(&self, file: &File, used: &BTreeSet<Module>) -> Result<Option<String>, LoraError> {
        let unused = file.modules.iter().filter(|(module, _)| !used.contains(module));
        let mut names: Vec<&str> = unused.map(|(_, change)| change.down.as_str()).collect();
        names.extend(file.strangers.iter().map(String::as_str));
        let count = names.len();
        names.truncate(NAMED);
        if used.is_empty() {
            let found = if names.is_empty() { vec!["no tensors"] } else { names };
            return Err(LoraError::Nothing {
                path: file.path(),
                found: found.into_iter().map(clipped).collect(),
                wanted: self.looked_for.clone(),
                family: file.family(),
            });
        }
        let (path, fitting) = (file.path(), used.len());
        let list: Vec<String> = names.into_iter().map(clipped).collect();
        let (path, list) = (path.display(), list.join(", "));
        Ok((count > 0).then(|| {
            format!(
                "{path} fits in part: {fitting} of its modules are merged, {count} more fit nothing in this model, as {list}"
            )
        }))
    }
}

/// A tensor's name, cut where it is endless.
fn clipped(name: &str) -> String {
    const LONGEST: usize = 120;
    format!("`{}`", name.chars().take(LONGEST).collect::<String>())
}

/// The parameters that LoRAs can change, by kohya's names of their modules.
fn targets<'a>(
    params: impl Iterator<Item = (&'a str, &'a [usize])>,
) -> BTreeMap<String, Target<'a>> {
    let matrices = params.filter(|(_, shape)| [2, 4].contains(&shape.len()));
    matrices
        .filter_map(|(param, shape)| {
            let module = param.strip_suffix(".weight")?;
            Some((underscored(module), Target { param, shape }))
        })
        .collect()
}

fn examples(part: Part, targets: &BTreeMap<String, Target<'_>>) -> Vec<String> {
    let [kohya, peft] = part.prefixes();
    let Some((module, target)) = targets.iter().next() else { return Vec::new() };
    let path = target.param.trim_end_matches(".weight");
    vec![format!("`{kohya}{module}.lora_down.weight`"), format!("`{peft}{path}.lora_A.weight`")]
}

/// The change of a parameter, checked to fit it; nothing where its strength is zero.
fn factor(
    file: &Arc<File>,
    (module, change): (&Module, &Change),
    target: &Target<'_>,
) -> Result<Option<Factor>, LoraError> {
    let (down_shape, down) = file.find(&change.down)?;
    let (up_shape, up) = file.find(&change.up)?;
    let rank = down_shape.first().copied().unwrap_or(0);
    if !(1..=MAX_RANK).contains(&rank) {
        let tensor = change.down.clone();
        return Err(LoraError::Rank { path: file.path(), tensor, rank });
    }
    let misfit = |tensor: &str, found: &[usize]| {
        LoraError::Shape(Box::new(Misfit {
            path: file.path(),
            tensor: tensor.into(),
            found: found.to_vec(),
            param: target.param.into(),
            wanted: target.shape.to_vec(),
            family: file.family(),
        }))
    };
    let (outputs, inputs) = (target.shape[0], &target.shape[1..]);
    if trimmed(&down_shape[1..]) != trimmed(inputs) {
        return Err(misfit(&change.down, &down_shape));
    }
    let fits = up_shape.first() == Some(&outputs) && trimmed(&up_shape[1..]) == trimmed(&[rank]);
    if !fits {
        return Err(misfit(&change.up, &up_shape));
    }
    let strength = file.scale * (file.alpha(module, change, rank)? / rank as f32);
    // A LoRA without strength leaves every bit as it is.
    Ok((strength != 0.0).then(|| Factor {
        file: file.clone(),
        down: (change.down.clone(), down),
        up: (change.up.clone(), up),
        rank,
        strength,
    }))
}

/// A shape without ones at its end: a 1x1 convolution is a linear layer, and files write either.
fn trimmed(shape: &[usize]) -> &[usize] {
    let end = shape.iter().rposition(|&dim| dim != 1).map_or(0, |last| last + 1);
    &shape[..end]
}
