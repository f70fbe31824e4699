//! Which codecs this machine has: GStreamer elements, looked up once and tried in order of preference.

use crate::audio::{AudioCodecs, MissingAudioElements};
use crate::config::MediaStartError;
use crate::graph::Graph;
use crate::unit::AudioCodec;
use gstreamer as gst;
use gstreamer::prelude::*;
use host_ports::FrameSize;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Codec {
    H264,
    Vp8,
}

impl Codec {
    pub const fn name(self) -> &'static str {
        match self {
            Self::H264 => "H264",
            Self::Vp8 => "VP8",
        }
    }

    /// Capabilities of access units as they come from the network.
    pub(crate) fn caps(self) -> gst::Caps {
        match self {
            Self::H264 => gst::Caps::builder("video/x-h264")
                .field("stream-format", "byte-stream")
                .field("alignment", "au")
                .build(),
            Self::Vp8 => gst::Caps::builder("video/x-vp8").build(),
        }
    }
}

/// A GStreamer element that decodes or encodes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Element {
    pub codec: Codec,
    /// The factory whose presence decides.
    pub name: &'static str,
    /// Others it needs beside it, with their packages.
    needs: &'static [(&'static str, &'static str)],
    /// The Debian package that has it.
    package: &'static str,
}

const PARSER: (&str, &str) = ("h264parse", "gstreamer1.0-plugins-bad");

const DECODERS: [Element; 3] = [
    Element {
        codec: Codec::H264,
        name: "avdec_h264",
        needs: &[PARSER],
        package: "gstreamer1.0-libav",
    },
    Element {
        codec: Codec::H264,
        name: "openh264dec",
        needs: &[PARSER],
        package: "gstreamer1.0-plugins-bad",
    },
    Element { codec: Codec::Vp8, name: "vp8dec", needs: &[], package: "gstreamer1.0-plugins-good" },
];

const ENCODERS: [Element; 5] = [
    Element {
        codec: Codec::H264,
        name: "nvh264enc",
        needs: &[],
        package: "gstreamer1.0-plugins-bad",
    },
    Element {
        codec: Codec::H264,
        name: "vah264enc",
        needs: &[],
        package: "gstreamer1.0-plugins-bad",
    },
    Element {
        codec: Codec::H264,
        name: "x264enc",
        needs: &[],
        package: "gstreamer1.0-plugins-ugly",
    },
    Element {
        codec: Codec::H264,
        name: "openh264enc",
        needs: &[],
        package: "gstreamer1.0-plugins-bad",
    },
    Element { codec: Codec::Vp8, name: "vp8enc", needs: &[], package: "gstreamer1.0-plugins-good" },
];

/// The quickest preset leaves out what hides the edges of blocks and spends bits evenly, also where the eye sees least.
/// Both cost a fraction of a millisecond.
const X264_OPTIONS: &str = "option-string=deblock=true:aq-mode=1";

