//! What the playlists say while segments come and go.

use super::*;
use crate::fmp4::Init;
use expect_test::{Expect, expect};
use host_ports::FrameSize;
use proptest::prelude::*;

const SECOND: u64 = CLOCK as u64;

fn init(codecs: &str) -> Made {
    Made::Init(Arc::new(Init {
        bytes: codecs.as_bytes().into(),
        parameter_sets: Default::default(),
        audio: None,
        size: FrameSize::new(512, 256),
        codecs: codecs.to_owned(),
    }))
}

fn part(ticks: u64, is_independent: bool) -> Made {
    Made::Part(Part { data: vec![7; 1000].into(), ticks, is_independent })
}

fn new() -> Playlist {
    let mut playlist = Playlist::new("tag".to_owned(), Numbers::default());
    playlist.take(init("avc1.42c01f"));
    playlist
}

/// A segment of a second.
fn add_segment(playlist: &mut Playlist) {
    for index in 0..4 {
        playlist.take(part(SECOND / 4, index == 0));
    }
    playlist.take(Made::SegmentEnd);
}

fn add_segments(playlist: &mut Playlist, count: usize) {
    (0..count).for_each(|_| add_segment(playlist));
}

fn check(playlist: &Playlist, wanted: Expect) {
    wanted.assert_eq(&playlist.text());
}

fn line(text: &str, tag: &str) -> String {
    let found = text.lines().find_map(|line| line.strip_prefix(tag));
    found.unwrap_or_else(|| panic!("no {tag} in {text}")).to_owned()
}

