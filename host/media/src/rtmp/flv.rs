//! Audio and video as RTMP carries them: FLV tags, around H264 in the form of MP4 files and AAC without headers. The rest
//! of the server has H264 as a byte stream.

use crate::unit::{AudioCodec, AudioFormat};
use std::sync::Arc;

const AVC: u8 = 7;
const AAC: u8 = 10;

/// What precedes a unit of H264 in a byte stream.
const START: [u8; 4] = [0, 0, 0, 1];

/// Units of one byte each would grow to a multiple on their way into a byte stream.
const MAX_GROWTH: usize = 64 << 10;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FlvError {
    #[error("the video must be H264, this is {0}")]
    Video(String),
    #[error("the audio must be AAC, this is {0}")]
    Audio(String),
    #[error("a {what} is damaged: {reason}")]
    Damaged { what: &'static str, reason: &'static str },
}

const fn damaged(what: &'static str, reason: &'static str) -> FlvError {
    FlvError::Damaged { what, reason }
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Video<'a> {
    /// What comes before the first frame, and whenever it changes.
    Header(AvcHeader),
    Frame {
        is_key_frame: bool,
        /// Milliseconds from its message's time to when it is shown.
        shown_after: i32,
        units: &'a [u8],
    },
    /// Says nothing about pictures.
    Nothing,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Audio<'a> {
    Header(Arc<AudioFormat>),
    Frame(&'a [u8]),
    Nothing,
}

/// Of a publisher's H264.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct AvcHeader {
    /// Bytes that each unit's length takes.
    length_size: usize,
    /// As a byte stream.
    parameter_sets: Vec<u8>,
}

pub(crate) fn read_video(tag: &[u8]) -> Result<Video<'_>, FlvError> {
    let Some(first) = tag.first() else { return Ok(Video::Nothing) };
    if first & 0x80 != 0 {
        return Err(FlvError::Video(enhanced(tag)));
    }
    match first & 0x0f {
        AVC => {}
        _ if first >> 4 == 5 => return Ok(Video::Nothing),
        other => return Err(FlvError::Video(video_name(other))),
    }
    match tag {
        [_, 0, _, _, _, header @ ..] => AvcHeader::read(header).map(Video::Header),
        [_, 1, a, b, c, units @ ..] if first >> 4 != 5 => {
            let shown_after = i32::from_be_bytes([*a, *b, *c, 0]) >> 8;
            Ok(Video::Frame { is_key_frame: first >> 4 == 1, shown_after, units })
        }
        _ => Ok(Video::Nothing),
    }
}

fn enhanced(tag: &[u8]) -> String {
    let name = match tag.get(1..5) {
        Some(b"hvc1") => "HEVC",
        Some(b"av01") => "AV1",
        Some(b"vp09") => "VP9",
        Some(b"vp08") => "VP8",
        Some(b"avc1") => "H264 in another form",
        _ => "something else",
    };
    format!("{name} by enhanced RTMP; let the encoder send H264, or publish by WHIP")
}

fn video_name(codec: u8) -> String {
    match codec {
        2 => "Sorenson H263".to_owned(),
        4 | 5 => "VP6".to_owned(),
        12 => "HEVC".to_owned(),
        other => format!("codec {other} of FLV"),
    }
}

fn audio_name(codec: u8) -> String {
    match codec {
        0 | 3 => "PCM".to_owned(),
        1 => "ADPCM".to_owned(),
        2 | 14 => "MP3".to_owned(),
        7 | 8 => "G.711".to_owned(),
        9 => "a codec of enhanced RTMP".to_owned(),
        11 => "Speex".to_owned(),
        other => format!("codec {other} of FLV"),
    }
}

