//! The `Transport` header: how a track's packets travel.

use std::fmt;

/// What a client asks for; of its choices, the first that we know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// In the connection, on these channels; none named: any.
    Interleaved(Option<Pair<u8>>),
    /// By UDP to or from these ports of the client.
    Udp(Pair<u16>),
}

/// Packets, and reports on them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pair<T> {
    pub media: T,
    pub reports: T,
}

impl<T: fmt::Display> fmt::Display for Pair<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.media, self.reports)
    }
}

impl Transport {
    pub fn choose(header: &str) -> Option<Self> {
        header.split(',').find_map(Self::parse)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut words = text.trim().split(';').map(str::trim);
        let protocol = words.next()?;
        let words: Vec<_> = words.collect();
        let value =
            |name: &str| words.iter().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        if words.iter().any(|word| word.eq_ignore_ascii_case("multicast")) {
            return None;
        }
        match protocol.to_ascii_uppercase().as_str() {
            "RTP/AVP/TCP" | "RTP/AVPF/TCP" => match value("interleaved") {
                Some(channels) => {
                    Some(Self::Interleaved(Some(pair(channels, |n: u8| n.checked_add(1))?)))
                }
                None => Some(Self::Interleaved(None)),
            },
            "RTP/AVP" | "RTP/AVP/UDP" | "RTP/AVPF" | "RTP/AVPF/UDP" => {
                let ports = pair(value("client_port")?, |n: u16| n.checked_add(1))?;
                (ports.media != 0 && ports.reports != 0).then_some(Self::Udp(ports))
            }
            _ => None,
        }
    }
}

fn pair<T: std::str::FromStr + Copy + PartialEq>(
    text: &str,
    next: impl Fn(T) -> Option<T>,
) -> Option<Pair<T>> {
    let (media, reports) = match text.split_once('-') {
        Some((media, reports)) => (media.parse().ok()?, reports.parse().ok()?),
        None => {
            let media = text.parse().ok()?;
            (media, next(media)?)
        }
    };
    (media != reports).then_some(Pair { media, reports })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_first_transport_that_is_known_is_taken() {
        let channels = |media, reports| Some(Transport::Interleaved(Some(Pair { media, reports })));
        let ports = |media, reports| Some(Transport::Udp(Pair { media, reports }));
        for (header, wanted) in [
            ("RTP/AVP/TCP;unicast;interleaved=2-3", channels(2, 3)),
            ("RTP/AVP/TCP;interleaved=4;mode=\"PLAY\"", channels(4, 5)),
            ("RTP/AVP/TCP;unicast", Some(Transport::Interleaved(None))),
            ("RTP/AVP/UDP;unicast;client_port=5000-5001;mode=record", ports(5000, 5001)),
            (
                "RTP/AVP;multicast, RTP/SAVP;client_port=1-2, RTP/AVP;unicast;client_port=7",
                ports(7, 8),
            ),
            ("RTP/AVP;unicast;client_port=65535", None),
            ("RTP/AVP;unicast;client_port=0-1", None),
            ("RTP/AVP;unicast", None),
            ("RTP/AVP/TCP;interleaved=255", None),
            ("RTP/AVP/TCP;interleaved=1-1", None),
            ("", None),
        ] {
            assert_eq!(Transport::choose(header), wanted, "{header}");
        }
    }

    proptest! {
        #[test]
        fn any_header_is_read_or_refused(header in "(RTP/AVP(/TCP)?|;|,|client_port=|interleaved=|[0-9]{1,6}|-|\"){0,12}") {
            let _ = Transport::choose(&header);
        }
    }
}
