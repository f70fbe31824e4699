//! An offer of a publisher and of a reader. What is answered is answered section by section.

use host_media::fuzzing::{Negotiator, PANICKED};
use host_ports::OfferError;
use std::sync::OnceLock;

pub const WORDS: &[&str] = &[
    "v=0\r\n",
    "m=video 9 UDP/TLS/RTP/SAVPF 96 97\r\n",
    "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n",
    "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n",
    "m=video 0 UDP/TLS/RTP/SAVPF 96\r\na=bundle-only\r\n",
    "a=group:BUNDLE 0 1\r\n",
    "a=mid:0\r\n",
    "a=mid:\r\n",
    "a=sendonly\r\n",
    "a=recvonly\r\n",
    "a=inactive\r\n",
    "a=rtpmap:96 H264/90000\r\n",
    "a=rtpmap:96 VP8/90000\r\n",
    "a=rtpmap:97 rtx/90000\r\n",
    "a=fmtp:97 apt=96\r\n",
    "a=fmtp:97 apt=97\r\n",
    "a=fmtp:96 packetization-mode=1;profile-level-id=42e01f\r\n",
    "a=fmtp:96 profile-level-id=ffffffff\r\n",
    "a=fingerprint:sha-256 00\r\n",
    "a=fingerprint:sha-1 00:00\r\n",
    "a=setup:active\r\n",
    "a=setup:passive\r\n",
    "a=setup:holdconn\r\n",
    "a=ice-ufrag:a\r\n",
    "a=ice-pwd:a\r\n",
    "a=ssrc:1 cname:a\r\n",
    "a=ssrc-group:FID 1 2\r\n",
    "a=extmap:0 a\r\n",
    "a=extmap:15 urn:ietf:params:rtp-hdrext:sdes:mid\r\n",
    "a=rtcp-fb:* nack pli\r\n",
    "\t",
    "\u{85}",
    "\r",
    " ",
    "128",
    "255",
    "4294967296",
];

/// What the answer says of itself, of its addresses and of one section, beside what the offer said.
const OWN_BYTES: usize = 16 << 10;

pub fn sdp(data: &[u8]) -> bool {
    let offer = String::from_utf8_lossy(data);
    let negotiator = negotiator();
    let is_published = check(&offer, negotiator.publish(&offer));
    check(&offer, negotiator.play(&offer)) || is_published
}

fn negotiator() -> &'static Negotiator {
    static NEGOTIATOR: OnceLock<Negotiator> = OnceLock::new();
    NEGOTIATOR.get_or_init(|| Negotiator::new().expect("there are codecs"))
}

/// Whether there is an answer.
fn check(offer: &str, answer: Result<String, OfferError>) -> bool {
    let is_answered = answer.is_ok();
    match answer {
        Ok(answer) => check_answer(offer, &answer),
        Err(OfferError::Invalid { reason }) => {
            assert_ne!(reason, PANICKED);
            check_text(&reason);
        }
        Err(error @ OfferError::NoCommonCodec { .. }) => check_text(&error.to_string()),
        Err(error) => panic!("no reason to refuse it: {error}"),
    }
    is_answered
}

/// The API cuts what is longer; this is about what may be in the log.
fn check_text(reason: &str) {
    assert!(!reason.contains(char::is_control), "control characters in {reason:?}");
}

fn check_answer(offer: &str, answer: &str) {
    let limit = 3 * offer.len() + OWN_BYTES;
    assert!(answer.len() <= limit, "{} bytes, at most {limit}", answer.len());
    assert!(answer.starts_with("v=0\r\n") && answer.ends_with("\r\n"), "{answer}");
    let lines: Vec<_> = answer.split_terminator("\r\n").collect();
    for line in &lines {
        assert!(!line.contains(char::is_control), "control characters in {line:?}");
        assert!(line.as_bytes().get(1) == Some(&b'='), "no line of SDP: {line:?}");
    }
    let kinds = |lines: &[&str]| -> Vec<String> {
        let described = lines.iter().filter_map(|line| line.strip_prefix("m="));
        described
            .map(|line| line.split_ascii_whitespace().next().unwrap_or_default().to_owned())
            .collect()
    };
    let offered: Vec<_> = offer.split(['\r', '\n']).collect();
    assert_eq!(kinds(&lines), kinds(&offered), "m-lines of {answer}");
}
