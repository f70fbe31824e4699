//! What the hub may have of that which is not on this machine.

use plugin_api::Artefact;

use super::lora::split;
use super::{ResolveError, is_id};

/// The hub's ids are no longer, and have no `--`, since its cache writes that for the slash.
const MAX_HUB_ID_BYTES: usize = 96;

impl ResolveError {
    /// What to fetch, where the name can be one of the hub. A name without an organisation is rather a misspelled folder.
    pub fn artefact(&self) -> Option<Artefact> {
        match self {
            Self::NotFound { id, .. } if is_hub_id(id) => Some(Artefact::of_model(id)),
            Self::NotFound { id, .. } if id.ends_with(".safetensors") => with_file(id),
            Self::NoLora { name, .. } => with_file(name),
            Self::NoFile { model, file, .. } if is_hub_id(model) => {
                Some(Artefact { files: vec![file.clone()], ..Artefact::of_model(model) })
            }
            Self::NotFound { .. }
            | Self::NoFile { .. }
            | Self::NotSafetensors { .. }
            | Self::Id { .. }
            | Self::Outside { .. }
            | Self::LoraName { .. }
            | Self::SeveralLoras { .. } => None,
        }
    }
}

/// A repository, or one file in it.
fn with_file(name: &str) -> Option<Artefact> {
    let (repository, file) = split(name);
    let files = Some(file).filter(|file| !file.is_empty()).into_iter().collect();
    is_hub_id(&repository).then(|| Artefact { files, ..Artefact::of_model(repository) })
}

fn is_hub_id(id: &str) -> bool {
    is_id(id)
        && id.len() <= MAX_HUB_ID_BYTES
        && id.split('/').count() == 2
        && !id.contains("--")
        && !id.contains("..")
        // A file that somebody meant to put below the models folder.
        && !id.ends_with(".safetensors")
}

#[cfg(test)]
mod tests {
    use super::super::ModelRoots;
    use super::*;

    fn roots() -> ModelRoots {
        ModelRoots { models: "/nowhere".into(), hub: Some("/nowhere/hub".into()) }
    }

    #[test]
    fn a_missing_model_is_asked_of_the_hub_where_its_name_can_be_one_there() {
        let model = |id: &str| roots().resolve(id).unwrap_err().artefact();
        assert_eq!(model("org/name"), Some(Artefact::of_model("org/name")));
        let long = format!("org/{}", "a".repeat(93));
        let one = Artefact { files: vec!["c.safetensors".into()], ..Artefact::of_model("a/b") };
        assert_eq!(model("a/b/c.safetensors"), Some(one));
        for id in
            ["demo", "a/b/c", "a/b.safetensors", "org/na--me", "org/a..b", "../name", "/etc", &long]
        {
            assert_eq!(model(id), None, "{id}");
        }
    }

    #[test]
    fn a_missing_lora_is_a_repository_or_one_file_of_it() {
        let lora = |name: &str| roots().resolve_lora(name).unwrap_err().artefact();
        assert_eq!(lora("org/name"), Some(Artefact::of_model("org/name")));
        let one = Artefact { files: vec!["a b/c.safetensors".into()], ..Artefact::of_model("o/n") };
        assert_eq!(lora("o/n/a b/c.safetensors"), Some(one));
        for name in ["style.safetensors", "loras/style.safetensors", "my loras/x", "/etc/passwd"] {
            assert_eq!(lora(name), None, "{name}");
        }
    }
}