impl AvcHeader {
    /// Reads an AVCDecoderConfigurationRecord (ISO 14496-15, 5.2.4.1).
    fn read(record: &[u8]) -> Result<Self, FlvError> {
        const WHAT: &str = "header of H264";
        let [1, _, _, _, sizes, sets, rest @ ..] = record else {
            return Err(damaged(WHAT, "it is too short or of an unknown version"));
        };
        let (mut input, mut parameter_sets) = (rest, Vec::new());
        take_sets(&mut input, (sets & 0x1f).into(), &mut parameter_sets)
            .ok_or(damaged(WHAT, "a sequence parameter set is cut off"))?;
        let (count, rest) =
            input.split_first().ok_or(damaged(WHAT, "its picture parameter sets are missing"))?;
        input = rest;
        take_sets(&mut input, (*count).into(), &mut parameter_sets)
            .ok_or(damaged(WHAT, "a picture parameter set is cut off"))?;
        if sets & 0x1f == 0 || *count == 0 {
            return Err(damaged(WHAT, "it has no parameter sets"));
        }
        Ok(Self { length_size: usize::from(sizes & 3) + 1, parameter_sets })
    }

    /// A frame as a byte stream, a key frame with the parameter sets it needs.
    pub fn byte_stream(&self, is_key_frame: bool, units: &[u8]) -> Result<Vec<u8>, FlvError> {
        const WHAT: &str = "frame of H264";
        let most = 2 * units.len() + MAX_GROWTH;
        let mut bytes = Vec::with_capacity(units.len() + 64 + self.parameter_sets.len());
        if is_key_frame {
            bytes.extend_from_slice(&self.parameter_sets);
        }
        let mut input = units;
        while !input.is_empty() {
            let (length, rest) = input
                .split_at_checked(self.length_size)
                .ok_or(damaged(WHAT, "the length of a unit is cut off"))?;
            let length = length.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
            let (unit, rest) =
                rest.split_at_checked(length).ok_or(damaged(WHAT, "a unit is cut off"))?;
            input = rest;
            if unit.is_empty() {
                continue;
            }
            bytes.extend(START);
            bytes.extend_from_slice(unit);
            if bytes.len() > most {
                return Err(damaged(WHAT, "it is made of more units than a frame has"));
            }
        }
        Ok(bytes)
    }
}

fn take_sets(input: &mut &[u8], count: usize, sets: &mut Vec<u8>) -> Option<()> {
    for _ in 0..count {
        let (length, rest) = input.split_first_chunk()?;
        let (set, rest) = rest.split_at_checked(u16::from_be_bytes(*length).into())?;
        *input = rest;
        sets.extend(START);
        sets.extend_from_slice(set);
    }
    Some(())
}

pub(crate) fn read_audio(tag: &[u8]) -> Result<Audio<'_>, FlvError> {
    let Some(first) = tag.first() else { return Ok(Audio::Nothing) };
    match (first >> 4, tag) {
        (AAC, [_, 0, config @ ..]) => read_config(config).map(Arc::new).map(Audio::Header),
        (AAC, [_, 1, data @ ..]) if !data.is_empty() => Ok(Audio::Frame(data)),
        (AAC, _) => Ok(Audio::Nothing),
        (other, _) => Err(FlvError::Audio(audio_name(other))),
    }
}

