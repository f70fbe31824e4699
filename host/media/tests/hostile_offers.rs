//! Offers come from anyone: whatever they contain is answered or refused with a reason, and never a panic.

#![allow(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

mod support;

use host_ports::{Answer, FrameSize, MediaPath, OfferError};
use proptest::prelude::*;
use std::sync::LazyLock;
use support::{Pixels, Server};

const PUBLISH: &str = include_str!("offers/chromium-publish.sdp");
const PLAY: &str = include_str!("offers/chromium-play.sdp");

type Answered = Result<Answer, OfferError>;

fn publish(offer: &str) -> Answered {
    on_the_path(|path| path.publish(offer))
}

fn play(offer: &str) -> Answered {
    on_the_path(|path| path.play(offer))
}

/// Each case has a path of its own, whose session never connects: only so many may be connecting to one at once, and one
/// more is refused however good its offer is.
fn on_the_path(case: impl FnOnce(&dyn MediaPath) -> Answered) -> Answered {
    static SERVER: LazyLock<Server> = LazyLock::new(Server::start);
    let (path, _events) = SERVER.echo(FrameSize::new(64, 64));
    path.show(Pixels::plain(FrameSize::new(64, 64), 90));
    case(&*path).inspect(|answer| assert!(path.hang_up(&answer.session)))
}

fn reason(refused: Result<Answer, OfferError>) -> String {
    match refused {
        Err(OfferError::Invalid { reason }) => reason,
        other => panic!("must be refused as invalid, is {other:?}"),
    }
}

#[test]
fn a_browsers_offer_is_answered_section_by_section() {
    let answer = publish(PUBLISH).unwrap().sdp;
    let sections: Vec<_> = answer.split("\r\nm=").collect();
    assert_eq!(sections.len(), 3, "{answer}");
    assert!(
        sections[0].contains("a=ice-lite") && sections[0].contains("a=group:BUNDLE 0 1"),
        "{answer}"
    );
    assert!(sections[1].starts_with("video 9 ") && sections[1].contains("a=recvonly"), "{answer}");
    assert!(sections[1].contains("H264/90000") && !sections[1].contains("VP8"), "{answer}");
    assert!(sections[1].contains(" udp ") && sections[1].contains(" tcptype passive"), "{answer}");
    assert!(sections[2].starts_with("audio 9 ") && sections[2].contains("a=recvonly"), "{answer}");
    assert!(sections[2].contains("a=rtpmap:111 opus/48000/2"), "{answer}");
    assert!(!sections[2].contains("PCMU") && !sections[2].contains("G722"), "{answer}");
    assert!(sections[2].contains("useinbandfec=1") && sections[2].contains("stereo=1"), "{answer}");
}

#[test]
fn a_reader_is_answered_with_audio_and_video_of_one_stream() {
    let answer = play(PLAY).unwrap().sdp;
    let sections: Vec<_> = answer.split("\r\nm=").collect();
    assert!(sections[1].starts_with("audio 9 ") && sections[1].contains("a=sendonly"), "{answer}");
    assert!(sections[1].contains("opus/48000/2"), "{answer}");
    let streams: Vec<_> = answer.lines().filter_map(|line| line.split_once("msid:")).collect();
    let stream = streams[0].1.split(' ').next().unwrap();
    assert!(streams.len() >= 4, "in each section, and of each source: {answer}");
    assert!(streams.iter().all(|(_, ids)| ids.starts_with(stream)), "{answer}");
    assert!(answer.contains(&format!("a=msid-semantic: WMS {stream}\r\n")), "{answer}");
}

/// The answer to an offer of a publisher or of a reader.
fn answer_to(offer: &str) -> String {
    publish(offer).or_else(|_| play(offer)).unwrap().sdp
}

/// Audio of no use is not in use in the answer; video is.
fn check_no_audio(offer: &str) {
    let answer = answer_to(offer);
    assert!(answer.contains("a=inactive"), "{answer}");
    assert!(["a=recvonly", "a=sendonly"].iter().any(|used| answer.contains(used)), "{answer}");
    assert_eq!(answer.matches("a=msid:").count(), 1, "{answer}");
}

