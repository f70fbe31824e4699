//! The blocks of image and latent processors: which of them are used, and with what.

use super::{Processing, Processor, StreamParams};
use crate::stream::hooks::{Asked, Hooks, ImageStep};
use plugin_api::FieldError;
use serde_json::{Map, Value};

/// The one param of both kinds of feedback.
const STRENGTH: &str = "feedback_strength";

/// The image processor that judges pictures, with its one param.
const SAFETY_CHECKER: &str = "safety_checker";
const THRESHOLD: &str = "threshold";

/// The processor that runs here; all others are of other plugins.
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
        let strengths = |block: &Option<Processing>| {
            let given = running(block).filter(|(_, one)| one.kind == LATENT.name);
            given.filter_map(|(_, one)| LATENT.strength(one).ok()).map(|s| s as f32).collect()
        };
        let mut image_postprocessing = image_steps(&self.image_postprocessing);
        image_postprocessing.extend(self.safety_checker());
        Hooks {
            image_preprocessing: image_steps(&self.image_preprocessing),
            image_postprocessing,
            latent_preprocessing: strengths(&self.latent_preprocessing),
            latent_postprocessing: strengths(&self.latent_postprocessing),
        }
    }

    /// Behind all others, so that nothing leaves that it has not seen.
    fn safety_checker(&self) -> Option<ImageStep> {
        let threshold = Value::from(self.safety_checker_threshold);
        self.use_safety_checker.then(|| ImageStep::Processor {
            name: SAFETY_CHECKER.into(),
            params: Map::from_iter([(THRESHOLD.into(), threshold)]),
            asked: Asked::ForSafety,
        })
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

fn image_steps(block: &Option<Processing>) -> Vec<ImageStep> {
    let step = |(index, one): (usize, &Processor)| match one.kind.as_str() {
        "passthrough" => None,
        name if name == IMAGE.name => {
            IMAGE.strength(one).ok().map(|strength| ImageStep::Feedback(strength as f32))
        }
        name => Some(ImageStep::Processor {
            name: name.into(),
            params: one.params.clone(),
            asked: Asked::Listed(index),
        }),
    };
    running(block).filter_map(step).collect()
}

fn running(block: &Option<Processing>) -> impl Iterator<Item = (usize, &Processor)> {
    let blocks = block.iter().filter(|block| block.enabled);
    blocks.flat_map(|block| block.processors.iter().enumerate()).filter(|(_, one)| one.enabled)
}

/// Enough of a value to recognise it by.
fn shortened(value: &Value) -> String {
    value.to_string().chars().take(40).collect()
}
