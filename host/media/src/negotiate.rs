//! Chooses what to receive from or send to a peer, and writes the small offer that the WebRTC library is given.

use crate::codecs::Codec;
use crate::offer::{Offer, Payload, Section, invalid};
use host_ports::OfferError;
use std::fmt::Write;

/// Attributes of the session or the video section that matter for transport.
const TRANSPORT: [&str; 4] = ["ice-ufrag", "ice-pwd", "fingerprint", "setup"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Publisher,
    Reader,
}

impl Role {
    /// What the host does with this peer's video.
    const fn doing(self) -> &'static str {
        match self {
            Self::Publisher => "decode",
            Self::Reader => "encode",
        }
    }

    /// Directions that the peer may have offered.
    const fn offered(self) -> [&'static str; 2] {
        match self {
            Self::Publisher => ["sendonly", "sendrecv"],
            Self::Reader => ["recvonly", "sendrecv"],
        }
    }

    pub const fn answered(self) -> &'static str {
        match self {
            Self::Publisher => "recvonly",
            Self::Reader => "sendonly",
        }
    }
}

/// What is chosen from an offer: a video section and a payload of it, and audio if there is any.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Choice<'a> {
    /// Which of the offer's sections.
    pub index: usize,
    pub mid: &'a str,
    pub payload: Payload,
    pub audio: Option<AudioChoice<'a>>,
    /// An offer with these sections and payloads only.
    pub reduced: String,
}

/// Opus beside the video.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct AudioChoice<'a> {
    pub index: usize,
    pub mid: &'a str,
    /// The payload type.
    pub number: u8,
}

/// Chooses the first video section of the right direction, and in it the payload that suits best; audio, if it is
/// wanted, where it shares the video's transport.
pub(crate) fn choose<'a>(
    offer: &Offer<'a>,
    (role, wants_audio): (Role, bool),
    usable: &[Codec],
) -> Result<Choice<'a>, OfferError> {
    let is_candidate = |section: &&Section| {
        section.kind == "video" && is_alive(section) && has_direction(offer, section, role)
    };
    let (index, section) =
        offer.sections.iter().enumerate().find(|(_, section)| is_candidate(section)).ok_or_else(
            || {
                let [wanted, _] = role.offered();
                invalid(format!("it has no video section that is {wanted}"))
            },
        )?;
    if !is_encrypted(section) {
        return Err(invalid("video must be sent over UDP/TLS/RTP/SAVPF"));
    }
    let payload =
        best(section.payloads(), role, usable).ok_or_else(|| OfferError::NoCommonCodec {
            doing: role.doing(),
            supported: usable.iter().map(|codec| codec.name()).collect::<Vec<_>>().join(", "),
            offered: match section.codec_names() {
                names if names.is_empty() => "none".to_owned(),
                names => names.join(", "),
            },
        })?;
    let mid = section.mid()?.unwrap_or("0");
    let audio = wants_audio.then(|| choose_audio(offer, role, section, &payload)).flatten();
    let mut choice = Choice { index, mid, payload, audio, reduced: String::new() };
    choice.reduced = reduce(offer, &choice, role)?;
    Ok(choice)
}

fn is_alive(section: &Section) -> bool {
    // Port 0 together with bundle-only means: on the first section's transport or not at all.
    !section.is_rejected || section.lines.contains(&"a=bundle-only")
}

fn has_direction(offer: &Offer, section: &Section, role: Role) -> bool {
    let all = ["a=sendonly", "a=recvonly", "a=sendrecv", "a=inactive"];
    let directions = section.lines.iter().chain(&offer.session).find(|line| all.contains(line));
    let direction = directions.and_then(|line| line.strip_prefix("a=")).unwrap_or("sendrecv");
    role.offered().contains(&direction)
}

fn best(payloads: Vec<Payload>, role: Role, usable: &[Codec]) -> Option<Payload> {
    let mut fitting: Vec<_> = payloads
        .into_iter()
        .filter_map(|payload| Some((rank(&payload, role, usable)?, payload)))
        .collect();
    // Stable: among equals the peer's own order decides.
    fitting.sort_by_key(|(rank, _)| *rank);
    fitting.into_iter().next().map(|(_, payload)| payload)
}

/// How well a payload suits, less is better: by its codec's place among the usable ones, then among payloads of that
/// codec. None if it does not.
fn rank(payload: &Payload, role: Role, usable: &[Codec]) -> Option<(usize, u8)> {
    let codec = usable.iter().position(|codec| *codec == payload.codec)?;
    let is_fragmented = payload.packetization_mode == Some(1);
    let within = match (payload.codec, role) {
        (Codec::Vp8 | Codec::Vp9 | Codec::H265, _) => 0,
        // What we send is cut into fragments, which only mode 1 allows.
        (Codec::H264, Role::Reader) if !is_fragmented => return None,
        (Codec::H264, Role::Reader) => {
            match payload.profile_level_id.map(|id| (id >> 16, id >> 8 & 0x40)) {
                Some((0x42, 0x40)) => 0,
                Some((0x42, _)) => 1,
                Some((0x4d, _)) => 2,
                _ => 3,
            }
        }
        (Codec::H264, Role::Publisher) => u8::from(!is_fragmented),
    };
    Some((codec, within))
}

