//! The blocks of image and latent processors: which of them run here, and with what.

use super::{Processing, Processor, StreamParams};
use crate::stream::hooks::Hooks;
use plugin_api::FieldError;
use serde_json::Value;

/// The one param of both kinds of feedback.
const STRENGTH: &str = "feedback_strength";

/// A processor that runs here.
#[derive(Clone, Copy)]
struct Feedback {
    name: &'static str,
    default: f64,
    /// As in StreamDiffusion's descendants.
    highest: f64,
}

const IMAGE: Feedback = Feedback { name: "feedback", default: 0.5, highest: 1.0 };
const LATENT: Feedback = Feedback { name: "latent_feedback", default: 0.15, highest: 0.4 };

impl StreamParams {
    pub(super) fn hooks(&self) -> Hooks {
        let strengths = |block: &Option<Processing>, feedback: Feedback| {
            let given = running(block).filter(|(_, one)| one.kind == feedback.name);
            given.filter_map(|(_, one)| feedback.strength(one).ok()).map(|s| s as f32).collect()
        };
        Hooks {
            image_preprocessing: strengths(&self.image_preprocessing, IMAGE),
            image_postprocessing: strengths(&self.image_postprocessing, IMAGE),
            latent_preprocessing: strengths(&self.latent_preprocessing, LATENT),
            latent_postprocessing: strengths(&self.latent_postprocessing, LATENT),
        }
    }

    pub(super) fn check_processing(&self) -> Vec<FieldError> {
        let blocks = self.processing().into_iter();
        let wrong = |(field, block, feedback): (&str, &Option<Processing>, Feedback)| {
            let given = running(block).filter(|(_, one)| one.kind == feedback.name);
            let wrong = given.filter_map(|(index, one)| {
                let message = feedback.strength(one).err()?;
                let pointer = format!("/{field}/processors/{index}/params/{STRENGTH}");
                Some(FieldError { pointer, message })
            });
            wrong.collect::<Vec<_>>()
        };
        blocks.flat_map(wrong).collect()
    }

    /// The fields of blocks with processors that do not run here, and which those are.
    pub(super) fn idle_processors(&self) -> Vec<(&'static str, String)> {
        let blocks = self.processing().into_iter();
        let idle = |(field, block, feedback): (_, &Option<Processing>, Feedback)| {
            let known = [feedback.name, "passthrough"];
            let names = running(block).map(|(_, one)| one.kind.as_str());
            let names: Vec<&str> = names.filter(|name| !known.contains(name)).collect();
            (!names.is_empty()).then(|| (field, names.join(", ")))
        };
        blocks.filter_map(idle).collect()
    }

    fn processing(&self) -> [(&'static str, &Option<Processing>, Feedback); 4] {
        [
            ("image_preprocessing", &self.image_preprocessing, IMAGE),
            ("image_postprocessing", &self.image_postprocessing, IMAGE),
            ("latent_preprocessing", &self.latent_preprocessing, LATENT),
            ("latent_postprocessing", &self.latent_postprocessing, LATENT),
        ]
    }
}

impl Feedback {
    fn strength(self, processor: &Processor) -> Result<f64, String> {
        let Some(value) = processor.params.get(STRENGTH) else { return Ok(self.default) };
        let strength = value.as_f64().filter(|strength| (0.0..=self.highest).contains(strength));
        strength.ok_or_else(|| {
            let got = shortened(value);
            format!("must be a number from 0 to {}, got {got}", self.highest)
        })
    }
}

fn running(block: &Option<Processing>) -> impl Iterator<Item = (usize, &Processor)> {
    let blocks = block.iter().filter(|block| block.enabled);
    blocks.flat_map(|block| block.processors.iter().enumerate()).filter(|(_, one)| one.enabled)
}

/// Enough of a value to recognise it by.
fn shortened(value: &Value) -> String {
    value.to_string().chars().take(40).collect()
}
