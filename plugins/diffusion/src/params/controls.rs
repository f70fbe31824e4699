//! Which ControlNets are used, and how.

use super::{ControlNet, StreamParams};
use crate::stream::controls::Control;
use serde_json::{Map, Value};

/// The preprocessor that leaves frames as they are.
const PASSTHROUGH: &str = "passthrough";

impl StreamParams {
    /// Those that are enabled. One of no scale stays open: its scale is hot.
    pub(super) fn controls(&self) -> Vec<Control> {
        let enabled = self.controlnets.iter().enumerate().filter(|(_, control)| control.enabled);
        enabled.map(|(index, control)| self.control(index, control)).collect()
    }

    fn control(&self, index: usize, control: &ControlNet) -> Control {
        let own = ["", PASSTHROUGH].contains(&control.preprocessor.as_str());
        let preprocessor = (control.preprocessor.clone(), control.preprocessor_params.clone());
        Control {
            name: control.model_id.clone(),
            scale: control.conditioning_scale as f32,
            span: [control.control_guidance_start, control.control_guidance_end].map(|s| s as f32),
            preprocessor: (!own).then_some(preprocessor),
            params: self.params_of(control),
            is_per_frame: control.per_frame_control,
            index,
        }
    }

    /// What the plugin that has it needs to know of the stream.
    fn params_of(&self, control: &ControlNet) -> Map<String, Value> {
        let acceleration = self.acceleration.of_others();
        let channels = control.conditioning_channels.map(Value::from);
        let params = [
            ("acceleration", Some(Value::from(acceleration))),
            ("conditioning_channels", channels),
        ];
        let told = params.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        told.collect()
    }
}
