//! Changes of hot params that need a reload all the same: networks come or go, or take another shape.

use super::{ControlNet, IpAdapter, StreamParams};

/// The fields of which more changed than can be applied between two frames.
pub fn reload(old: &StreamParams, new: &StreamParams) -> Vec<String> {
    let is_same = |old: &[ControlNet], new: &[ControlNet]| {
        old.iter().map(as_loaded).eq(new.iter().map(as_loaded))
    };
    let fields = [
        ("controlnets", !is_same(&old.controlnets, &new.controlnets)),
        ("ip_adapter", loaded(&old.ip_adapter) != loaded(&new.ip_adapter)),
        ("cached_attention", old.cached_attention.enabled != new.cached_attention.enabled),
    ];
    let changed = fields.into_iter().filter(|(_, is_changed)| *is_changed);
    changed.map(|(field, _)| field.to_owned()).collect()
}

/// What of an adapter is loaded; of one that is not used, nothing.
fn loaded(adapter: &IpAdapter) -> Option<(&str, [Option<&str>; 3])> {
    let IpAdapter { ipadapter_model_path, image_encoder_path, insightface_model_name, .. } =
        adapter;
    let paths = [ipadapter_model_path, image_encoder_path, insightface_model_name];
    adapter.enabled.then(|| (&*adapter.kind, paths.map(Option::as_deref)))
}

/// Without what a running ControlNet takes.
fn as_loaded(controlnet: &ControlNet) -> ControlNet {
    ControlNet { conditioning_scale: 0.0, per_frame_control: false, ..controlnet.clone() }
}
