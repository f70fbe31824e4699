//! What a reader is told in SDP of the tracks of an output.

use super::nal::ParameterSets;
use crate::codecs::Codec;
use crate::unit::{AudioCodec, AudioFormat, Track};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use std::fmt::Write;
use std::net::IpAddr;

/// Payload types that mean nothing by themselves begin here.
const FIRST_PAYLOAD_TYPE: u8 = 96;

pub fn payload_type(track: usize) -> u8 {
    FIRST_PAYLOAD_TYPE + track as u8
}

/// How requests name a track.
pub fn control(track: usize) -> String {
    format!("trackID={track}")
}

pub fn describe(tracks: &[Track], sets: &ParameterSets, local: IpAddr) -> String {
    let (version, any) = if local.is_ipv4() { ("IP4", "0.0.0.0") } else { ("IP6", "::") };
    let mut sdp = format!(
        "v=0\r\no=- 0 0 IN {version} {local}\r\ns=streamdiffusion-host\r\nc=IN {version} {any}\r\nt=0 0\r\na=control:*\r\n"
    );
    for (index, track) in tracks.iter().enumerate() {
        let (number, control) = (payload_type(index), control(index));
        let (kind, mapping, parameters) = match track {
            Track::Video(Codec::H264) => ("video", "H264/90000".to_owned(), h264(sets)),
            Track::Video(Codec::H265) => ("video", "H265/90000".to_owned(), h265(sets)),
            Track::Video(codec) => ("video", format!("{}/90000", codec.name()), String::new()),
            Track::Audio(format) => audio(format),
        };
        // Writing to text never fails.
        let _ = write!(sdp, "m={kind} 0 RTP/AVP {number}\r\na=rtpmap:{number} {mapping}\r\n");
        if !parameters.is_empty() {
            let _ = write!(sdp, "a=fmtp:{number} {parameters}\r\n");
        }
        let _ = write!(sdp, "a=control:{control}\r\n");
    }
    sdp
}

fn h264(sets: &ParameterSets) -> String {
    let mut parameters = "packetization-mode=1".to_owned();
    if let [_, profile, constraints, level, ..] = sets.sequence[..]
        && sets.is_complete(Codec::H264)
    {
        let _ = write!(
            parameters,
            ";profile-level-id={profile:02X}{constraints:02X}{level:02X};sprop-parameter-sets={},{}",
            encode(&sets.sequence),
            encode(&sets.picture)
        );
    }
    parameters
}

fn h265(sets: &ParameterSets) -> String {
    if !sets.is_complete(Codec::H265) {
        return String::new();
    }
    let [video, sequence, picture] = [&sets.video, &sets.sequence, &sets.picture].map(encode);
    format!("sprop-vps={video};sprop-sps={sequence};sprop-pps={picture}")
}

fn encode(unit: impl AsRef<[u8]>) -> String {
    BASE64_STANDARD.encode(unit)
}

fn audio(format: &AudioFormat) -> (&'static str, String, String) {
    let (rate, channels) = (format.rate, format.channels);
    match format.codec {
        // Whatever is in it, Opus is announced with two channels (RFC 7587, section 7).
        AudioCodec::Opus => {
            ("audio", "opus/48000/2".to_owned(), format!("sprop-stereo={}", u8::from(channels > 1)))
        }
        AudioCodec::Aac => {
            let config: String = format.config.iter().map(|byte| format!("{byte:02X}")).collect();
            let parameters = format!(
                "streamtype=5;profile-level-id=1;mode=AAC-hbr;sizelength=13;indexlength=3;indexdeltalength=3;config={config}"
            );
            ("audio", format!("mpeg4-generic/{rate}/{channels}"), parameters)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::announce::{Announcement, Kind};
    use super::*;
    use std::net::Ipv4Addr;
    use std::sync::Arc;

    #[test]
    fn h265_is_described_with_its_three_sets() {
        let (video, sequence) = (vec![0x40, 1, 9], vec![0x42, 1, 1, 2]);
        let sets = ParameterSets { video, sequence, picture: vec![0x44, 1] };
        let sdp = describe(&[Track::Video(Codec::H265)], &sets, Ipv4Addr::LOCALHOST.into());
        let read = Announcement::parse(sdp.as_bytes()).unwrap();
        assert!(
            matches!(&read.tracks[0].kind, Kind::Video(Codec::H265, read) if *read == sets),
            "{sdp}"
        );
    }

    #[test]
    fn what_is_described_can_be_announced_again() {
        let (sequence, picture) = (vec![0x67, 0x42, 0xc0, 0x1f], vec![0x68, 1]);
        let sets = ParameterSets { sequence, picture, ..ParameterSets::default() };
        let (codec, config) = (AudioCodec::Aac, Arc::from([0x11, 0x90]));
        let format = Arc::new(AudioFormat { codec, rate: 48_000, channels: 2, config });
        let tracks = [Track::Video(Codec::H264), Track::Audio(format.clone())];
        let sdp = describe(&tracks, &sets, Ipv4Addr::LOCALHOST.into());
        assert!(sdp.contains("profile-level-id=42C01F"), "{sdp}");
        let read = Announcement::parse(sdp.as_bytes()).unwrap();
        assert!(matches!(&read.tracks[0].kind, Kind::Video(Codec::H264, read) if *read == sets));
        assert!(matches!(&read.tracks[1].kind, Kind::Audio(read, Some(_)) if *read == format));
        assert_eq!(read.find("rtsp://h/str_1_out/trackID=1"), Some(1));
    }
}
