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
