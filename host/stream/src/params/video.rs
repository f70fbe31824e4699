//! The params of the encoder, under the names and within the limits of the seed project's API.

use super::host::choice;
use serde_json::{Value, json};

pub(super) fn video_params() -> [(&'static str, Value); 6] {
    [
        ("video_codec", codec()),
        ("video_profile", profile()),
        ("video_preset", preset()),
        ("video_tune", tune()),
        ("gop_size", gop_size()),
        ("video_bframes", bframes()),
    ]
}

fn codec() -> Value {
    choice(
        "What viewers by WebRTC and RTSP are sent; those by WebRTC who do not take this one get another. HLS and RTMP \
         always carry H264.",
        &["h264", "vp8", "vp9", "h265", "av1"],
        "h264",
    )
}

fn profile() -> Value {
    choice(
        "H264's profile: the later ones look better at the same bit rate, where all viewers can decode them.",
        &["baseline", "main", "high"],
        "baseline",
    )
}

fn preset() -> Value {
    choice(
        "x264's preset: the slower, the better the picture at the same bit rate, and the later.",
        &[
            "ultrafast",
            "superfast",
            "veryfast",
            "faster",
            "fast",
            "medium",
            "slow",
            "slower",
            "veryslow",
        ],
        "ultrafast",
    )
}

fn tune() -> Value {
    choice(
        "What x264 favours, beside the low latency that it always favours.",
        &["zerolatency", "film", "animation", "grain", "stillimage", "fastdecode", "psnr", "ssim"],
        "zerolatency",
    )
}

fn gop_size() -> Value {
    json!({
        "type": "integer",
        "minimum": 1,
        "maximum": 300,
        "default": 60,
        "description": "A key frame at least after so many frames; viewers who need one sooner get it.",
        "x-apply": "hot",
        "x-unit": "frames",
    })
}

fn bframes() -> Value {
    json!({
        "type": "integer",
        "minimum": 0,
        "maximum": 16,
        "default": 0,
        "description": "Taken for the sake of other servers' clients. None are sent, since they would delay viewers.",
        "x-apply": "hot",
    })
}
