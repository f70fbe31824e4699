//! How a stream's output is encoded, as its params wish, and what of that this machine's encoders can do.

use crate::Unsupported;

/// Names in params and in SDP, best known first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum VideoCodec {
    #[default]
    H264,
    Vp8,
    Vp9,
    H265,
    Av1,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VideoProfile {
    #[default]
    Baseline,
    Main,
    High,
}

/// x264's, quickest first.
pub const VIDEO_PRESETS: [&str; 9] = [
    "ultrafast",
    "superfast",
    "veryfast",
    "faster",
    "fast",
    "medium",
    "slow",
    "slower",
    "veryslow",
];

/// x264's. Each adds to `zerolatency`, which is always on.
pub const VIDEO_TUNES: [&str; 8] =
    ["zerolatency", "film", "animation", "grain", "stillimage", "fastdecode", "psnr", "ssim"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VideoSettings {
    /// What viewers are sent who take several.
    pub codec: VideoCodec,
    pub profile: VideoProfile,
    /// Of `VIDEO_PRESETS`.
    pub preset: &'static str,
    /// Of `VIDEO_TUNES`.
    pub tune: &'static str,
    /// A key frame at least after so many frames.
    pub gop_size: u32,
    /// Frames that wait for later ones. None are sent: see `unsupported`.
    pub bframes: u32,
}

impl Default for VideoSettings {
    fn default() -> Self {
        let (codec, profile) = (VideoCodec::H264, VideoProfile::Baseline);
        Self {
            codec,
            profile,
            preset: VIDEO_PRESETS[0],
            tune: VIDEO_TUNES[0],
            gop_size: 60,
            bframes: 0,
        }
    }
}

/// What this machine's encoders can do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VideoAbilities {
    /// Codecs that there is an encoder of.
    pub codecs: Vec<VideoCodec>,
    /// The encoder of H264.
    pub h264_encoder: Option<&'static str>,
}

impl VideoCodec {
    pub const ALL: [Self; 5] = [Self::H264, Self::Vp8, Self::Vp9, Self::H265, Self::Av1];

    /// As params have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::H264 => "h264",
            Self::Vp8 => "vp8",
            Self::Vp9 => "vp9",
            Self::H265 => "h265",
            Self::Av1 => "av1",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|codec| codec.name() == name)
    }
}

impl VideoProfile {
    pub const ALL: [Self; 3] = [Self::Baseline, Self::Main, Self::High];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Baseline => "baseline",
            Self::Main => "main",
            Self::High => "high",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|profile| profile.name() == name)
    }
}

impl VideoSettings {
    /// The fields that have no effect with these abilities.
    pub fn unsupported(&self, abilities: &VideoAbilities) -> Vec<Unsupported> {
        let mut unsupported = Vec::new();
        let mut note = |field: &str, reason: String| {
            unsupported.push(Unsupported { field: field.to_owned(), reason });
        };
        if !abilities.codecs.contains(&self.codec) {
            let has: Vec<_> = abilities.codecs.iter().map(|codec| codec.name()).collect();
            note("video_codec", format!("this server encodes {}", has.join(", ")));
        }
        if self.bframes > 0 {
            let reason = "frames that wait for later ones delay viewers, and browsers play none over WebRTC; none are sent";
            note("video_bframes", reason.to_owned());
        }
        let wanted = Self::default();
        let of_x264 = [
            ("video_profile", self.profile != wanted.profile),
            ("video_preset", self.preset != wanted.preset),
            ("video_tune", self.tune != wanted.tune),
        ];
        let why = match abilities.h264_encoder {
            Some("x264enc") if self.codec == VideoCodec::H264 => return unsupported,
            _ if self.codec != VideoCodec::H264 => {
                format!("it is for h264, not {}", self.codec.name())
            }
            Some(encoder) => format!("it is for the encoder x264enc; this server has {encoder}"),
            None => "this server has no encoder of H264".to_owned(),
        };
        for (field, _) in of_x264.iter().filter(|(_, is_wanted)| *is_wanted) {
            note(field, why.clone());
        }
        unsupported
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noted(settings: VideoSettings, encoder: &'static str) -> Vec<(String, String)> {
        let codecs = vec![VideoCodec::H264, VideoCodec::Vp8];
        let abilities = VideoAbilities { codecs, h264_encoder: Some(encoder) };
        let noted = settings.unsupported(&abilities).into_iter();
        noted.map(|each| (each.field, each.reason)).collect()
    }

    #[test]
    fn the_defaults_work_everywhere() {
        for encoder in ["x264enc", "openh264enc", "nvh264enc"] {
            assert_eq!(noted(VideoSettings::default(), encoder), []);
        }
    }

    #[test]
    fn what_an_encoder_cannot_do_is_named_with_the_reason() {
        let (profile, tune) = (VideoProfile::High, "film");
        let settings = VideoSettings { profile, tune, bframes: 2, ..VideoSettings::default() };
        let [(field, _)] = &noted(settings, "x264enc")[..] else { panic!("only B-frames") };
        assert_eq!(field, "video_bframes");
        let noted_of_nvenc = noted(settings, "nvh264enc");
        let fields: Vec<_> = noted_of_nvenc.iter().map(|(field, _)| field.as_str()).collect();
        assert_eq!(fields, ["video_bframes", "video_profile", "video_tune"]);
        assert!(noted_of_nvenc[1].1.contains("this server has nvh264enc"));
        let av1 = VideoSettings { codec: VideoCodec::Av1, ..VideoSettings::default() };
        let reason = "this server encodes h264, vp8".to_owned();
        assert_eq!(noted(av1, "x264enc"), [("video_codec".to_owned(), reason)]);
    }
}
