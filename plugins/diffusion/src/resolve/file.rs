//! One file of a repository, such as a network in a format of others.

use std::path::PathBuf;

use super::{ModelRoots, ResolveError, is_id, snapshot};

impl ModelRoots {
    /// The file below the models folder, at `ORG/NAME/FILE`, else in the hub's cache.
    pub fn resolve_file(&self, model: &str, file: &str) -> Result<PathBuf, ResolveError> {
        let name = format!("{model}/{file}");
        if !is_id(&name) {
            return Err(ResolveError::Id { id: name.chars().take(super::MAX_ID_BYTES).collect() });
        }
        let own = self.models.join(&name);
        let mut looked = vec![own.clone()];
        if own.is_file() {
            return Ok(own);
        }
        if let Some(hub) = &self.hub {
            let cached = hub.join(format!("models--{}", model.replace('/', "--")));
            let found = snapshot(&cached).map(|snapshot| snapshot.join(file));
            if let Some(found) = found.filter(|found| found.is_file()) {
                return Ok(found);
            }
            looked.push(cached.join("snapshots/*").join(file));
        }
        let (model, file) = (model.to_owned(), file.to_owned());
        Err(ResolveError::NoFile { model, file, looked, wanted: own })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_found_in_the_folder_and_in_the_hubs_cache() {
        let folder = tempfile::tempdir().unwrap();
        let models = folder.path().join("models");
        let hub = folder.path().join("hub");
        let roots = ModelRoots { models: models.clone(), hub: Some(hub.clone()) };
        let cached = hub.join("models--org--name/snapshots/abc/onnx/model.onnx");
        std::fs::create_dir_all(cached.parent().unwrap()).unwrap();
        let find = || roots.resolve_file("org/name", "onnx/model.onnx");
        let error = find().unwrap_err();
        let text = error.to_string();
        for part in
            ["models pull org/name --file onnx/model.onnx", "models/org/name", "snapshots/*"]
        {
            assert!(text.contains(part), "{text}");
        }
        let artefact = error.artefact().unwrap();
        assert_eq!(
            (&*artefact.model, &artefact.files[..]),
            ("org/name", &["onnx/model.onnx".into()][..])
        );
        std::fs::write(&cached, "").unwrap();
        assert_eq!(find().unwrap(), cached);
        let own = models.join("org/name/onnx/model.onnx");
        std::fs::create_dir_all(own.parent().unwrap()).unwrap();
        std::fs::write(&own, "").unwrap();
        assert_eq!(find().unwrap(), own);
        assert!(matches!(roots.resolve_file("org/..", "x"), Err(ResolveError::Id { .. })));
    }
}
