//! How an element encodes: no frame held back, no B-frames, a key frame after `gop_size` frames and whenever one is forced.

use crate::codecs::{Codec, Element};
use host_ports::{FrameSize, VideoProfile, VideoSettings};

/// The quickest preset leaves out what hides the edges of blocks and spends bits evenly, also where the eye sees least.
/// Both cost a fraction of a millisecond.
const X264_OPTIONS: &str = "option-string=deblock=true:aq-mode=1";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Encoding {
    pub settings: VideoSettings,
    pub bitrate_kbps: u32,
}

impl Encoding {
    /// The graph of this element for pictures of a size.
    pub fn graph(&self, element: &Element, size: FrameSize) -> String {
        let (kbps, gop) = (self.bitrate_kbps, self.settings.gop_size);
        let bits = kbps * 1000;
        let threads = if size.width * size.height > 640 * 640 { 4 } else { 1 };
        match element.name {
            // Of H264, not known of all versions to offer the constrained profile; without B-frames main is as good.
            name @ ("nvh264enc" | "nvh265enc") => format!(
                "{name} name=encode preset=low-latency-hq zerolatency=true rc-mode=cbr bitrate={kbps} gop-size={gop} bframes=0 \
                 ! capsfilter caps={}",
                caps(element.codec, "main")
            ),
            name @ ("vah264enc" | "vah265enc") => format!(
                "{name} name=encode rate-control=cbr bitrate={kbps} key-int-max={gop} b-frames=0 ref-frames=1 ! capsfilter caps={}",
                caps(element.codec, simplest(element.codec))
            ),
            "x265enc" => format!(
                "x265enc name=encode tune=zerolatency speed-preset=ultrafast bitrate={kbps} key-int-max={gop} \
                 option-string=pools={threads}:bframes=0:repeat-headers=1 ! capsfilter caps={}",
                caps(element.codec, simplest(element.codec))
            ),
            "x264enc" => self.x264(threads),
            "openh264enc" => format!(
                "openh264enc name=encode usage-type=camera rate-control=bitrate bitrate={bits} gop-size={gop} \
                 enable-frame-skip=false multi-thread={threads} ! capsfilter caps={}",
                caps(element.codec, simplest(element.codec))
            ),
            name => {
                // VP9 shares rows out among threads, VP8 what it calls tokens.
                let rows = if element.codec == Codec::Vp9 { "row-mt=true" } else { "" };
                format!(
                    "{name} name=encode deadline=1 cpu-used=8 target-bitrate={bits} keyframe-max-dist={gop} lag-in-frames=0 \
                     error-resilient=default end-usage=cbr threads={threads} {rows} buffer-size=200 \
                     buffer-initial-size=100 buffer-optimal-size=150"
                )
            }
        }
    }

    #[cfg(test)]
    pub fn of_tests(bitrate_kbps: u32) -> Self {
        Self { settings: VideoSettings::default(), bitrate_kbps }
    }

    fn x264(&self, threads: u32) -> String {
        let VideoSettings { profile, preset, gop_size, .. } = self.settings;
        // The preset may be one without what the profile is chosen for.
        let (profile, of_profile) = match profile {
            VideoProfile::Baseline => ("constrained-baseline", ""),
            VideoProfile::Main => ("main", "cabac=true"),
            VideoProfile::High => ("high", "cabac=true dct8x8=true"),
        };
        let tune = match self.settings.tune {
            "zerolatency" => "tune=zerolatency".to_owned(),
            also @ ("stillimage" | "fastdecode") => format!("tune=zerolatency+{also}"),
            psychovisual => format!("tune=zerolatency psy-tune={psychovisual}"),
        };
        format!(
            "x264enc name=encode {tune} speed-preset={preset} {X264_OPTIONS} {of_profile} bitrate={} \
             key-int-max={gop_size} bframes=0 byte-stream=true threads={threads} sliced-threads={} ! capsfilter caps={}",
            self.bitrate_kbps,
            threads > 1,
            caps(Codec::H264, profile)
        )
    }
}

/// The profile that all viewers decode.
const fn simplest(codec: Codec) -> &'static str {
    if matches!(codec, Codec::H265) { "main" } else { "constrained-baseline" }
}

fn caps(codec: Codec, profile: &str) -> String {
    let name = codec.named().name();
    format!("video/x-{name},stream-format=byte-stream,alignment=au,profile={profile}")
}
