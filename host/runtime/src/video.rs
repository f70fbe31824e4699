//! What a stream's params say of the encoder.

use host_ports::{VIDEO_PRESETS, VIDEO_TUNES, VideoCodec, VideoProfile, VideoSettings};
use host_stream::ParamsSchema;
use serde_json::{Map, Value};

/// Checked params in, so what is missing here is a plugin's own param of the same name.
pub fn settings(schema: &ParamsSchema, params: &Map<String, Value>) -> VideoSettings {
    let value = |name| schema.host_param(params, name);
    let text = |name| value(name).and_then(Value::as_str);
    let number = |name| value(name).and_then(|value| u32::try_from(value.as_u64()?).ok());
    let among = |all: &'static [&'static str], name| {
        let wanted = text(name)?;
        all.iter().copied().find(|each| *each == wanted)
    };
    let default = VideoSettings::default();
    VideoSettings {
        codec: text("video_codec").and_then(VideoCodec::from_name).unwrap_or(default.codec),
        profile: text("video_profile").and_then(VideoProfile::from_name).unwrap_or(default.profile),
        preset: among(&VIDEO_PRESETS, "video_preset").unwrap_or(default.preset),
        tune: among(&VIDEO_TUNES, "video_tune").unwrap_or(default.tune),
        gop_size: number("gop_size").unwrap_or(default.gop_size),
        bframes: number("video_bframes").unwrap_or(default.bframes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use host_stream::{Fallback, with_host_params};
    use serde_json::json;

    /// The schema has its names for itself, since it depends on nothing.
    #[test]
    fn the_schema_offers_what_settings_know_and_the_same_defaults() {
        let schema = with_host_params(&json!({ "properties": {} }), Fallback::Input);
        let offered = |name: &str| schema["properties"][name]["enum"].clone();
        assert_eq!(offered("video_codec"), json!(VideoCodec::ALL.map(VideoCodec::name)));
        assert_eq!(offered("video_profile"), json!(VideoProfile::ALL.map(VideoProfile::name)));
        assert_eq!(offered("video_preset"), json!(VIDEO_PRESETS));
        assert_eq!(offered("video_tune"), json!(VIDEO_TUNES));
        let schema = ParamsSchema::compile(&json!({ "properties": {} }), Fallback::Input).unwrap();
        let defaults = schema.create(&Map::new()).unwrap().params;
        assert_eq!(settings(&schema, &defaults), VideoSettings::default());
    }
}
