//! Which LoRAs a stream's params ask for, as files.

use std::path::Path;

use super::StreamParams;
use crate::folder::{CheckpointError, check_loras};
use crate::lora::Lora;
use crate::resolve::{ModelRoots, ResolveError};

/// The LoRAs to merge, and what their user should know.
#[derive(Clone, Debug, PartialEq)]
pub struct ChosenLoras {
    pub loras: Vec<Lora>,
    pub warning: Option<String>,
}

impl StreamParams {
    /// The LoRAs to merge into the model in `folder`: the LCM one where it is wished and can be used, then those of
    /// `lora_dict`.
    pub fn loras(&self, roots: &ModelRoots, folder: &Path) -> Result<ChosenLoras, ResolveError> {
        let (lcm, warning) = match self.lcm_lora(roots, Some(folder)) {
            Ok(lcm) => (lcm, None),
            Err(reason) => (None, Some(reason)),
        };
        let mut loras: Vec<Lora> = lcm.into_iter().collect();
        for (name, &scale) in self.lora_dict.iter().flatten() {
            loras.push(Lora { path: roots.resolve_lora(name)?, scale: scale as f32 });
        }
        Ok(ChosenLoras { loras, warning })
    }

    /// The LCM LoRA, if it is wished; the error is why it has no effect. It is wished by default, so where it is absent
    /// or made for other models the stream runs without it.
    pub fn lcm_lora(
        &self,
        roots: &ModelRoots,
        folder: Option<&Path>,
    ) -> Result<Option<Lora>, String> {
        // As in StreamDiffusion: models that are already distilled are known by their name.
        if !self.use_lcm_lora || self.model_id.contains("turbo") {
            return Ok(None);
        }
        let without = |error: &dyn std::error::Error| {
            format!("the model runs without the LCM LoRA, which makes few steps enough: {error}")
        };
        let path = roots.resolve_lora(&self.lcm_lora_id).map_err(|error| without(&error))?;
        let lora = Lora { path, scale: 1.0 };
        // What is wrong with the model itself is for loading to say.
        let fits = folder
            .map_or(Ok(()), |folder| check_loras(folder, std::slice::from_ref(&lora)).map(drop));
        match fits {
            Err(CheckpointError::Lora(error)) => Err(without(&error)),
            _ => Ok(Some(lora)),
        }
    }
}