/// Reads an AudioSpecificConfig (ISO 14496-3, 1.6.2.1), as far as others want to know.
fn read_config(config: &[u8]) -> Result<AudioFormat, FlvError> {
    const WHAT: &str = "header of AAC";
    const RATES: [u32; 13] = [
        96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025,
        8_000, 7_350,
    ];
    /// With all that may follow: more is none.
    const MOST: usize = 64;
    let cut_off = damaged(WHAT, "it is cut off");
    if config.len() > MOST {
        return Err(damaged(WHAT, "it is too long"));
    }
    let mut position = 0;
    let mut take = |count: usize| -> Option<u32> {
        let bit = |at: usize| Some(u32::from(config.get(at / 8)? >> (7 - at % 8) & 1));
        let value =
            (position..position + count).try_fold(0, |value, at| Some(value << 1 | bit(at)?));
        position += count;
        value
    };
    let object = take(5).ok_or(cut_off.clone())?;
    if object == 31 {
        return Err(damaged(WHAT, "it is of a kind that no publisher sends"));
    }
    // An index into the usual ones, or the rate itself.
    let rate = |take: &mut dyn FnMut(usize) -> Option<u32>| match take(4)? {
        15 => take(24),
        index => Some(RATES.get(index as usize).copied().unwrap_or(0)),
    };
    let own = rate(&mut take).ok_or(cut_off.clone())?;
    let channels = take(4).ok_or(cut_off.clone())?;
    // High efficiency: what is heard has another rate than what is inside.
    let rate = match object {
        5 | 29 => rate(&mut take).ok_or(cut_off)?,
        _ => own,
    };
    let channels = match channels {
        1..=6 => channels as u8,
        7 => 8,
        _ => return Err(damaged(WHAT, "it does not say how many channels there are")),
    };
    if !(7_350..=96_000).contains(&rate) {
        return Err(damaged(WHAT, "its sample rate is none of those that AAC has"));
    }
    Ok(AudioFormat { codec: AudioCodec::Aac, rate, channels, config: config.into() })
}

/// The units of a byte stream, without what separates them.
pub(crate) fn units(byte_stream: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = after_start(byte_stream);
    std::iter::from_fn(move || {
        let bytes = rest?;
        let end = bytes.windows(3).position(|window| window == [0, 0, 1]);
        rest = end.map(|end| &bytes[end + 3..]);
        let mut unit = &bytes[..end.unwrap_or(bytes.len())];
        // A longer start code, and padding: no unit ends with a zero.
        while let [shorter @ .., 0] = unit {
            unit = shorter;
        }
        Some(unit)
    })
    .filter(|unit| !unit.is_empty())
}

fn after_start(byte_stream: &[u8]) -> Option<&[u8]> {
    let start = byte_stream.windows(3).position(|window| window == [0, 0, 1])?;
    Some(&byte_stream[start + 3..])
}

/// An access unit of ours on its way out.
#[derive(Default)]
pub(crate) struct Outgoing {
    /// What the receiver knows.
    header: Vec<u8>,
}

impl Outgoing {
    /// The tags of one access unit: a header first where the receiver has none or another.
    pub fn video(&mut self, is_key_frame: bool, byte_stream: &[u8], mut send: impl FnMut(Vec<u8>)) {
        let mut tag = vec![if is_key_frame { 0x17 } else { 0x27 }, 1, 0, 0, 0];
        let (mut sequence, mut picture) = (None, None);
        for unit in units(byte_stream) {
            match unit[0] & 0x1f {
                7 => sequence = Some(unit),
                8 => picture = Some(unit),
                // A delimiter, which only a byte stream has.
                9 => {}
                _ => {
                    tag.extend(u32::try_from(unit.len()).unwrap_or(u32::MAX).to_be_bytes());
                    tag.extend_from_slice(unit);
                }
            }
        }
        if let (Some(sequence), Some(picture)) = (sequence, picture)
            && let Some(header) = video_header(sequence, picture)
            && header != self.header
        {
            self.header.clone_from(&header);
            send(header);
        }
        if tag.len() > 5 {
            send(tag);
        }
    }
}

fn video_header(sequence: &[u8], picture: &[u8]) -> Option<Vec<u8>> {
    let [_, profile, constraints, level, ..] = sequence else { return None };
    let length = |set: &[u8]| u16::try_from(set.len()).ok().map(u16::to_be_bytes);
    let mut tag = vec![0x17, 0, 0, 0, 0, 1, *profile, *constraints, *level, 0xff, 0xe1];
    tag.extend(length(sequence)?);
    tag.extend_from_slice(sequence);
    tag.push(1);
    tag.extend(length(picture)?);
    tag.extend_from_slice(picture);
    if matches!(profile, 100 | 110 | 122 | 144) {
        // 4:2:0 of 8 bits, as all our encoders are given, and no more parameter sets.
        tag.extend([0xfd, 0xf8, 0xf8, 0]);
    }
    Some(tag)
}

