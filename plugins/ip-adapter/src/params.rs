//! What pipelines tell an adapter.

use plugin_api::{Error, Params};
use plugins_diffusion::ip_weights::WeightType;
use plugins_diffusion::params::Acceleration;
use plugins_diffusion::tensor::Tensor;
use serde::Deserialize;
use serde_json::Value;
use std::path::PathBuf;

/// SDXL has 70.
const MOST_LAYERS: usize = 1000;
const MOST_STEPS: usize = 100;

/// Of a stream.
#[derive(Clone, Debug, Deserialize)]
pub struct Wishes {
    /// What the stream's own networks run on, if it can be had.
    #[serde(default)]
    pub acceleration: Acceleration,
    pub family: Family,
    /// The picture's file.
    #[serde(default)]
    pub image: Option<PathBuf>,
    #[serde(default = "one")]
    scale: f32,
    #[serde(default)]
    weight_type: Option<String>,
    /// Attentions that it adds to; nothing is asked of it before they are told.
    #[serde(default)]
    layers: Option<usize>,
    /// Steps that run one after another; none where all share a batch.
    #[serde(default)]
    steps: Option<usize>,
    #[serde(default)]
    pub ipadapter_model_path: Option<String>,
    #[serde(default)]
    pub image_encoder_path: Option<String>,
    #[serde(default)]
    pub insightface_model_name: Option<String>,
}

/// Of the UNet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    Sd15,
    Sdxl,
}

fn one() -> f32 {
    1.0
}

impl Wishes {
    pub fn read(params: &Params<'_>) -> Result<Self, Error> {
        let wishes = Self::deserialize(Value::Object(params.values.clone()))
            .map_err(|error| Error::invalid(error.to_string()))?;
        wishes.weights()?;
        let in_range = |count: Option<usize>, most| count.is_none_or(|n| (1..=most).contains(&n));
        if !wishes.scale.is_finite() {
            return Err(Error::invalid("`scale` must be a finite number"));
        }
        if !in_range(wishes.layers, MOST_LAYERS) || !in_range(wishes.steps, MOST_STEPS) {
            return Err(Error::invalid(format!(
                "`layers` must be from 1 to {MOST_LAYERS} and `steps` from 1 to {MOST_STEPS}, got {:?} and {:?}",
                wishes.layers, wishes.steps
            )));
        }
        Ok(wishes)
    }

    fn weights(&self) -> Result<WeightType, Error> {
        let name = self.weight_type.as_deref().unwrap_or("linear");
        WeightType::of_name(name).ok_or_else(|| {
            let names: Vec<&str> = WeightType::ALL.iter().map(|(name, _)| *name).collect();
            let names = names.join(", ");
            Error::invalid(format!("`weight_type` must be one of {names}, got {name:?}"))
        })
    }

    /// How much the tokens count: `[layers]`, or `[steps, layers]` where steps run one after another.
    pub fn scales(&self) -> Result<Tensor, Error> {
        let missing = || Error::invalid("`layers` must be told before it is asked for scales");
        let (weights, layers) = (self.weights()?, self.layers.ok_or_else(missing)?);
        let scales = weights.scales(self.scale, layers);
        let Some(steps) = self.steps else { return Ok(Tensor::new([layers], scales)) };
        let at = |step| {
            let factor = weights.at_step(step, steps);
            scales.iter().map(move |scale| scale * factor)
        };
        Ok(Tensor::new([steps, layers], (0..steps).flat_map(at).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use plugin_api::FrameFormat;
    use serde_json::json;

    fn read(values: Value) -> Result<Wishes, Error> {
        let values = values.as_object().unwrap().clone();
        Wishes::read(&Params::of_lent("regular", &values, FrameFormat::new(64, 64)))
    }

    #[test]
    fn scales_follow_the_weight_type_over_layers_and_over_steps_of_their_own() {
        let scales = |values: Value| read(values).unwrap().scales().unwrap();
        let linear = scales(json!({"family": "sd15", "scale": 0.5, "layers": 3}));
        assert_eq!((linear.shape(), linear.data()), (&[3][..], &[0.5; 3][..]));
        let base = json!({"family": "sd15", "layers": 2, "weight_type": "weak input"});
        assert_eq!(scales(base.clone()).data(), [1.0; 2], "a batch has no step");
        let mut stepped = base;
        stepped["steps"] = json!(2);
        let stepped = scales(stepped);
        assert_eq!((stepped.shape(), stepped.data()), (&[2, 2][..], &[0.2, 0.2, 1.0, 1.0][..]));
    }

    #[test]
    fn params_out_of_range_are_refused_with_what_would_be_right() {
        for (values, part) in [
            (json!({}), "family"),
            (json!({"family": "sd3"}), "sd3"),
            (json!({"family": "sdxl", "weight_type": "heavy"}), "ease in"),
            (json!({"family": "sdxl", "layers": 0}), "from 1 to 1000"),
            (json!({"family": "sdxl", "layers": 1, "steps": 101}), "from 1 to 100"),
            (json!({"family": "sdxl", "scale": 1e300}), "finite"),
        ] {
            let error = read(values).unwrap_err().message;
            assert!(error.contains(part), "{error}");
        }
        assert!(read(json!({"family": "sdxl"})).unwrap().scales().is_err());
    }
}