#[test]
fn parts_are_named_as_they_come_and_the_next_one_is_announced() {
    let mut playlist = new();
    add_segment(&mut playlist);
    playlist.take(part(SECOND / 4, true));
    check(
        &playlist,
        expect![[r#"
            #EXTM3U
            #EXT-X-VERSION:9
            #EXT-X-TARGETDURATION:2
            #EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=1.000
            #EXT-X-PART-INF:PART-TARGET=0.250
            #EXT-X-MEDIA-SEQUENCE:0
            #EXT-X-DISCONTINUITY-SEQUENCE:0
            #EXT-X-MAP:URI="tag_init0.mp4"
            #EXT-X-PART:DURATION=0.250,URI="tag_part0.mp4",INDEPENDENT=YES
            #EXT-X-PART:DURATION=0.250,URI="tag_part1.mp4"
            #EXT-X-PART:DURATION=0.250,URI="tag_part2.mp4"
            #EXT-X-PART:DURATION=0.250,URI="tag_part3.mp4"
            #EXTINF:1.000,
            tag_seg0.mp4
            #EXT-X-PART:DURATION=0.250,URI="tag_part4.mp4",INDEPENDENT=YES
            #EXT-X-PRELOAD-HINT:TYPE=PART,URI="tag_part5.mp4"
        "#]],
    );
    assert!(playlist.is_next("tag_part5.mp4") && playlist.find("tag_part5.mp4").is_none());
    assert!(!playlist.is_next("tag_part6.mp4") && playlist.find("tag_part4.mp4").is_some());
}

#[test]
fn nothing_is_offered_before_the_first_whole_segment() {
    let mut playlist = new();
    playlist.take(part(SECOND / 4, true));
    assert!(!playlist.is_ready());
    playlist.take(Made::SegmentEnd);
    assert!(playlist.is_ready());
}

#[test]
fn another_init_segment_is_a_discontinuity() {
    let mut playlist = new();
    add_segment(&mut playlist);
    playlist.take(init("avc1.42c01f,mp4a.40.2"));
    playlist.take(part(SECOND / 4, true));
    let text = playlist.text();
    let tail: Vec<_> = text.lines().skip_while(|line| *line != "tag_seg0.mp4").collect();
    assert_eq!(
        tail[1..4],
        [
            "#EXT-X-DISCONTINUITY",
            "#EXT-X-MAP:URI=\"tag_init1.mp4\"",
            "#EXT-X-PART:DURATION=0.250,URI=\"tag_part4.mp4\",INDEPENDENT=YES",
        ]
    );
    let multivariant = playlist.multivariant().unwrap();
    assert!(multivariant.contains("CODECS=\"avc1.42c01f,mp4a.40.2\",RESOLUTION=512x256"));
    assert_eq!(&*playlist.find("tag_init0.mp4").unwrap(), b"avc1.42c01f");
}

#[test]
fn the_window_moves_and_keeps_what_older_playlists_name() {
    let mut playlist = new();
    add_segments(&mut playlist, 2);
    playlist.take(init("other"));
    add_segments(&mut playlist, 28);
    let text = playlist.text();
    assert_eq!(line(&text, "#EXT-X-MEDIA-SEQUENCE:"), "22");
    assert_eq!(text.matches("#EXTINF").count(), 8);
    // The last three with their parts.
    assert_eq!(text.matches("#EXT-X-PART:").count(), 12);
    assert_eq!(line(&text, "#EXT-X-DISCONTINUITY-SEQUENCE:"), "1");
    assert_eq!(playlist.segments.len(), 8 + UNLISTED);
    assert!(playlist.find("tag_seg20.mp4").is_some() && playlist.find("tag_seg19.mp4").is_none());
    assert_eq!(playlist.find("tag_seg29.mp4").unwrap().len(), 4000);
}

#[test]
fn discontinuities_keep_their_numbers_while_they_leave_the_window() {
    let mut playlist = new();
    let mut last = 0;
    for count in 0..40 {
        if count % 3 == 0 {
            playlist.take(init("next"));
        }
        add_segment(&mut playlist);
        let text = playlist.text();
        // Of the newest segment: those before the first and those listed.
        let before: u64 = line(&text, "#EXT-X-DISCONTINUITY-SEQUENCE:").parse().unwrap();
        let number = before + text.matches("#EXT-X-DISCONTINUITY\n").count() as u64;
        assert_eq!(number, count / 3, "segment {count}");
        assert!(number >= last);
        last = number;
    }
}

#[test]
fn memory_has_a_bound_whatever_the_encoder_makes() {
    let mut playlist = new();
    for _ in 0..8 {
        let data = vec![0; MOST_BYTES / 3].into();
        playlist.take(Made::Part(Part { data, ticks: SECOND, is_independent: true }));
        playlist.take(Made::SegmentEnd);
        assert!(playlist.bytes() <= MOST_BYTES);
    }
}

#[test]
fn a_blocking_reload_waits_for_its_part_or_what_takes_its_place() {
    let mut playlist = new();
    add_segment(&mut playlist);
    playlist.take(part(SECOND / 4, true));
    let has = |playlist: &Playlist, segment, part| playlist.has(Awaited { segment, part });
    assert!(has(&playlist, 0, None) && has(&playlist, 0, Some(3)) && has(&playlist, 1, Some(0)));
    // Segment 0 has no part 4: what follows it is the first of the next.
    assert!(has(&playlist, 0, Some(4)));
    assert!(!has(&playlist, 1, Some(1)) && !has(&playlist, 1, None) && !has(&playlist, 2, None));
    playlist.take(Made::SegmentEnd);
    assert!(has(&playlist, 1, None) && !has(&playlist, 1, Some(1)));
    playlist.take(part(SECOND / 4, true));
    assert!(has(&playlist, 1, Some(1)) && has(&playlist, 2, Some(0)));
    let may = |segment, part| playlist.may_wait_for(Awaited { segment, part });
    assert!(may(2, None) && may(4, Some(0)) && !may(5, None) && !may(2, Some(100)));
}

#[test]
fn the_next_playlist_of_a_stream_goes_on_with_the_numbers() {
    let mut playlist = new();
    add_segments(&mut playlist, 3);
    playlist.take(init("other"));
    add_segments(&mut playlist, 2);
    playlist.clear();
    assert!(!playlist.is_ready() && playlist.find("tag_seg4.mp4").is_none());
    let mut next = Playlist::new("new".to_owned(), playlist.numbers());
    next.take(init("avc1.42c01f"));
    add_segment(&mut next);
    let text = next.text();
    assert_eq!(line(&text, "#EXT-X-MEDIA-SEQUENCE:"), "5");
    assert_eq!(line(&text, "#EXT-X-DISCONTINUITY-SEQUENCE:"), "2");
    assert!(next.find("new_seg5.mp4").is_some() && next.find("tag_seg5.mp4").is_none());
}

proptest! {
    #[test]
    fn any_name_is_looked_up(kind in "[a-z]{0,5}", number in "[0-9+-]{0,25}", rest in ".{0,8}") {
        let mut playlist = new();
        add_segment(&mut playlist);
        for name in [format!("tag_{kind}{number}.mp4"), format!("tag_{kind}{number}{rest}"), rest] {
            if playlist.find(&name).is_some() {
                prop_assert!(name.starts_with("tag_") && name.ends_with(".mp4"), "{name}");
            }
        }
    }
}

#[test]
fn only_names_as_they_are_written_mean_anything() {
    let mut playlist = new();
    add_segment(&mut playlist);
    let odd = [
        "tag_seg00.mp4",
        "tag_seg.mp4",
        "tag_seg-1.mp4",
        "tag_seg0",
        "seg0.mp4",
        "tag_other0.mp4",
        "",
        "tag_seg99999999999999999999999.mp4",
        "tag_ség0.mp4",
        "tag_seg0.mp4/",
        "tag_seg+0.mp4",
    ];
    for name in odd {
        assert!(playlist.find(name).is_none() && !playlist.is_next(name), "{name:?}");
    }
}
