//! Reads as much of an SDP offer as it takes to choose one video section and one payload of it, and audio beside it.
//!
//! Offers come from anyone. Only what is known here reaches the WebRTC library, as a small offer written anew.

use crate::codecs::Codec;
use host_ports::OfferError;
use std::collections::HashSet;

/// Far more than any client sends.
const MAX_LINES: usize = 2000;
const MAX_LINE: usize = 2048;
const MAX_SECTIONS: usize = 16;
/// What RTP's MID extension is given room for.
const MAX_MID: usize = 16;

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Offer<'a> {
    pub session: Vec<&'a str>,
    pub sections: Vec<Section<'a>>,
}

/// An m-line and what follows it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Section<'a> {
    pub kind: &'a str,
    pub protocol: &'a str,
    pub formats: Vec<&'a str>,
    pub is_rejected: bool,
    pub lines: Vec<&'a str>,
}

/// A payload type of a codec we know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Payload {
    pub codec: Codec,
    pub number: u8,
    /// The payload type of its retransmissions.
    pub retransmission: Option<u8>,
    pub packetization_mode: Option<u8>,
    pub profile_level_id: Option<u32>,
    /// H265's.
    pub level_id: Option<u8>,
}

pub(crate) fn invalid(reason: impl Into<String>) -> OfferError {
    OfferError::Invalid { reason: reason.into() }
}

impl<'a> Offer<'a> {
    pub fn parse(text: &'a str) -> Result<Self, OfferError> {
        if let Some(unprintable) =
            text.chars().find(|c| c.is_control() && !matches!(c, '\r' | '\n'))
        {
            return Err(invalid(format!("it contains the control character {unprintable:?}")));
        }
        // A lone carriage return ends a line as well: nothing of the offer may hide behind one.
        let lines: Vec<_> =
            text.split(['\r', '\n']).map(str::trim_end).filter(|line| !line.is_empty()).collect();
        if lines.first() != Some(&"v=0") {
            return Err(invalid("SDP starts with the line v=0"));
        }
        if lines.len() > MAX_LINES {
            return Err(invalid(format!("it has more than {MAX_LINES} lines")));
        }
        if let Some(line) = lines.iter().find(|line| line.len() > MAX_LINE) {
            let start: String = line.chars().take(20).collect();
            return Err(invalid(format!("the line `{start}...` has more than {MAX_LINE} bytes")));
        }
        let offer = Self::split(&lines)?;
        offer.check_mids()?;
        Ok(offer)
    }

    /// A name that stands for two sections would stand for two in the answer as well (RFC 8843, section 7.1).
    fn check_mids(&self) -> Result<(), OfferError> {
        let mut known = HashSet::new();
        let mut mids = self.sections.iter().filter_map(|section| section.attribute("mid"));
        match mids.find(|mid| !known.insert(*mid)) {
            Some(mid) => Err(invalid(format!("two sections have the same a=mid:{mid}"))),
            None => Ok(()),
        }
    }

    fn split(lines: &[&'a str]) -> Result<Self, OfferError> {
        let mut offer = Self { session: Vec::new(), sections: Vec::new() };
        for line in lines {
            match (line.strip_prefix("m="), offer.sections.last_mut()) {
                (Some(description), _) => offer.sections.push(Section::parse(description)?),
                (None, Some(section)) => section.lines.push(line),
                (None, None) => offer.session.push(line),
            }
            if offer.sections.len() > MAX_SECTIONS {
                return Err(invalid(format!("it has more than {MAX_SECTIONS} m-lines")));
            }
        }
        Ok(offer)
    }

    /// The `mid`s that share the first one's transport; none if the offer has no such group.
    pub fn bundle(&self) -> Option<Vec<&'a str>> {
        let group = self.session.iter().find_map(|line| line.strip_prefix("a=group:BUNDLE"))?;
        Some(group.split_ascii_whitespace().collect())
    }

    /// The value of an attribute that may stand in the section or before all sections.
    pub fn attribute(&self, section: &Section<'a>, name: &str) -> Option<&'a str> {
        section.attribute(name).or_else(|| attributes(&self.session, name).next())
    }
}

impl<'a> Section<'a> {
    fn parse(description: &'a str) -> Result<Self, OfferError> {
        let mut words = description.split_ascii_whitespace();
        let (Some(kind), Some(port), Some(protocol)) = (words.next(), words.next(), words.next())
        else {
            let start: String = description.chars().take(40).collect();
            return Err(invalid(format!("the line `m={start}` lacks kind, port or protocol")));
        };
        let is_rejected = port == "0";
        Ok(Self { kind, protocol, formats: words.collect(), is_rejected, lines: Vec::new() })
    }

    pub fn attribute(&self, name: &str) -> Option<&'a str> {
        attributes(&self.lines, name).next()
    }