#[test]
fn audio_that_cannot_be_had_costs_no_video() {
    for (offer, direction) in [(PUBLISH, "a=sendonly"), (PLAY, "a=recvonly")] {
        check_no_audio(&offer.replace("opus/48000/2", "opus/16000"));
        check_no_audio(&offer.replace("opus/48000/2", "speex/8000"));
        let (_, section) = offer.split_once("m=audio").unwrap();
        let other_way = section.replacen(direction, "a=inactive", 1);
        check_no_audio(&offer.replace(section, &other_way));
        // The payload type that video has.
        let answer = answer_to(offer);
        let (_, video) = answer.split_once("m=video 9 UDP/TLS/RTP/SAVPF ").unwrap();
        let number = video.split([' ', '\r']).next().unwrap();
        let taken = section
            .replace("SAVPF 111 ", &format!("SAVPF {number} "))
            .replace(":111 opus", &format!(":{number} opus"));
        check_no_audio(&offer.replace(section, &taken));
    }
}

#[test]
fn audio_alone_is_refused() {
    let without = |offer: &str| offer.replacen("m=video ", "m=application ", 1);
    assert!(reason(publish(&without(PUBLISH))).contains("no video section that is sendonly"));
    assert!(reason(play(&without(PLAY))).contains("no video section that is recvonly"));
}

#[test]
fn a_readers_answer_has_candidates_first() {
    let answer = play(PLAY).unwrap().sdp;
    let sections: Vec<_> = answer.split("\r\nm=").collect();
    assert!(
        sections[1].contains("a=candidate:") && !sections[2].contains("a=candidate:"),
        "{answer}"
    );
    assert!(sections[1].contains("a=fingerprint:"), "{answer}");
    assert!(sections[2].contains("a=sendonly") && sections[2].contains("a=msid:"), "{answer}");
    assert!(sections[2].contains("profile-level-id=42e01f"), "{answer}");
    assert!(sections[2].contains("playout-delay"), "{answer}");
}

#[test]
fn sections_on_a_transport_of_their_own_are_rejected() {
    let offer: String = PUBLISH
        .lines()
        .filter(|line| !line.starts_with("a=group:"))
        .flat_map(|line| [line, "\r\n"])
        .collect();
    let answer = publish(&offer).unwrap().sdp;
    assert!(!answer.contains("a=group:") && answer.contains("m=audio 0 "), "{answer}");
}

#[test]
fn neither_an_answer_nor_a_refusal_repeats_a_tab() {
    let offer = PUBLISH.replace("opus/48000", "opus\t/48000").replace("a=mid:1", "a=mid:1\tb");
    let answer = publish(&offer).unwrap().sdp;
    assert!(!answer.contains('\t') && answer.contains("m=audio"), "{answer}");
    let offer = PLAY.replace("opus/48000", "opus\t/48000");
    let answer = play(&offer).unwrap().sdp;
    assert!(!answer.contains('\t') && answer.contains("opus /48000"), "{answer}");
    let unknown =
        PUBLISH.replace("H264/", "H265\t/").replace("VP8/", "H266/").replace("VP9/", "AV1/");
    let refusal = publish(&unknown).unwrap_err().to_string();
    assert!(!refusal.contains('\t') && refusal.contains("H265 "), "{refusal:?}");
}

#[test]
fn refusals_say_what_is_wrong() {
    assert!(reason(publish("")).contains("v=0"));
    assert!(reason(publish("hello")).contains("v=0"));
    assert!(reason(publish("v=0\r\n")).contains("no video section that is sendonly"));
    assert!(reason(publish(PLAY)).contains("no video section that is sendonly"));
    assert!(reason(play(PUBLISH)).contains("no video section that is recvonly"));
    assert!(reason(publish(&PUBLISH.replacen("s=-", "s=\0", 1))).contains("control character"));
    assert!(reason(publish(&PUBLISH.replace("a=ice-pwd:", "a=x:"))).contains("a=ice-pwd"));
    assert!(reason(publish(&PUBLISH.replace("a=fingerprint:", "a=x:"))).contains("a=fingerprint"));
    assert!(
        reason(publish(&PUBLISH.replace("a=mid:0", "a=mid:a-name-of-too-many-bytes")))
            .contains("a=mid")
    );
    assert!(reason(publish(&PUBLISH.replace("a=mid:1", "a=mid:0"))).contains("the same a=mid:0"));
    assert!(
        reason(publish(&format!("{PUBLISH}{}", "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\n".repeat(300))))
            .contains("m-lines")
    );
    assert!(reason(publish(&format!("{PUBLISH}{}", "a=x\r\n".repeat(5000)))).contains("lines"));
    assert!(
        reason(publish(&format!("{PUBLISH}a=x:{}\r\n", "y".repeat(100_000)))).contains("bytes")
    );
    assert!(reason(publish(&PUBLISH.replacen("m=video", "m=", 1))).contains("video"));
}

