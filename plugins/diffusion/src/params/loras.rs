//! Which LoRAs a stream's params ask for, as files.

use plugin_api::Artefact;

use super::StreamParams;
use crate::files::ModelFiles;
use crate::folder::{CheckpointError, check_loras};
use crate::lora::Lora;
use crate::original::Component;
use crate::resolve::{ModelRoots, ResolveError};

/// The LoRAs to merge, and what their user should know.
#[derive(Clone, Debug, PartialEq)]
pub struct ChosenLoras {
    pub loras: Vec<Lora>,
    pub warning: Option<String>,
}

/// Why the LCM LoRA has no effect.
#[derive(Debug)]
pub struct LcmRefusal {
    pub reason: String,
    /// What would change that.
    pub missing: Option<Box<Artefact>>,
}

/// The LCM LoRAs there are, and how wide the text embeddings of their models are: nobody is told to fetch one in vain.
const LCM_LORAS: [(&str, usize); 2] =
    [("latent-consistency/lcm-lora-sdv1-5", 768), ("latent-consistency/lcm-lora-sdxl", 2048)];

impl StreamParams {
    /// The LoRAs to merge into a model: the LCM one where it is wished and can be used, then those of
    /// `lora_dict`.
    pub fn loras(
        &self,
        roots: &ModelRoots,
        model: &ModelFiles,
    ) -> Result<ChosenLoras, ResolveError> {
        let (lcm, warning) = match self.lcm_lora(roots, Some(model)) {
            Ok(lcm) => (lcm, None),
            Err(refusal) => (None, Some(refusal.reason)),
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
        model: Option<&ModelFiles>,
    ) -> Result<Option<Lora>, LcmRefusal> {
        if !self.use_lcm_lora || self.is_turbo() {
            return Ok(None);
        }
        if let Some((made_for, width)) = model.and_then(|model| self.lcm_misfit(model)) {
            let id = &self.lcm_lora_id;
            let reason = format!(
                "the model runs without the LCM LoRA: {id} is made for text embeddings {made_for} wide, those of this model are {width} wide"
            );
            return Err(LcmRefusal { reason, missing: None });
        }
        let without = |error: &dyn std::error::Error, missing| {
            let reason = format!(
                "the model runs without the LCM LoRA, which makes few steps enough: {error}"
            );
            LcmRefusal { reason, missing }
        };
        let path = roots.resolve_lora(&self.lcm_lora_id);
        let path = path.map_err(|error| without(&error, error.artefact().map(Box::new)))?;
        let lora = Lora { path, scale: 1.0 };
        // What is wrong with the model itself is for loading to say.
        let fits =
            model.map_or(Ok(()), |model| check_loras(model, std::slice::from_ref(&lora)).map(drop));
        match fits {
            Err(CheckpointError::Lora(error)) => Err(without(&error, None)),
            _ => Ok(Some(lora)),
        }
    }

    /// What the LCM LoRA is made for and what the model has, where these are known to differ.
    fn lcm_misfit(&self, model: &ModelFiles) -> Option<(usize, usize)> {
        let (_, made_for) = LCM_LORAS.into_iter().find(|(id, _)| *id == self.lcm_lora_id)?;
        let unet = model.config(Component::Unet).ok()?;
        let width = unet.size("cross_attention_dim").ok()?;
        (width != made_for).then_some((made_for, width))
    }
}