/// The audio section that shares the video's transport; none is as good: nobody is refused for want of audio.
fn choose_audio<'a>(
    offer: &Offer<'a>,
    role: Role,
    video: &Section<'a>,
    payload: &Payload,
) -> Option<AudioChoice<'a>> {
    let bundle = offer.bundle()?;
    let shares =
        |section: &Section<'a>| section.attribute("mid").is_some_and(|mid| bundle.contains(&mid));
    let is_candidate = |section: &&Section<'a>| {
        section.kind == "audio"
            && is_alive(section)
            && has_direction(offer, section, role)
            && is_encrypted(section)
            && shares(section)
    };
    let (index, section) =
        offer.sections.iter().enumerate().find(|(_, section)| is_candidate(section))?;
    let number = section.opus()?;
    let is_taken = number == payload.number || payload.retransmission == Some(number);
    let mid = section.mid().ok().flatten()?;
    (shares(video) && !is_taken).then_some(AudioChoice { index, mid, number })
}

fn is_encrypted(section: &Section) -> bool {
    ["TLS/RTP/SAVPF", "TLS/RTP/SAVP"].iter().any(|end| section.protocol.ends_with(end))
}

fn reduce(offer: &Offer, choice: &Choice, role: Role) -> Result<String, OfferError> {
    let section = &offer.sections[choice.index];
    let transport = transport(offer, section)?;
    let mut media = vec![(choice.index, choice.mid, video_lines(section, choice))];
    if let Some(audio) = &choice.audio {
        media.push((audio.index, audio.mid, audio_lines(offer, section, audio)));
    }
    media.sort_by_key(|(index, ..)| *index);
    let mids: Vec<_> = media.iter().map(|(_, mid, _)| *mid).collect();
    let mids = mids.join(" ");
    let mut sdp =
        format!("v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE {mids}\r\n");
    let [direction, _] = role.offered();
    for (_, mid, (description, lines)) in media {
        // Writing to a String cannot fail.
        let _ = write!(
            sdp,
            "m={description}\r\nc=IN IP4 0.0.0.0\r\na=mid:{mid}\r\n{transport}a={direction}\r\n\
             a=rtcp-mux\r\n{lines}"
        );
    }
    Ok(sdp)
}

fn transport(offer: &Offer, section: &Section) -> Result<String, OfferError> {
    let mut lines = String::new();
    for name in TRANSPORT {
        match offer.attribute(section, name) {
            Some(value) => drop(write!(lines, "a={name}:{value}\r\n")),
            None if name == "setup" => lines.push_str("a=setup:actpass\r\n"),
            None => return Err(invalid(format!("its video section lacks a={name}"))),
        }
    }
    Ok(lines)
}

/// What the reduced video section is described by, and its lines.
fn video_lines(section: &Section, choice: &Choice) -> (String, String) {
    let payload = &choice.payload;
    let number = payload.number;
    let formats = payload.retransmission.map_or(String::new(), |pt| format!(" {pt}"));
    let mut lines = format!("a=rtpmap:{number} {}/90000\r\n", payload.codec.name());
    lines.push_str(&format_parameters(payload));
    if let Some(retransmission) = payload.retransmission {
        let _ = write!(
            lines,
            "a=rtpmap:{retransmission} rtx/90000\r\na=fmtp:{retransmission} apt={number}\r\n"
        );
    }
    for line in section.lines.iter().filter(|line| is_kept(line, number)) {
        let _ = write!(lines, "{line}\r\n");
    }
    (format!("video 9 UDP/TLS/RTP/SAVPF {number}{formats}"), lines)
}

fn audio_lines(offer: &Offer, video: &Section, audio: &AudioChoice) -> (String, String) {
    let number = audio.number;
    let mut lines = format!("a=rtpmap:{number} opus/48000/2\r\n");
    // On one transport an extension has one number: what video does not have is no use to us, or a mistake.
    let is_shared = |line: &&&str| !line.starts_with("a=extmap:") || video.lines.contains(line);
    let section = &offer.sections[audio.index];
    for line in section.lines.iter().filter(|line| is_kept(line, number)).filter(is_shared) {
        let _ = write!(lines, "{line}\r\n");
    }
    (format!("audio 9 UDP/TLS/RTP/SAVPF {number}"), lines)
}

fn format_parameters(payload: &Payload) -> String {
    if payload.codec == Codec::Vp9 {
        return format!("a=fmtp:{} profile-id=0\r\n", payload.number);
    }
    if let Some(level) = payload.level_id.filter(|_| payload.codec == Codec::H265) {
        let number = payload.number;
        return format!(
            "a=fmtp:{number} profile-id=1;tier-flag=0;level-id={level};tx-mode=SRST\r\n"
        );
    }
    let mut parameters = Vec::new();
    if payload.codec == Codec::H264 {
        let mode =
            payload.packetization_mode.map(|mode| format!("packetization-mode={}", mode.min(1)));
        let profile = payload.profile_level_id.map(|id| format!("profile-level-id={id:06x}"));
        parameters.extend(mode.into_iter().chain(profile));
    }
    if parameters.is_empty() {
        return String::new();
    }
    format!("a=fmtp:{} level-asymmetry-allowed=1;{}\r\n", payload.number, parameters.join(";"))
}

/// Lines passed on as they are: feedback for the payload, header extensions, sources.
fn is_kept(line: &str, number: u8) -> bool {
    if let Some(feedback) = line.strip_prefix("a=rtcp-fb:") {
        let of = feedback.split(' ').next().unwrap_or_default();
        return of == "*" || of.parse() == Ok(number);
    }
    ["a=extmap:", "a=ssrc:", "a=ssrc-group:"].iter().any(|kept| line.starts_with(kept))
}
