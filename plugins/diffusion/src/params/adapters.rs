//! Which IP-Adapter is used, and how.

use super::{Acceleration, IpAdapter, StreamParams};
use crate::stream::adapters::Adapter;
use serde_json::{Map, Value};
use std::path::Path;

impl StreamParams {
    /// The one that is enabled. One of no scale stays open: its scale is hot.
    pub(super) fn adapter(&self) -> Option<Adapter> {
        let IpAdapter { kind, enabled, .. } = &self.ip_adapter;
        enabled.then(|| Adapter { name: kind.clone(), params: self.params_of_adapter() })
    }

    /// What the plugin that has it needs to know of the stream, but for what the model tells.
    fn params_of_adapter(&self) -> Map<String, Value> {
        let adapter = &self.ip_adapter;
        let text = |text: &Option<String>| {
            text.as_deref().filter(|text| !text.is_empty()).map(Value::from)
        };
        // In a batch all steps share the scales.
        let steps = (!self.use_denoising_batch).then(|| Value::from(self.t_index_list.len()));
        let params = [
            ("acceleration", Some(Value::from(self.acceleration.of_others()))),
            ("image", self.style_image().map(Value::from)),
            ("scale", Some(Value::from(adapter.scale))),
            ("weight_type", text(&adapter.weight_type)),
            ("steps", steps),
            ("ipadapter_model_path", text(&adapter.ipadapter_model_path)),
            ("image_encoder_path", text(&adapter.image_encoder_path)),
            ("insightface_model_name", text(&adapter.insightface_model_name)),
        ];
        let told = params.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        told.collect()
    }

    /// The file of the style image, which the host fetched. An address is none: plans are told those.
    fn style_image(&self) -> Option<&str> {
        let places = [&self.ip_adapter_style_image_url, &self.ip_adapter.image_url];
        let given = places.into_iter().flatten().find(|place| !place.is_empty());
        given.map(String::as_str).filter(|place| Path::new(place).is_absolute())
    }
}

impl Acceleration {
    /// What networks of other plugins are told to run on.
    pub(super) fn of_others(self) -> &'static str {
        match self {
            Self::Tensorrt => "tensorrt",
            Self::None | Self::Xformers => "none",
        }
    }
}