impl Element {
    /// The graph that decodes with this element.
    pub fn decoding(&self) -> &'static str {
        match self.name {
            // Without the parser avdec_h264 sometimes holds one frame and openh264dec decodes nothing; with more than
            // one thread it holds one frame for each.
            "avdec_h264" => "h264parse name=parse ! avdec_h264 max-threads=1 output-corrupt=false",
            "openh264dec" => "h264parse name=parse ! openh264dec",
            _ => "vp8dec threads=1",
        }
    }

    /// The graph that encodes with this element: no frame held back, no B-frames, a key frame at least every 2 s at
    /// 30 frames/s and whenever one is forced.
    pub fn encoding(&self, size: FrameSize, bitrate_kbps: u32) -> String {
        let h264 =
            "video/x-h264,stream-format=byte-stream,alignment=au,profile=constrained-baseline";
        // Not known of all versions to offer the constrained profile; without B-frames main is as good.
        let main = "video/x-h264,stream-format=byte-stream,alignment=au,profile=main";
        let bits = bitrate_kbps * 1000;
        let threads = if size.width * size.height > 640 * 640 { 4 } else { 1 };
        match self.name {
            "nvh264enc" => format!(
                "nvh264enc preset=low-latency-hq zerolatency=true rc-mode=cbr bitrate={bitrate_kbps} gop-size=60 \
                 bframes=0 ! capsfilter caps={main}"
            ),
            "vah264enc" => format!(
                "vah264enc rate-control=cbr bitrate={bitrate_kbps} key-int-max=60 b-frames=0 ref-frames=1 ! capsfilter caps={h264}"
            ),
            "x264enc" => format!(
                "x264enc name=encode tune=zerolatency speed-preset=ultrafast {X264_OPTIONS} bitrate={bitrate_kbps} \
                 key-int-max=60 bframes=0 byte-stream=true threads={threads} sliced-threads={} \
                 ! capsfilter caps={h264}",
                threads > 1
            ),
            "openh264enc" => format!(
                "openh264enc usage-type=camera rate-control=bitrate bitrate={bits} gop-size=60 \
                 enable-frame-skip=false multi-thread={threads} ! capsfilter caps={h264}"
            ),
            _ => format!(
                "vp8enc deadline=1 cpu-used=8 target-bitrate={bits} keyframe-max-dist=60 lag-in-frames=0 \
                 error-resilient=default end-usage=cbr threads={threads} buffer-size=200 buffer-initial-size=100 \
                 buffer-optimal-size=150"
            ),
        }
    }

    /// Shares the bits out anew when frames come at another pace than 30 a second. Those not named here go by the
    /// frames' times, or are on a device and were not tried.
    pub fn set_pace(&self, graph: &Graph, bitrate_kbps: u32, factor: f64) {
        if self.name != "x264enc" {
            return;
        }
        if let Some(encoder) = graph.element("encode") {
            let bitrate = (f64::from(bitrate_kbps) * factor).round() as u32;
            encoder.set_property("bitrate", bitrate.max(1));
        }
    }

    /// The raw format that the encoder takes.
    pub fn raw_format(&self) -> gstreamer_video::VideoFormat {
        match self.name {
            "vah264enc" => gstreamer_video::VideoFormat::Nv12,
            _ => gstreamer_video::VideoFormat::I420,
        }
    }
}

/// The machine has no GStreamer element for something that the server cannot do without.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("GStreamer has no element to {doing} video with; install one of: {options}")]
pub struct MissingElements {
    doing: &'static str,
    options: String,
}

/// The codec elements of this machine, best first.
#[derive(Debug)]
pub struct Codecs {
    decoders: Vec<&'static Element>,
    encoders: Vec<&'static Element>,
    pub(crate) audio: AudioCodecs,
}

impl Codecs {
    /// Starts GStreamer first.
    pub fn find() -> Result<Self, MediaStartError> {
        gst::init().map_err(MediaStartError::GStreamer)?;
        Ok(Self::probe()?)
    }

    /// Looks the elements up in GStreamer's registry.
    pub fn probe() -> Result<Self, MissingElements> {
        Self::among(|name| gst::ElementFactory::find(name).is_some())
    }

