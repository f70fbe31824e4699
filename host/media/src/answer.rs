//! The answer to the whole offer, made from the WebRTC library's answer to the sections in use.

use crate::negotiate::{Choice, Role};
use crate::offer::{Offer, Section};
use str0m::Candidate;

const DIRECTIONS: [&str; 4] = ["a=sendrecv", "a=sendonly", "a=recvonly", "a=inactive"];

/// Lines of the video section that every section on its transport repeats.
const TRANSPORT: [&str; 4] = ["a=ice-ufrag:", "a=ice-pwd:", "a=fingerprint:", "a=setup:"];

/// Answers each offered section at its place: the chosen video and audio as `inner` says, what shares their transport
/// inactive, all else rejected. Candidates stand in the first section in use, where the standard looks for them.
pub(crate) fn complete(
    offer: &Offer<'_>,
    choice: &Choice<'_>,
    role: Role,
    inner: &str,
    candidates: &[Candidate],
) -> String {
    let inner: Vec<_> = inner.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
    let (session, sections) = split(&inner);
    let (video, stream) = (section_of(choice.mid, &sections), stream_id(choice.mid, &sections));
    let uses: Vec<_> = (0..offer.sections.len()).map(|index| usage(offer, choice, index)).collect();

    let mut answer: Vec<String> = Vec::new();
    answer.extend(session.iter().filter(|line| !is_group(line)).map(|line| (*line).to_owned()));
    if offer.bundle().is_some() {
        answer.push(group(offer, &uses));
    }
    answer.extend(stream.map(|stream| format!("a=msid-semantic: WMS {stream}")));
    let first_used = uses.iter().position(|usage| *usage != Usage::Rejected);
    for (index, (section, usage)) in offer.sections.iter().zip(&uses).enumerate() {
        match usage {
            Usage::Video => answer.extend(used_section(video, role, stream)),
            Usage::Audio(mid) => {
                answer.extend(used_section(section_of(mid, &sections), role, stream));
            }
            Usage::Inactive => answer.extend(inactive_section(section, video)),
            Usage::Rejected => answer.extend(rejected_section(section)),
        }
        if first_used == Some(index) {
            answer.extend(candidates.iter().map(candidate_line));
            answer.push("a=end-of-candidates".to_owned());
        }
    }
    answer.iter().flat_map(|line| [line.as_str(), "\r\n"]).collect()
}

/// The lines before all sections, and each section's.
fn split<'l, 's>(lines: &'l [&'s str]) -> (&'l [&'s str], Vec<&'l [&'s str]>) {
    let mut parts = lines.chunk_by(|_, next| !next.starts_with("m="));
    (parts.next().unwrap_or_default(), parts.collect())
}

fn section_of<'l, 's>(mid: &str, sections: &[&'l [&'s str]]) -> &'l [&'s str] {
    let is_named =
        |lines: &&&[&str]| lines.iter().any(|line| line.strip_prefix("a=mid:") == Some(mid));
    sections.iter().find(is_named).copied().unwrap_or_default()
}

/// The media stream that the video belongs to. Audio is made part of it: players take the stream of the track that came
/// last, and keep in step what is in one.
fn stream_id<'s>(mid: &str, sections: &[&[&'s str]]) -> Option<&'s str> {
    let mut msids =
        section_of(mid, sections).iter().filter_map(|line| line.strip_prefix("a=msid:"));
    msids.next()?.split(' ').next()
}

/// Lines of the session that name what only the whole answer has.
fn is_group(line: &str) -> bool {
    line.starts_with("a=group:") || line.starts_with("a=msid-semantic:")
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Usage<'a> {
    Video,
    /// With the name of its section.
    Audio(&'a str),
    Inactive,
    Rejected,
}

fn usage<'a>(offer: &Offer<'a>, choice: &Choice<'a>, index: usize) -> Usage<'a> {
    let section = &offer.sections[index];
    let shares = |mid: &str| {
        offer.bundle().is_some_and(|mids| mids.contains(&mid) && mids.contains(&choice.mid))
    };
    let is_media = ["audio", "video"].contains(&section.kind) && !section.formats.is_empty();
    match (section.attribute("mid"), &choice.audio) {
        _ if index == choice.index => Usage::Video,
        (_, Some(audio)) if audio.index == index => Usage::Audio(audio.mid),
        (Some(mid), _) if is_media && !section.is_rejected && shares(mid) => Usage::Inactive,
        _ => Usage::Rejected,
    }
}

fn group(offer: &Offer<'_>, uses: &[Usage<'_>]) -> String {
    let used = offer.sections.iter().zip(uses).filter(|(_, usage)| **usage != Usage::Rejected);
    let mids: Vec<_> = used.filter_map(|(section, _)| section.attribute("mid")).collect();
    format!("a=group:BUNDLE {}", mids.join(" "))
}

fn used_section(lines: &[&str], role: Role, stream: Option<&str>) -> Vec<String> {
    let is_replaced =
        |line: &&&str| line.starts_with("a=candidate:") || **line == "a=end-of-candidates";
    let changed = |line: &&str| match DIRECTIONS.contains(line) {
        true => format!("a={}", role.answered()),
        false => in_stream(line, stream).unwrap_or_else(|| (*line).to_owned()),
    };
    lines.iter().filter(|line| !is_replaced(line)).map(changed).collect()
}

/// A line that names a track and its stream, with this stream.
fn in_stream(line: &str, stream: Option<&str>) -> Option<String> {
    let (start, ids) = line.split_once("msid:")?;
    let is_of_track = start == "a=" || (start.starts_with("a=ssrc:") && start.ends_with(' '));
    let (_, track) = ids.split_once(' ')?;
    is_of_track.then_some(format!("{start}msid:{} {track}", stream?))
}

fn inactive_section(section: &Section<'_>, video: &[&str]) -> Vec<String> {
    let format = section.formats.first().copied().unwrap_or("0");
    let mut lines = vec![
        format!("m={} 9 UDP/TLS/RTP/SAVPF {format}", section.kind),
        "c=IN IP4 0.0.0.0".to_owned(),
    ];
    lines.extend(section.attribute("mid").map(|mid| format!("a=mid:{mid}")));
    lines.extend(["a=inactive".to_owned(), "a=rtcp-mux".to_owned()]);
    let transport = video.iter().filter(|line| TRANSPORT.iter().any(|name| line.starts_with(name)));
    lines.extend(transport.map(|line| (*line).to_owned()));
    let describes = |line: &&&str| {
        ["a=rtpmap:", "a=fmtp:"].iter().any(|name| {
            line.strip_prefix(name).and_then(|rest| rest.split(' ').next()) == Some(format)
        })
    };
    lines.extend(section.lines.iter().filter(describes).map(|line| (*line).to_owned()));
    lines
}

fn rejected_section(section: &Section<'_>) -> Vec<String> {
    let formats =
        if section.formats.is_empty() { "0".to_owned() } else { section.formats.join(" ") };
    let mut lines = vec![
        format!("m={} 0 {} {formats}", section.kind, section.protocol),
        "c=IN IP4 0.0.0.0".to_owned(),
    ];
    lines.extend(section.attribute("mid").map(|mid| format!("a=mid:{mid}")));
    lines.push("a=inactive".to_owned());
    lines
}

fn candidate_line(candidate: &Candidate) -> String {
    let text = candidate.to_sdp_string();
    let text = text.trim();
    format!("a={}", text.strip_prefix("a=").unwrap_or(text))
}