pub(crate) fn audio_header(config: &[u8]) -> Vec<u8> {
    [&[0xaf, 0], config].concat()
}

pub(crate) fn audio_frame(data: &[u8]) -> Vec<u8> {
    [&[0xaf, 1], data].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPS: [u8; 5] = [0x67, 66, 0xc0, 30, 1];
    const PPS: [u8; 2] = [0x68, 2];

    #[test]
    fn a_byte_stream_goes_out_and_comes_back() {
        let stream =
            [&START[..], &[9, 0xf0], &START, &SPS, &[0, 0, 1], &PPS, &START, &[0x65, 3, 4]]
                .concat();
        let (mut outgoing, mut tags) = (Outgoing::default(), Vec::new());
        outgoing.video(true, &stream, |tag| tags.push(tag));
        outgoing.video(true, &stream, |tag| tags.push(tag));
        assert_eq!(tags.len(), 3, "the header is sent once");
        let Ok(Video::Header(header)) = read_video(&tags[0]) else { panic!("{:?}", tags[0]) };
        let Ok(Video::Frame { is_key_frame: true, units, .. }) = read_video(&tags[1]) else {
            panic!()
        };
        let back = header.byte_stream(true, units).unwrap();
        assert_eq!(back, [&START[..], &SPS, &START, &PPS, &START, &[0x65, 3, 4]].concat());
        let mut changed = stream.clone();
        *changed.last_mut().unwrap() = 5;
        changed[12] = 77;
        outgoing.video(true, &changed, |tag| tags.push(tag));
        assert_eq!(tags.len(), 5, "another header is sent");
    }

    #[test]
    fn what_is_not_h264_or_aac_is_named() {
        let video = |tag: &[u8]| read_video(tag).unwrap_err().to_string();
        assert!(video(b"\x91hvc1....").contains("HEVC by enhanced RTMP"));
        assert!(video(b"\x90av01").contains("AV1") && video(&[0x80]).contains("something else"));
        assert!(video(&[0x1c, 0]).contains("HEVC") && video(&[0x12]).contains("Sorenson"));
        let audio = |tag: &[u8]| read_audio(tag).unwrap_err().to_string();
        assert!(audio(&[0x2f, 1]).contains("MP3") && audio(&[0x90]).contains("enhanced"));
    }

    #[test]
    fn headers_of_aac_say_rate_and_channels() {
        let read = |config: &[u8]| {
            read_config(config).map(|format| (format.rate, format.channels)).map_err(|_| ())
        };
        assert_eq!(read(&[0x11, 0x90]), Ok((48_000, 2)));
        assert_eq!(read(&[0x12, 0x08]), Ok((44_100, 1)));
        // High efficiency: 24 kHz inside, 48 kHz heard.
        assert_eq!(read(&[0x2b, 0x11, 0x88]), Ok((48_000, 2)));
        for bad in [&[][..], &[0x11], &[0xff, 0xff], &[0x11, 0x80], &[0x17, 0], &[0x11; 65]] {
            assert_eq!(read(bad), Err(()), "{bad:?}");
        }
    }

    #[test]
    fn damaged_frames_are_refused() {
        let header = AvcHeader { length_size: 1, parameter_sets: Vec::new() };
        assert!(header.byte_stream(false, &[5, 1]).is_err());
        assert_eq!(header.byte_stream(false, &[0, 0, 0]), Ok(vec![]));
        assert!(header.byte_stream(false, &[1, 9].repeat(100_000)).is_err());
        for tag in [&[0x17, 0, 0, 0, 0][..], &[0x17, 0, 0, 0, 0, 1, 66, 0, 30, 255, 0xe1, 0, 9]] {
            assert!(read_video(tag).is_err(), "{tag:?}");
        }
    }
}