    /// The section's name; it must fit the packets that carry it.
    pub fn mid(&self) -> Result<Option<&'a str>, OfferError> {
        let Some(mid) = self.attribute("mid") else { return Ok(None) };
        let is_token = mid.bytes().all(|byte| byte.is_ascii_graphic());
        if mid.is_empty() || mid.len() > MAX_MID || !is_token {
            return Err(invalid(format!(
                "a=mid must be 1 to {MAX_MID} printable ASCII characters"
            )));
        }
        Ok(Some(mid))
    }

    /// Payloads of codecs that we know, in the offer's order.
    pub fn payloads(&self) -> Vec<Payload> {
        self.formats
            .iter()
            .filter_map(|format| self.payload(format.parse().ok().filter(|pt| *pt < 128)?))
            .collect()
    }

    fn payload(&self, number: u8) -> Option<Payload> {
        let codec = match self.codec_name(number)?.to_ascii_uppercase().as_str() {
            "H264" => Codec::H264,
            "VP8" => Codec::Vp8,
            "VP9" => Codec::Vp9,
            "H265" => Codec::H265,
            _ => return None,
        };
        let parameter =
            |name| self.parameters(number).find_map(|(key, value)| (key == name).then_some(value));
        // Others have more than 8 bits, more colour than the rest, or several streams.
        let is_usual = |name, usual| parameter(name).is_none_or(|value| value == usual);
        let is_decodable = match codec {
            Codec::H264 | Codec::Vp8 => true,
            Codec::Vp9 => is_usual("profile-id", "0"),
            Codec::H265 => {
                let usual = [("profile-id", "1"), ("tier-flag", "0"), ("tx-mode", "SRST")];
                usual.into_iter().all(|(name, value)| is_usual(name, value))
            }
        };
        if !is_decodable {
            return None;
        }
        Some(Payload {
            codec,
            number,
            retransmission: self.retransmission(number),
            packetization_mode: parameter("packetization-mode").and_then(|mode| mode.parse().ok()),
            profile_level_id: parameter("profile-level-id")
                .and_then(|id| u32::from_str_radix(id, 16).ok()),
            level_id: parameter("level-id").and_then(|id| id.parse().ok()),
        })
    }

    /// The payload type of Opus, of which there is but one form (RFC 7587, section 7).
    pub fn opus(&self) -> Option<u8> {
        let numbers = self.formats.iter().filter_map(|format| format.parse().ok());
        let is_opus = |number: &u8| {
            self.encoding(*number).is_some_and(|name| name.eq_ignore_ascii_case("opus/48000/2"))
        };
        numbers.filter(|number| *number < 128).find(is_opus)
    }

    /// Names of all video codecs, for the error that none is usable.
    pub fn codec_names(&self) -> Vec<&'a str> {
        let mut names: Vec<_> = self
            .formats
            .iter()
            .filter_map(|format| self.codec_name(format.parse().ok()?))
            .collect();
        names.retain(|name| !["rtx", "red", "ulpfec", "flexfec-03"].contains(name));
        names.dedup();
        names
    }

    fn codec_name(&self, number: u8) -> Option<&'a str> {
        self.encoding(number)?.split('/').next()
    }

    /// What `a=rtpmap` says of a payload type.
    fn encoding(&self, number: u8) -> Option<&'a str> {
        let maps = attributes(&self.lines, "rtpmap").filter_map(|map| map.split_once(' '));
        let mut named = maps.filter(|(format, _)| format.parse() == Ok(number));
        named.next().map(|(_, encoding)| encoding)
    }

    fn parameters(&self, number: u8) -> impl Iterator<Item = (&'a str, &'a str)> {
        attributes(&self.lines, "fmtp")
            .filter_map(|parameters| parameters.split_once(' '))
            .filter(move |(format, _)| format.parse() == Ok(number))
            .flat_map(|(_, list)| list.split(';'))
            .filter_map(|parameter| parameter.trim().split_once('='))
    }

    fn retransmission(&self, of: u8) -> Option<u8> {
        let numbers = self
            .formats
            .iter()
            .filter_map(|format| format.parse::<u8>().ok().filter(|pt| *pt < 128));
        let mut matching = numbers.filter(|number| {
            let is_retransmission =
                self.codec_name(*number).is_some_and(|name| name.eq_ignore_ascii_case("rtx"));
            is_retransmission
                && self
                    .parameters(*number)
                    .any(|(key, value)| key == "apt" && value.parse() == Ok(of))
        });
        matching.next()
    }
}

fn attributes<'a>(lines: &[&'a str], name: &str) -> impl Iterator<Item = &'a str> {
    lines
        .iter()
        .filter_map(move |line| line.strip_prefix("a=")?.strip_prefix(name)?.strip_prefix(':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h265_is_taken_in_its_main_profile_and_one_stream() {
        let offer = "v=0\nm=video 9 UDP/TLS/RTP/SAVPF 49 50 51 52\n\
             a=rtpmap:49 H265/90000\na=fmtp:49 level-id=180;profile-id=1;tier-flag=0;tx-mode=SRST\n\
             a=rtpmap:50 H265/90000\na=fmtp:50 level-id=180;profile-id=2\n\
             a=rtpmap:51 H265/90000\na=fmtp:51 tx-mode=MRST\n\
             a=rtpmap:52 H265/90000\n";
        let payloads = Offer::parse(offer).unwrap().sections[0].payloads();
        let taken: Vec<_> = payloads.iter().map(|each| (each.number, each.level_id)).collect();
        assert_eq!(taken, [(49, Some(180)), (52, None)]);
    }
}
