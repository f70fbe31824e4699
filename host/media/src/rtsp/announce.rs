//! What a publisher announces in SDP: one video track, and one audio track if it likes.

use super::message::{Response, Status};
use super::nal::ParameterSets;
use crate::codecs::Codec;
use crate::offer::{Offer, Section};
use crate::unit::{AudioCodec, AudioFormat};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use std::ops::RangeInclusive;
use std::sync::Arc;

/// ISO 14496-3, table 1.18.
const AAC_RATES: RangeInclusive<u32> = 7350..=96_000;
const SUPPORTED: &str = "one video track of H264, VP8, VP9 or H265, and at most one audio track of AAC (mpeg4-generic) or Opus";
/// AAC's AudioSpecificConfig is a few bytes.
const MAX_CONFIG: usize = 64;

#[derive(Debug)]
pub struct Announcement {
    pub tracks: Vec<Track>,
    pub codec: Codec,
}

#[derive(Debug)]
pub struct Track {
    /// How requests name it.
    control: String,
    pub payload_type: u8,
    /// Ticks of its clock in a second.
    pub rate: u32,
    pub kind: Kind,
}

#[derive(Debug)]
pub enum Kind {
    Video(Codec, ParameterSets),
    /// AAC's frames are packed in one of several ways.
    Audio(Arc<AudioFormat>, Option<AacPacking>),
}

/// How many bits the headers in packets of AAC have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AacPacking {
    pub size_bits: u32,
    pub index_bits: u32,
}

impl AacPacking {
    /// Samples of a frame.
    pub const SAMPLES: u64 = 1024;

    /// The lengths of frames that so many bits of headers tell.
    pub fn sizes(self, headers: &[u8], bits: usize) -> Option<Vec<usize>> {
        let each = (self.size_bits + self.index_bits) as usize;
        if bits == 0 || !bits.is_multiple_of(each) {
            return None;
        }
        let bit = |at: usize| usize::from(headers[at / 8] >> (7 - at % 8) & 1);
        let size = |start: usize| {
            (start..start + self.size_bits as usize).fold(0, |size, at| size << 1 | bit(at))
        };
        Some((0..bits).step_by(each).map(size).collect())
    }
}

impl Announcement {
    pub fn parse(body: &[u8]) -> Result<Self, Response> {
        let unusable = |reason: &dyn std::fmt::Display| {
            Response::refusal(Status::BadRequest, format!("the SDP is unusable: {reason}"))
        };
        let text = std::str::from_utf8(body).map_err(|error| unusable(&error))?;
        let offer = Offer::parse(text).map_err(|error| unusable(&error))?;
        let tracks = offer.sections.iter().map(Track::parse).collect::<Result<Vec<_>, _>>()?;
        let is_video = |track: &&Track| matches!(track.kind, Kind::Video(..));
        let videos = tracks.iter().filter(is_video).count();
        let codec = tracks.iter().find_map(|track| match track.kind {
            Kind::Video(codec, _) => Some(codec),
            Kind::Audio(..) => None,
        });
        match codec {
            Some(codec) if videos == 1 && tracks.len() <= 2 => Ok(Self { tracks, codec }),
            _ => Err(unsupported(&format!("{videos} video of {} tracks", tracks.len()))),
        }
    }

    /// The track that the URL of a request names.
    pub fn find(&self, url: &str) -> Option<usize> {
        let named = self.tracks.iter().position(|track| {
            let control = &track.control;
            !control.is_empty()
                && url
                    .strip_suffix(control.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.ends_with('/'))
        });
        // The URL of the whole stands for its only track.
        named.or_else(|| (self.tracks.len() == 1).then_some(0))
    }
}

