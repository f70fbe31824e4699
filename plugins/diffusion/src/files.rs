//! Where a model's parts lie: in a diffusers folder, or all in one file.

use std::path::{Path, PathBuf};

use crate::config::{Config, ConfigError};
use crate::family::EncoderFolders;
use crate::original::{Component, OriginalError, OriginalFile};
use crate::tokenizer::{Pad, Tokenizer, TokenizerError};
use crate::weights::Weights;

/// Why a part of a model cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    #[error(transparent)]
    Original(#[from] OriginalError),
    #[error("no weights in {}: there is none of {}", folder.display(), looked.join(", "))]
    NoWeights { folder: PathBuf, looked: Vec<String> },
}

/// A model on the disk.
#[derive(Debug)]
pub enum ModelFiles {
    /// As diffusers writes it.
    Folder(PathBuf),
    File(OriginalFile),
}

/// A network's weights: a file, and which network of it is meant where there are several.
#[derive(Clone, Debug)]
pub struct Stored {
    path: PathBuf,
    component: Option<Component>,
    /// The file of an adapter, and what the names of its tensors begin with.
    beside: Option<(&'static str, PathBuf)>,
}

impl Stored {
    /// All of a file.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), component: None, beside: None }
    }

    /// Tensors whose names begin with `prefix` are those of another file.
    pub fn with(self, prefix: &'static str, path: impl Into<PathBuf>) -> Self {
        Self { beside: Some((prefix, path.into())), ..self }
    }

    /// What messages call it; the file itself may be where a link leads, under a name that says nothing.
    pub fn name(&self) -> PathBuf {
        match self.component {
            Some(component) => self.path.join(component.folder()),
            None => self.path.clone(),
        }
    }

    pub fn open(&self) -> Result<Weights, OriginalError> {
        let weights = match self.component {
            Some(component) => OriginalFile::open(&self.path)?.view(component)?,
            None => Weights::open(&self.path)?,
        };
        Ok(match &self.beside {
            Some((prefix, path)) => weights.with(prefix, Weights::open(path)?),
            None => weights,
        })
    }
}

impl ModelFiles {
    /// Looks at a folder or opens a file.
    pub fn open(path: &Path) -> Result<Self, FilesError> {
        Ok(match path.is_file() {
            true => Self::File(OriginalFile::open(path)?),
            false => Self::Folder(path.to_owned()),
        })
    }

    pub fn path(&self) -> &Path {
        match self {
            Self::Folder(folder) => folder,
            Self::File(file) => file.path(),
        }
    }

    pub fn config(&self, component: Component) -> Result<Config, FilesError> {
        Ok(match self {
            Self::Folder(folder) => {
                Config::read(&folder.join(component.folder()).join("config.json"))?
            }
            Self::File(file) => file.config(component)?,
        })
    }

    pub fn weights(&self, component: Component) -> Result<Stored, FilesError> {
        Ok(match self {
            Self::Folder(folder) => {
                let folder = folder.join(component.folder());
                Stored::file(weights_file(&folder, component.stem())?)
            }
            Self::File(file) => {
                file.view(component)?;
                let path = file.path().to_owned();
                Stored { path, component: Some(component), beside: None }
            }
        })
    }

    pub fn scheduler(&self) -> Result<Config, FilesError> {
        Ok(match self {
            Self::Folder(folder) => Config::read(&folder.join("scheduler/scheduler_config.json"))?,
            Self::File(file) => file.scheduler()?,
        })
    }

    /// The tokenizer of a text encoder. A file has none: it is CLIP's, unless there is another one beside it.
    pub fn tokenizer(&self, own: EncoderFolders) -> Result<Tokenizer, FilesError> {
        let folder = match self {
            Self::Folder(folder) => Some(folder.join(own.tokenizer)),
            Self::File(file) => file.tokenizer(own.tokenizer),
        };
        if let Some(folder) = folder {
            return Ok(Tokenizer::load(&folder)?);
        }
        let is_open_clip = matches!(self, Self::File(file) if file.has_open_clip(own.encoder));
        Ok(Tokenizer::clip(if is_open_clip { Pad::Nothing } else { Pad::End }))
    }

    /// What a user should know of the files.
    pub fn warning(&self) -> Option<String> {
        match self {
            Self::Folder(_) => None,
            Self::File(file) => file.warning(),
        }
    }

    /// Bytes of the networks' weights, but for the autoencoder's where it lies apart.
    pub fn bytes(&self, encoders: &[EncoderFolders]) -> u64 {
        match self {
            Self::Folder(folder) => {
                let encoders = encoders.iter().map(|own| own.encoder);
                let parts = encoders.chain([Component::Unet]);
                parts.map(|part| stored_bytes(&folder.join(part.folder()), part.stem())).sum()
            }
            Self::File(file) => file_bytes(file.path()),
        }
    }
}

/// The weights of a component in its folder, full or half precision, by safetensors if there are any.
pub fn weights_file(folder: &Path, stem: &str) -> Result<PathBuf, FilesError> {
    // Transformers calls those by torch otherwise.
    let torch = if stem == "model" { "pytorch_model" } else { stem };
    let looked = [
        format!("{stem}.safetensors"),
        format!("{stem}.fp16.safetensors"),
        format!("{torch}.bin"),
        format!("{torch}.fp16.bin"),
    ];
    let found = looked.iter().map(|name| folder.join(name)).find(|path| path.is_file());
    found
        .ok_or_else(|| FilesError::NoWeights { folder: folder.to_owned(), looked: looked.to_vec() })
}

/// Of what is loaded from a component's folder, or of a whole file.
pub fn stored_bytes(path: &Path, stem: &str) -> u64 {
    if path.is_file() {
        return file_bytes(path);
    }
    weights_file(path, stem).map_or(0, |file| file_bytes(&file))
}

/// Links into the hub's cache are followed.
fn file_bytes(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |file| file.len())
}