#[test]
fn a_reader_is_told_which_codecs_there_are() {
    let refused =
        play(&PLAY.replace("H264/", "H263/").replace("VP8/", "H266/").replace("VP9/", "AV1/"))
            .unwrap_err();
    let OfferError::NoCommonCodec { doing, supported, offered } = refused else {
        panic!("{refused:?}")
    };
    assert_eq!((doing, supported.as_str()), ("encode", "H264, VP8, VP9, H265"));
    assert!(
        offered.contains("H266") && offered.contains("AV1") && !offered.contains("rtx"),
        "{offered}"
    );
}

#[test]
fn vp8_is_taken_where_h264_cannot_be_cut_into_packets() {
    let answer = play(&PLAY.replace("packetization-mode=1", "packetization-mode=0")).unwrap().sdp;
    assert!(answer.contains("VP8/90000") && !answer.contains("H264"), "{answer}");
}

/// Damages an offer: bytes, lines, numbers.
#[derive(Clone, Debug)]
enum Damage {
    Byte(usize, u8),
    DropLine(usize),
    RepeatLine(usize, usize),
    SwapLines(usize, usize),
    Number(usize, String),
}

fn damage() -> impl Strategy<Value = Damage> {
    let numbers = prop::sample::select(vec![
        "-1",
        "0",
        "65536",
        "4294967296",
        "99999999999999999999",
        "1e9",
        "",
    ]);
    prop_oneof![
        (any::<usize>(), any::<u8>()).prop_map(|(at, byte)| Damage::Byte(at, byte)),
        any::<usize>().prop_map(Damage::DropLine),
        (any::<usize>(), 1..40usize).prop_map(|(at, times)| Damage::RepeatLine(at, times)),
        (any::<usize>(), any::<usize>()).prop_map(|(one, other)| Damage::SwapLines(one, other)),
        (any::<usize>(), numbers).prop_map(|(at, number)| Damage::Number(at, number.to_owned())),
    ]
}

fn apply(offer: &str, damage: &Damage) -> String {
    let mut lines: Vec<String> = offer.split("\r\n").map(str::to_owned).collect();
    let count = lines.len();
    match damage {
        Damage::Byte(at, byte) => {
            let mut bytes = offer.as_bytes().to_vec();
            if let Some(place) = bytes.len().checked_sub(1) {
                bytes[at % (place + 1)] = *byte;
            }
            return String::from_utf8_lossy(&bytes).into_owned();
        }
        Damage::DropLine(at) => drop(lines.remove(at % count)),
        Damage::RepeatLine(at, times) => {
            let line = lines[at % count].clone();
            lines.extend(std::iter::repeat_n(line, *times));
        }
        Damage::SwapLines(one, other) => lines.swap(one % count, other % count),
        Damage::Number(at, number) => {
            let line = &mut lines[at % count];
            *line = line
                .chars()
                .map(|c| if c.is_ascii_digit() { number.clone() } else { c.to_string() })
                .collect();
        }
    }
    lines.join("\r\n")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn damaged_offers_are_answered_or_refused(
        damages in prop::collection::vec(damage(), 1..12),
        is_publisher in any::<bool>(),
    ) {
        let whole = if is_publisher { PUBLISH } else { PLAY };
        let offer = damages.iter().fold(whole.to_owned(), |offer, damage| apply(&offer, damage));
        match if is_publisher { publish(&offer) } else { play(&offer) } {
            Ok(answer) => prop_assert!(answer.sdp.starts_with("v=0\r\n")),
            Err(OfferError::Invalid { reason }) => prop_assert!(!reason.contains("understood"), "a panic: {reason}"),
            Err(OfferError::NoCommonCodec { .. } | OfferError::Unavailable { .. }) => {}
            Err(error) => prop_assert!(false, "{error}"),
        }
    }
}