impl Track {
    fn parse(section: &Section<'_>) -> Result<Self, Response> {
        let format = section.formats.first().copied().unwrap_or_default();
        let mapping = of_format(section, "rtpmap", format).unwrap_or_default();
        let parameters = Parameters(of_format(section, "fmtp", format).unwrap_or_default());
        let what = || unsupported(&format!("{} as `{format} {mapping}`", section.kind));
        let mut words = mapping.split('/');
        let (name, rate, channels) = (words.next().unwrap_or_default(), words.next(), words.next());
        let rate =
            rate.and_then(|rate| rate.parse().ok()).filter(|rate| (1..=192_000).contains(rate));
        let (Ok(payload_type @ 0..=127), Some(rate)) = (format.parse(), rate) else {
            return Err(what());
        };
        let channels = channels.and_then(|channels| channels.parse().ok()).unwrap_or(1);
        let audio = |codec, config| {
            let format = AudioFormat { codec, rate, channels, config };
            Some(Arc::new(format)).filter(|_| (1..=8).contains(&channels))
        };
        let kind = match (section.kind, name.to_ascii_lowercase().as_str()) {
            ("video", "h264") => Kind::Video(Codec::H264, parameters.sets(Codec::H264)),
            ("video", "h265") if !parameters.is_usual_h265() => return Err(what()),
            ("video", "h265") => Kind::Video(Codec::H265, parameters.sets(Codec::H265)),
            ("video", "vp8") => Kind::Video(Codec::Vp8, ParameterSets::default()),
            ("video", "vp9") => Kind::Video(Codec::Vp9, ParameterSets::default()),
            ("audio", "opus") if rate == 48_000 => {
                Kind::Audio(audio(AudioCodec::Opus, Arc::default()).ok_or_else(what)?, None)
            }
            ("audio", "mpeg4-generic") if AAC_RATES.contains(&rate) => {
                let (packing, config) =
                    parameters.packing().zip(parameters.config()).ok_or_else(what)?;
                Kind::Audio(audio(AudioCodec::Aac, config).ok_or_else(what)?, Some(packing))
            }
            _ => return Err(what()),
        };
        let control = section.attribute("control").unwrap_or_default().trim().to_owned();
        Ok(Self { control, payload_type, rate, kind })
    }
}

/// The rest of the attribute's line for this format.
fn of_format<'a>(section: &Section<'a>, name: &str, format: &str) -> Option<&'a str> {
    let lines = section
        .lines
        .iter()
        .filter_map(|line| line.strip_prefix("a=")?.strip_prefix(name)?.strip_prefix(':'));
    let mut split = lines.filter_map(|line| line.trim().split_once(' '));
    split.find(|(each, _)| *each == format).map(|(_, rest)| rest.trim())
}

fn unsupported(what: &str) -> Response {
    Response::refusal(
        Status::UnsupportedMediaType,
        format!("the announced media is {what}; this server takes {SUPPORTED}"),
    )
}

/// `name=value; name=value`
struct Parameters<'a>(&'a str);

impl<'a> Parameters<'a> {
    fn get(&self, name: &str) -> Option<&'a str> {
        let mut pairs = self.0.split(';').filter_map(|pair| pair.trim().split_once('='));
        pairs.find(|(each, _)| each.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }

    fn sets(&self, codec: Codec) -> ParameterSets {
        let mut sets = ParameterSets::default();
        let names = ["sprop-parameter-sets", "sprop-vps", "sprop-sps", "sprop-pps"];
        for encoded in names.iter().filter_map(|name| self.get(name)).flat_map(|all| all.split(','))
        {
            if let Ok(unit) = BASE64_STANDARD.decode(encoded) {
                sets.take(codec, &unit);
            }
        }
        sets
    }

    /// One stream of eight bits whose units come in their order.
    fn is_usual_h265(&self) -> bool {
        let usual = [
            ("profile-id", "1"),
            ("tx-mode", "SRST"),
            ("sprop-max-don-diff", "0"),
            ("sprop-depack-buf-nalus", "0"),
        ];
        usual.iter().all(|(name, usual)| self.get(name).is_none_or(|value| value == *usual))
    }

    fn packing(&self) -> Option<AacPacking> {
        let bits = |name| self.get(name).map_or(Some(0), |bits| bits.parse::<u32>().ok());
        let (size_bits, index_bits) = (bits("sizelength")?, bits("indexlength")?);
        // Frames that are sent out of their order have more in their headers.
        let is_plain =
            bits("indexdeltalength")? == index_bits && bits("auxiliarydatasizelength")? == 0;
        (is_plain && (1..=16).contains(&size_bits) && index_bits <= 16)
            .then_some(AacPacking { size_bits, index_bits })
    }

