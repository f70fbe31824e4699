//! Which audio codecs this machine has: GStreamer elements, looked up once and tried in order of preference.

use crate::unit::{AudioCodec, AudioFormat};
use gstreamer as gst;

/// Samples per second between decoder and encoder, and of what is encoded.
pub(crate) const RATE: u32 = 48_000;
pub(crate) const CHANNELS: u8 = 2;

/// A GStreamer element that decodes or encodes audio.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct AudioElement {
    pub codec: AudioCodec,
    /// The factory whose presence decides.
    pub name: &'static str,
    /// The Debian package that has it.
    package: &'static str,
    /// Samples of nothing that an encoder's sound begins with.
    pub lookahead: u32,
}

const DECODERS: [AudioElement; 2] = [
    AudioElement {
        codec: AudioCodec::Opus,
        name: "opusdec",
        package: "gstreamer1.0-plugins-base",
        lookahead: 0,
    },
    AudioElement {
        codec: AudioCodec::Aac,
        name: "avdec_aac",
        package: "gstreamer1.0-libav",
        lookahead: 0,
    },
];

const ENCODERS: [AudioElement; 4] = [
    AudioElement {
        codec: AudioCodec::Opus,
        name: "opusenc",
        package: "gstreamer1.0-plugins-base",
        lookahead: 312,
    },
    AudioElement {
        codec: AudioCodec::Aac,
        name: "fdkaacenc",
        package: "gstreamer1.0-plugins-bad",
        lookahead: 2048,
    },
    AudioElement {
        codec: AudioCodec::Aac,
        name: "avenc_aac",
        package: "gstreamer1.0-libav",
        lookahead: 1024,
    },
    AudioElement {
        codec: AudioCodec::Aac,
        name: "voaacenc",
        package: "gstreamer1.0-plugins-bad",
        lookahead: 1600,
    },
];

/// What brings decoded sound to the form that encoders take.
const CONVERTERS: [&str; 2] = ["audioconvert", "audioresample"];

impl AudioElement {
    /// The graph that decodes with this element to 16 bit samples, interleaved.
    pub fn decoding(&self) -> String {
        format!(
            "{} ! audioconvert ! audioresample ! \
             capsfilter caps=audio/x-raw,format=S16LE,layout=interleaved,rate={RATE},channels={CHANNELS}",
            self.name
        )
    }

    /// The graph that encodes with this element.
    pub fn encoding(&self) -> String {
        let options = match self.name {
            "opusenc" => "bitrate=96000 frame-size=20 complexity=5",
            _ => "bitrate=128000",
        };
        let caps = match self.codec {
            AudioCodec::Opus => "audio/x-opus",
            AudioCodec::Aac => "audio/mpeg,mpegversion=4,stream-format=raw",
        };
        format!("audioconvert ! {} {options} ! capsfilter caps={caps}", self.name)
    }
}

/// Capabilities of packets as they come from a publisher.
pub(crate) fn caps(format: &AudioFormat) -> gst::Caps {
    let rate = i32::try_from(format.rate).unwrap_or(i32::MAX);
    let channels = i32::from(format.channels);
    match format.codec {
        AudioCodec::Opus => gst::Caps::builder("audio/x-opus")
            .field("channel-mapping-family", 0)
            .field("rate", rate)
            .field("channels", channels)
            .build(),
        AudioCodec::Aac => gst::Caps::builder("audio/mpeg")
            .field("mpegversion", 4)
            .field("stream-format", "raw")
            .field("framed", true)
            .field("rate", rate)
            .field("channels", channels)
            .field("codec_data", gst::Buffer::from_slice(format.config.clone()))
            .build(),
    }
}

/// Capabilities of what lies between decoder and encoder.
pub(crate) fn raw_caps() -> gst::Caps {
    gst::Caps::builder("audio/x-raw")
        .field("format", "S16LE")
        .field("layout", "interleaved")
        .field("rate", RATE as i32)
        .field("channels", i32::from(CHANNELS))
        .build()
}

/// This machine cannot make one audio codec of another.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("GStreamer has no element to {doing} {} with; install {options}", codec.name())]
pub struct MissingAudioElements {
    doing: &'static str,
    codec: AudioCodec,
    options: String,
}

/// The audio elements of this machine, best first.
#[derive(Debug, Default)]
pub(crate) struct AudioCodecs {
    decoders: Vec<&'static AudioElement>,
    encoders: Vec<&'static AudioElement>,
}

impl AudioCodecs {
    /// Takes what is there. Without some of it, readers who want another codec than the publisher's get video alone.
    pub fn among(has: impl Fn(&str) -> bool) -> Self {
        let can_convert = CONVERTERS.iter().all(|name| has(name));
        let usable = |element: &&AudioElement| can_convert && has(element.name);
        Self {
            decoders: DECODERS.iter().filter(usable).collect(),
            encoders: ENCODERS.iter().filter(usable).collect(),
        }
    }

    /// What makes one codec of another: elements of the decoder and of the encoder.
    pub fn between(
        &self,
        from: AudioCodec,
        to: AudioCodec,
    ) -> Result<[Vec<&'static AudioElement>; 2], MissingAudioElements> {
        let decoders = found("decode", from, &self.decoders, &DECODERS)?;
        Ok([decoders, found("encode", to, &self.encoders, &ENCODERS)?])
    }
}

fn found(
    doing: &'static str,
    codec: AudioCodec,
    present: &[&'static AudioElement],
    all: &[AudioElement],
) -> Result<Vec<&'static AudioElement>, MissingAudioElements> {
    let of_codec: Vec<_> =
        present.iter().copied().filter(|element| element.codec == codec).collect();
    if of_codec.is_empty() {
        let wanted = all.iter().filter(|element| element.codec == codec);
        let names: Vec<_> =
            wanted.map(|element| format!("{} ({})", element.package, element.name)).collect();
        return Err(MissingAudioElements { doing, codec, options: names.join(" or ") });
    }
    Ok(of_codec)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_elements_are_named_with_their_packages() {
        let codecs = AudioCodecs::among(|name| !name.contains("aac"));
        let error = codecs.between(AudioCodec::Opus, AudioCodec::Aac).unwrap_err().to_string();
        assert!(error.contains("encode AAC") && error.contains("gstreamer1.0-libav (avenc_aac)"));
        let codecs = AudioCodecs::among(|name| name != "audioresample");
        assert!(codecs.between(AudioCodec::Aac, AudioCodec::Opus).is_err());
    }

    #[test]
    fn the_best_element_present_comes_first() {
        let codecs = AudioCodecs::among(|name| name != "fdkaacenc");
        let [decoders, encoders] = codecs.between(AudioCodec::Opus, AudioCodec::Aac).unwrap();
        assert_eq!((decoders[0].name, encoders[0].name), ("opusdec", "avenc_aac"));
    }
}
