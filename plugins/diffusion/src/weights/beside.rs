//! Tensors of a second file, which go with those of the first: an adapter's with its network's.

use std::path::{Path, PathBuf};

use super::{Place, Weights};

/// A second file, for names that begin with a prefix.
#[derive(Debug)]
pub(super) struct Beside {
    prefix: &'static str,
    weights: Box<Weights>,
}

impl Beside {
    pub fn has_transposed(&self) -> bool {
        self.weights.has_transposed()
    }
}

impl Weights {
    /// Tensors whose names begin with `prefix` are those of another file from now on.
    pub fn with(mut self, prefix: &'static str, weights: Weights) -> Self {
        self.beside = Some(Beside { prefix, weights: Box::new(weights) });
        self
    }

    /// The second file, where a name is one of those.
    pub(super) fn beside(&self, name: &str) -> Option<&Weights> {
        let beside = self.beside.as_ref().filter(|beside| name.starts_with(beside.prefix));
        beside.map(|beside| &*beside.weights)
    }

    /// The files, of which the second is for few.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        let beside = self.beside.iter().map(|beside| beside.weights.path());
        std::iter::once(self.path()).chain(beside)
    }

    /// The file that has this place.
    pub(super) fn path_of(&self, place: Place) -> &Path {
        let beside = self.beside.as_ref().filter(|_| place.is_beside);
        beside.map_or(&self.path, |beside| &beside.weights.path)
    }

    /// The folder that all files are in, at whatever depth.
    pub fn folder(&self) -> &Path {
        let has_all = |folder: &&Path| self.paths().all(|path| path.starts_with(folder));
        self.path.ancestors().skip(1).find(has_all).unwrap_or(Path::new("/"))
    }

    /// The file of a place, seen from [`folder`](Self::folder).
    pub fn location(&self, place: Place) -> PathBuf {
        let path = self.path_of(place);
        path.strip_prefix(self.folder()).unwrap_or(path).to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file at a path with one number under a name.
    fn write(path: &Path, name: &str, value: f32) {
        let header = format!(r#"{{"{name}":{{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}}}"#);
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend(value.to_le_bytes());
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    #[test]
    fn tensors_of_a_second_file_are_found_by_the_start_of_their_names() {
        let folder = tempfile::tempdir().unwrap();
        let [first, second] =
            ["model/unet/a.safetensors", "adapters/b.safetensors"].map(|at| folder.path().join(at));
        write(&first, "own", 1.0);
        write(&second, "other.one", 2.0);
        let alone = Weights::open(&first).unwrap();
        let place = alone.find("own", &[1]).unwrap();
        assert_eq!(alone.location(place), Path::new("a.safetensors"));
        let both = alone.with("other.", Weights::open(&second).unwrap());
        assert_eq!(both.folder(), folder.path().canonicalize().unwrap());
        for (name, value, location) in
            [("own", 1.0, "model/unet/a.safetensors"), ("other.one", 2.0, "adapters/b.safetensors")]
        {
            let place = both.find(name, &[1]).unwrap();
            assert_eq!(both.read(place).unwrap(), [value]);
            assert_eq!(both.location(place), Path::new(location));
        }
        let missing = both.find("other.two", &[1]).unwrap_err().to_string();
        assert!(missing.contains("b.safetensors"), "the file that was looked in: {missing}");
    }
}