    fn config(&self) -> Option<Arc<[u8]>> {
        let digits = self.get("config")?.as_bytes();
        let is_usable =
            digits.len().is_multiple_of(2) && (2..=MAX_CONFIG).contains(&(digits.len() / 2));
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
        digits.chunks(2).map(byte).collect::<Option<Arc<[u8]>>>().filter(|_| is_usable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FFMPEG: &str = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=No Name\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\na=tool:libavformat\r\n\
        m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n\
        a=fmtp:96 packetization-mode=1; sprop-parameter-sets=Z0LAHtoCgL/lwEQAAAMABAAAAwDwPFi6gA==,aM48gA==; profile-level-id=42C01E\r\n\
        a=control:streamid=0\r\n\
        m=audio 0 RTP/AVP 97\r\nb=AS:128\r\na=rtpmap:97 MPEG4-GENERIC/48000/2\r\n\
        a=fmtp:97 profile-level-id=1;mode=AAC-hbr;sizelength=13;indexlength=3;indexdeltalength=3; config=119056E500\r\n\
        a=control:streamid=1\r\n";

    #[test]
    fn what_ffmpeg_announces_is_read() {
        let announced = Announcement::parse(FFMPEG.as_bytes()).unwrap();
        let [video, audio] = &announced.tracks[..] else { panic!("{announced:?}") };
        let Kind::Video(Codec::H264, sets) = &video.kind else { panic!("{video:?}") };
        assert!(
            sets.is_complete(Codec::H264)
                && sets.sequence[0] == 0x67
                && sets.picture == [0x68, 0xce, 0x3c, 0x80]
        );
        let Kind::Audio(format, Some(packing)) = &audio.kind else { panic!("{audio:?}") };
        assert_eq!(
            (format.rate, format.channels, &format.config[..2]),
            (48_000, 2, &[0x11, 0x90][..])
        );
        assert_eq!(*packing, AacPacking { size_bits: 13, index_bits: 3 });
        assert_eq!(announced.find("rtsp://h/str_1?key=stk_2/streamid=1"), Some(1));
        assert_eq!(announced.find("rtsp://h/str_1/streamid=0"), Some(0));
        assert_eq!(announced.find("rtsp://h/str_1"), None);
    }

    #[test]
    fn what_cannot_be_taken_is_refused_with_what_can() {
        let video = "m=video 0 RTP/AVP 96\r\na=rtpmap:96 VP8/90000\r\n";
        let h265 = "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H265/90000\r\na=fmtp:96 ";
        for (sections, status) in [
            (
                "m=video 0 RTP/AVP 96\r\na=rtpmap:96 AV1/90000\r\n".to_owned(),
                Status::UnsupportedMediaType,
            ),
            ("m=video 0 RTP/AVP 26\r\n".to_owned(), Status::UnsupportedMediaType),
            (format!("{h265}sprop-max-don-diff=2\r\n"), Status::UnsupportedMediaType),
            (format!("{h265}profile-id=2\r\n"), Status::UnsupportedMediaType),
            (
                format!("{video}m=audio 0 RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\n"),
                Status::UnsupportedMediaType,
            ),
            (format!("{video}{video}"), Status::UnsupportedMediaType),
            (
                "m=audio 0 RTP/AVP 97\r\na=rtpmap:97 opus/48000/2\r\n".to_owned(),
                Status::UnsupportedMediaType,
            ),
            (String::new(), Status::UnsupportedMediaType),
            ("m=video\r\n".to_owned(), Status::BadRequest),
        ] {
            let refusal = Announcement::parse(format!("v=0\r\n{sections}").as_bytes()).unwrap_err();
            assert_eq!(refusal.status, status, "{sections}");
        }
        for taken in [video.to_owned(), format!("{h265}profile-id=1;tx-mode=SRST\r\n")] {
            assert!(Announcement::parse(format!("v=0\r\n{taken}").as_bytes()).is_ok(), "{taken}");
        }
    }

    proptest! {
        #[test]
        fn any_announcement_is_read_or_refused(
            lines in "(m=(video|audio) 0 RTP/AVP 9[67]\r\n|a=(rtpmap|fmtp):9[67] |(H264|opus|mpeg4-generic)/[0-9]{1,6}(/[0-9]{1,3})?\r\n|\
                (config|sizelength|indexlength|sprop-parameter-sets)=[0-9A-Za-z=,]{0,8};){0,12}",
        ) {
            if let Ok(announced) = Announcement::parse(format!("v=0\r\n{lines}").as_bytes()) {
                prop_assert!(announced.tracks.len() <= 2);
            }
        }
    }
}
