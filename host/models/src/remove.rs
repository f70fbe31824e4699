//! Takes a model out of the hub's cache. Folders under `models` are the operator's own and stay.

use crate::folder::{LOCKS, ModelFolder};
use crate::names::ModelId;
use crate::settings::Hub;
use std::fs;
use std::io;
use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    #[error("`{id}` is not in the hub's cache at {}; what lies under `models` is deleted by hand", cache.display())]
    NotThere { id: ModelId, cache: PathBuf },
    #[error("{} is a link and no folder of the hub's cache; delete it by hand", .0.display())]
    Link(PathBuf),
    #[error("`{id}` is being fetched; try again when that has ended")]
    Busy { id: ModelId },
    #[error("cannot delete {}", path.display())]
    Files {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl Hub {
    /// The folder that [`Hub::remove`] would delete.
    pub fn cached(&self, id: &ModelId) -> Result<PathBuf, RemoveError> {
        let path = ModelFolder::new(&self.cache, id).root;
        match fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_dir() => Ok(path),
            Ok(_) => Err(RemoveError::Link(path)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(RemoveError::NotThere { id: id.clone(), cache: self.cache.clone() })
            }
            Err(source) => Err(RemoveError::Files { path, source }),
        }
    }

    /// Deletes a model from the cache. Those who have its files open keep them until they close them.
    pub fn remove(&self, id: &ModelId) -> Result<(), RemoveError> {
        let path = self.cached(id)?;
        let error = |path: &PathBuf| {
            let path = path.clone();
            move |source| RemoveError::Files { path, source }
        };
        let lock = ModelFolder::new(&self.cache, id).try_lock().map_err(error(&path))?;
        let _lock = lock.ok_or_else(|| RemoveError::Busy { id: id.clone() })?;
        // Out of sight first, so that nobody finds half of it.
        let gone = self.cache.join(LOCKS).join(format!(".removed-{}", id.folder_name()));
        if gone.exists() {
            fs::remove_dir_all(&gone).map_err(error(&gone))?;
        }
        fs::rename(&path, &gone).map_err(error(&path))?;
        fs::remove_dir_all(&gone).map_err(error(&gone))
    }
}
