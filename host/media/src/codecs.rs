//! Which codecs this machine has: GStreamer elements, looked up once and tried in order of preference.

use crate::audio::{AudioCodecs, MissingAudioElements};
use crate::config::MediaStartError;
use crate::graph::Graph;
use crate::unit::AudioCodec;
use gstreamer as gst;
use gstreamer::prelude::*;
use host_ports::{VideoAbilities, VideoCodec};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Codec {
    H264,
    Vp8,
    Vp9,
    H265,
}

impl Codec {
    pub const ALL: [Self; 4] = [Self::H264, Self::Vp8, Self::Vp9, Self::H265];

    /// The codec that params name so, if we know it.
    pub(crate) fn of(codec: VideoCodec) -> Option<Self> {
        Self::ALL.into_iter().find(|each| each.named() == codec)
    }

    pub(crate) const fn named(self) -> VideoCodec {
        match self {
            Self::H264 => VideoCodec::H264,
            Self::Vp8 => VideoCodec::Vp8,
            Self::Vp9 => VideoCodec::Vp9,
            Self::H265 => VideoCodec::H265,
        }
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::H264 => "H264",
            Self::Vp8 => "VP8",
            Self::Vp9 => "VP9",
            Self::H265 => "H265",
        }
    }

    /// Capabilities of access units as they come from the network.
    pub(crate) fn caps(self) -> gst::Caps {
        let byte_stream = |name| {
            let caps = gst::Caps::builder(name).field("stream-format", "byte-stream");
            caps.field("alignment", "au").build()
        };
        match self {
            Self::H264 => byte_stream("video/x-h264"),
            Self::H265 => byte_stream("video/x-h265"),
            Self::Vp8 => gst::Caps::builder("video/x-vp8").build(),
            Self::Vp9 => gst::Caps::builder("video/x-vp9").build(),
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

const PARSER_OF_H265: (&str, &str) = ("h265parse", "gstreamer1.0-plugins-bad");

const DECODERS: [Element; 5] = [
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
    Element { codec: Codec::Vp9, name: "vp9dec", needs: &[], package: "gstreamer1.0-plugins-good" },
    Element {
        codec: Codec::H265,
        name: "avdec_h265",
        needs: &[PARSER_OF_H265],
        package: "gstreamer1.0-libav",
    },
];

// None of AV1: the real-time rate control of libaom 3.6 ends the process by an assertion when it is shown noise.
const ENCODERS: [Element; 9] = [
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
    Element { codec: Codec::Vp9, name: "vp9enc", needs: &[], package: "gstreamer1.0-plugins-good" },
    Element {
        codec: Codec::H265,
        name: "nvh265enc",
        needs: &[],
        package: "gstreamer1.0-plugins-bad",
    },
    Element {
        codec: Codec::H265,
        name: "vah265enc",
        needs: &[],
        package: "gstreamer1.0-plugins-bad",
    },
    Element {
        codec: Codec::H265,
        name: "x265enc",
        needs: &[],
        package: "gstreamer1.0-plugins-bad",
    },
];

impl Element {
    /// The graph that decodes with this element.
    pub fn decoding(&self) -> &'static str {
        match self.name {
            // Without the parser avdec_h264 sometimes holds one frame and openh264dec decodes nothing; with more than
            // one thread it holds one frame for each.
            "avdec_h264" => "h264parse name=parse ! avdec_h264 max-threads=1 output-corrupt=false",
            "avdec_h265" => "h265parse name=parse ! avdec_h265 max-threads=1 output-corrupt=false",
            "openh264dec" => "h264parse name=parse ! openh264dec",
            "vp9dec" => "vp9dec threads=1",
            _ => "vp8dec threads=1",
        }
    }

    /// The bitrate to tell the element when frames come at another pace than 30 a second, by `factor`. Those not named
    /// here go by the frames' times, or are on a device and were not tried.
    pub fn paced(&self, kbps: f64, factor: f64) -> f64 {
        if matches!(self.name, "x264enc" | "x265enc") { kbps * factor } else { kbps }
    }

    /// Changes the bitrate of a graph that runs.
    pub fn set_bitrate(&self, graph: &Graph, kbps: f64) {
        let Some(encoder) = graph.element("encode") else { return };
        let in_kbit = kbps.round().max(1.0) as u32;
        match self.name {
            "x264enc" | "nvh264enc" | "vah264enc" | "x265enc" | "nvh265enc" | "vah265enc" => {
                encoder.set_property("bitrate", in_kbit);
            }
            "openh264enc" => encoder.set_property("bitrate", in_kbit.saturating_mul(1000)),
            _ => encoder.set_property(
                "target-bitrate",
                i32::try_from(in_kbit.saturating_mul(1000)).unwrap_or(i32::MAX),
            ),
        }
    }

    /// The raw format that the encoder takes.
    pub fn raw_format(&self) -> gstreamer_video::VideoFormat {
        match self.name {
            "vah264enc" | "vah265enc" => gstreamer_video::VideoFormat::Nv12,
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
            for codec in Codec::ALL {
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

    /// What params may ask of the encoders.
    pub fn abilities(&self) -> VideoAbilities {
        let mut codecs: Vec<_> = self.encoders.iter().map(|each| each.codec.named()).collect();
        codecs.dedup();
        let h264 = self.encoders.iter().find(|element| element.codec == Codec::H264);
        VideoAbilities { codecs, h264_encoder: h264.map(|element| element.name) }
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
    use crate::encoding::Encoding;
    use host_ports::{FrameSize, VIDEO_PRESETS, VIDEO_TUNES, VideoProfile, VideoSettings};

    #[test]
    fn the_best_element_present_comes_first() {
        let codecs = Codecs::among(|name| name != "nvh264enc" && name != "vah264enc").unwrap();
        assert_eq!(codecs.encoders_of(Codec::H264)[0].name, "x264enc");
        assert_eq!(codecs.decoders().next(), Some((Codec::H264, "avdec_h264")));
    }

    #[test]
    fn without_its_parser_h264_cannot_be_decoded() {
        let codecs = Codecs::among(|name| name != "h264parse").unwrap();
        assert_eq!(
            codecs.decoders().collect::<Vec<_>>(),
            [(Codec::Vp8, "vp8dec"), (Codec::Vp9, "vp9dec"), (Codec::H265, "avdec_h265")]
        );
    }

    #[test]
    fn every_element_of_this_machine_makes_a_graph() {
        gst::init().unwrap();
        let codecs = Codecs::probe().unwrap();
        let decoding = codecs.decoders.iter().map(|element| element.decoding().to_owned());
        let encoding = codecs.encoders.iter().flat_map(|element| {
            every_setting().map(|settings| {
                Encoding { settings, bitrate_kbps: 2500 }.graph(element, FrameSize::new(512, 512))
            })
        });
        for description in decoding.chain(encoding) {
            let built = gst::parse::bin_from_description(&description, true);
            assert!(built.is_ok(), "{description}: {built:?}");
        }
    }

    fn every_setting() -> impl Iterator<Item = VideoSettings> {
        let default = VideoSettings::default();
        let profiles =
            VideoProfile::ALL.map(|profile| VideoSettings { profile, gop_size: 1, ..default });
        let presets = VIDEO_PRESETS.map(|preset| VideoSettings { preset, ..default });
        let tunes = VIDEO_TUNES.map(|tune| VideoSettings { tune, ..default });
        profiles.into_iter().chain(presets).chain(tunes)
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
