//! The answer to the whole offer, made from the WebRTC library's answer to its one video section.

use crate::negotiate::{Choice, Role};
use crate::offer::{Offer, Section};
use str0m::Candidate;

const DIRECTIONS: [&str; 4] = ["a=sendrecv", "a=sendonly", "a=recvonly", "a=inactive"];

/// Lines of the video section that every section on its transport repeats.
const TRANSPORT: [&str; 4] = ["a=ice-ufrag:", "a=ice-pwd:", "a=fingerprint:", "a=setup:"];

/// Answers each offered section at its place: the chosen video as `inner` says, what shares its transport inactive,
/// all else rejected. Candidates stand in the first section in use, where the standard looks for them.
pub(crate) fn complete(
    offer: &Offer<'_>,
    choice: &Choice<'_>,
    role: Role,
    inner: &str,
    candidates: &[Candidate],
) -> String {
    let lines: Vec<_> = inner.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
    let video_at = lines.iter().position(|line| line.starts_with("m=")).unwrap_or(lines.len());
    let (session, video) = lines.split_at(video_at);
    let uses: Vec<_> = (0..offer.sections.len()).map(|index| usage(offer, choice, index)).collect();

    let mut answer: Vec<String> = Vec::new();
    answer.extend(
        session.iter().filter(|line| !line.starts_with("a=group:")).map(|line| (*line).to_owned()),
    );
    if offer.bundle().is_some() {
        answer.push(group(offer, &uses));
    }
    let first_used = uses.iter().position(|usage| *usage != Usage::Rejected);
    for (index, (section, usage)) in offer.sections.iter().zip(&uses).enumerate() {
        match usage {
            Usage::Video => answer.extend(video_section(video, role)),
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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Usage {
    Video,
    Inactive,
    Rejected,
}

fn usage(offer: &Offer<'_>, choice: &Choice<'_>, index: usize) -> Usage {
    let section = &offer.sections[index];
    let shares = |mid: &str| {
        offer.bundle().is_some_and(|mids| mids.contains(&mid) && mids.contains(&choice.mid))
    };
    let is_media = ["audio", "video"].contains(&section.kind) && !section.formats.is_empty();
    match section.attribute("mid") {
        _ if index == choice.index => Usage::Video,
        Some(mid) if is_media && !section.is_rejected && shares(mid) => Usage::Inactive,
        _ => Usage::Rejected,
    }
}

fn group(offer: &Offer<'_>, uses: &[Usage]) -> String {
    let used = offer.sections.iter().zip(uses).filter(|(_, usage)| **usage != Usage::Rejected);
    let mids: Vec<_> = used.filter_map(|(section, _)| section.attribute("mid")).collect();
    format!("a=group:BUNDLE {}", mids.join(" "))
}

fn video_section(video: &[&str], role: Role) -> Vec<String> {
    let is_replaced =
        |line: &&&str| line.starts_with("a=candidate:") || **line == "a=end-of-candidates";
    let directed = |line: &&str| match DIRECTIONS.contains(line) {
        true => format!("a={}", role.answered()),
        false => (*line).to_owned(),
    };
    video.iter().filter(|line| !is_replaced(line)).map(directed).collect()
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