    fn among(has: impl Fn(&str) -> bool) -> Result<Self, MissingElements> {
        let usable = |element: &&'static Element| {
            has(element.name) && element.needs.iter().all(|(name, _)| has(name))
        };
        let decoders: Vec<_> = DECODERS.iter().filter(usable).collect();
        let encoders: Vec<_> = ENCODERS.iter().filter(usable).collect();
        for (doing, found, all) in
            [("decode", &decoders, &DECODERS[..]), ("encode", &encoders, &ENCODERS[..])]
        {
            if found.is_empty() {
                return Err(MissingElements { doing, options: packages(all, None) });
            }
            for codec in [Codec::H264, Codec::Vp8] {
                if !found.iter().any(|element| element.codec == codec) {
                    let install = packages(all, Some(codec));
                    tracing::warn!(codec = codec.name(), install, "no element to {doing} a codec");
                }
            }
        }
        Ok(Self { decoders, encoders, audio: AudioCodecs::among(has) })
    }

    /// What decodes, best first: codec and GStreamer element.
    pub fn decoders(&self) -> impl Iterator<Item = (Codec, &'static str)> + '_ {
        self.decoders.iter().map(|element| (element.codec, element.name))
    }

    /// What encodes, best first: codec and GStreamer element.
    pub fn encoders(&self) -> impl Iterator<Item = (Codec, &'static str)> + '_ {
        self.encoders.iter().map(|element| (element.codec, element.name))
    }

    /// Which audio codec can be made of which, by which elements; if not, what to install.
    pub fn transcoders(&self) -> Vec<Result<String, MissingAudioElements>> {
        let made = |from: AudioCodec| {
            let [decoders, encoders] = self.audio.between(from, from.other())?;
            let (decoder, encoder) = (decoders[0].name, encoders[0].name);
            let (from, to) = (from.name(), from.other().name());
            Ok(format!("{from} is transcoded to {to} by {decoder} and {encoder}"))
        };
        [AudioCodec::Opus, AudioCodec::Aac].map(made).into()
    }

    pub(crate) fn decoders_of(&self, codec: Codec) -> Vec<&'static Element> {
        self.decoders.iter().copied().filter(|element| element.codec == codec).collect()
    }

    pub(crate) fn encoders_of(&self, codec: Codec) -> Vec<&'static Element> {
        self.encoders.iter().copied().filter(|element| element.codec == codec).collect()
    }
}

/// Names elements and the packages to install for them, for one codec or any.
fn packages(elements: &[Element], codec: Option<Codec>) -> String {
    let wanted = elements.iter().filter(|element| codec.is_none_or(|codec| element.codec == codec));
    let named = wanted.map(|element| {
        let needs = element.needs.iter().map(|(name, package)| format!(" with {package} ({name})"));
        format!("{} ({}){}", element.package, element.name, needs.collect::<String>())
    });
    named.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_element_present_comes_first() {
        let codecs = Codecs::among(|name| name != "nvh264enc" && name != "vah264enc").unwrap();
        assert_eq!(codecs.encoders_of(Codec::H264)[0].name, "x264enc");
        assert_eq!(codecs.decoders().next(), Some((Codec::H264, "avdec_h264")));
    }

    #[test]
    fn a_missing_parser_leaves_only_vp8_to_decode() {
        let codecs = Codecs::among(|name| name != "h264parse").unwrap();
        assert_eq!(codecs.decoders().collect::<Vec<_>>(), [(Codec::Vp8, "vp8dec")]);
    }

    #[test]
    fn every_element_of_this_machine_makes_a_graph() {
        gst::init().unwrap();
        let codecs = Codecs::probe().unwrap();
        let decoding = codecs.decoders.iter().map(|element| element.decoding().to_owned());
        let encoding =
            codecs.encoders.iter().map(|element| element.encoding(FrameSize::new(512, 512), 2500));
        for description in decoding.chain(encoding) {
            let built = gst::parse::bin_from_description(&description, true);
            assert!(built.is_ok(), "{description}: {built:?}");
        }
    }

    #[test]
    fn missing_elements_are_named_with_their_packages() {
        let error = Codecs::among(|name| name.ends_with("dec")).unwrap_err().to_string();
        assert!(
            error.contains("encode") && error.contains("gstreamer1.0-plugins-ugly (x264enc)"),
            "{error}"
        );
        let error = Codecs::among(|_| false).unwrap_err().to_string();
        assert!(
            error.contains(
                "gstreamer1.0-libav (avdec_h264) with gstreamer1.0-plugins-bad (h264parse)"
            ),
            "{error}"
        );
    }
}
