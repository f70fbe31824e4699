//! Units in, boxes out: where is cut, and what players read in it.

use super::*;
use crate::codecs::Codec;
use crate::unit::{AudioCodec, AudioFormat, Track, Unit};
use mp4_atom::{Any, Decode, DecodeMaybe, Moof, Moov};
use std::io::Cursor;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// As x264 writes them, for 64x48 and 128x96.
const SMALL: &[u8] = &[
    0x67, 0x42, 0xc0, 0x0a, 0xda, 0x11, 0xec, 0x04, 0x40, 0x00, 0x00, 0x03, 0x00, 0x40, 0x00, 0x00,
    0x0f, 0x23, 0xc4, 0x89, 0xa8,
];
const LARGE: &[u8] = &[
    0x67, 0x42, 0xc0, 0x0a, 0xda, 0x08, 0x36, 0xc0, 0x44, 0x00, 0x00, 0x03, 0x00, 0x04, 0x00, 0x00,
    0x03, 0x00, 0xf2, 0x3c, 0x48, 0x9a, 0x80,
];
const PICTURE: &[u8] = &[0x68, 0xce, 0x0f, 0xc8];

const CUTS: Cuts =
    Cuts { part: CLOCK as u64 / 4, segment: CLOCK as u64, longest_frame: CLOCK as u64 };

fn unit(track: Track, data: Vec<u8>, is_key_frame: bool, time: Duration) -> Unit {
    let shown_at = Instant::now();
    Unit { path: 1, track, data: data.into(), is_key_frame, shown_at, time }
}

fn frame(millis: u64, is_key: bool, sequence: &[u8]) -> Unit {
    let picture = [&[0, 0, 0, 1, if is_key { 0x65 } else { 0x41 }][..], &[9; 50]].concat();
    let sets = [&[0, 0, 0, 1][..], sequence, &[0, 0, 0, 1], PICTURE].concat();
    let data = if is_key { [sets, picture].concat() } else { picture };
    unit(Track::Video(Codec::H264), data, is_key, Duration::from_millis(millis))
}

fn sound(millis: u64) -> Unit {
    let config = [0x11, 0x90].into();
    let format = AudioFormat { codec: AudioCodec::Aac, rate: 48_000, channels: 2, config };
    let track = Track::Audio(Arc::new(format));
    unit(track, vec![5; 30], true, Duration::from_millis(millis))
}

/// What comes out in words, and the parts.
fn cut(cutter: &mut Cutter, units: impl IntoIterator<Item = Unit>) -> (Vec<String>, Vec<Part>) {
    let (mut words, mut parts) = (Vec::new(), Vec::new());
    for made in units.into_iter().flat_map(|unit| cutter.push(&unit)) {
        words.push(match made {
            Made::Init(init) => init.codecs.clone(),
            Made::SegmentEnd => "end".to_owned(),
            Made::Part(part) => {
                let key = if part.is_independent { " key" } else { "" };
                let word = format!("{}ms{key}", part.ticks * 1000 / u64::from(CLOCK));
                parts.push(part);
                word
            }
        });
    }
    (words, parts)
}

fn boxes(part: &Part) -> (Moof, Vec<u8>) {
    let mut cursor = Cursor::new(&part.data[..]);
    let moof = Moof::decode(&mut cursor).unwrap();
    let Some(Any::Mdat(mdat)) = Any::decode_maybe(&mut cursor).unwrap() else { panic!("no mdat") };
    (moof, mdat.data)
}

#[test]
fn parts_have_a_quarter_of_a_second_and_segments_begin_with_key_frames() {
    let mut cutter = Cutter::new(CUTS);
    // At 25 frames a second, a key frame each second and one that came early.
    let frames = (0..60).map(|n| frame(n * 40, n % 25 == 0 || n == 30, SMALL));
    let (words, _) = cut(&mut cutter, frames);
    let second = ["240ms key", "240ms", "240ms", "240ms", "40ms", "end"];
    assert_eq!(words[0], "avc1.42c00a");
    assert_eq!(words[1..7], second);
    assert_eq!(words[7..13], second);
}

#[test]
fn a_fragment_holds_its_samples_and_says_where_they_are() {
    let mut cutter = Cutter::new(CUTS);
    let units = (0..20).flat_map(|n| [frame(5000 + n * 40, n == 0, SMALL), sound(5000 + n * 40)]);
    let (words, parts) = cut(&mut cutter, units);
    assert_eq!(words[0], "avc1.42c00a,mp4a.40.2");
    let (moof, data) = boxes(&parts[1]);
    let times: Vec<_> =
        moof.traf.iter().map(|t| t.tfdt.as_ref().unwrap().base_media_decode_time).collect();
    // A run begins at 0; audio may lie some milliseconds beside.
    assert_eq!(times[0], 240);
    assert!(times[1].abs_diff(240 * 48) < 48 * 45, "{times:?}");
    let sizes = |index: usize| -> Vec<u32> {
        moof.traf[index].trun[0].samples.iter().map(|sample| sample.size.unwrap()).collect()
    };
    assert_eq!(sizes(0), [55; 6]);
    assert!(sizes(1).iter().all(|size| *size == 30));
    let header = parts[1].data.len() - data.len();
    let offset = |index: usize| moof.traf[index].trun[0].data_offset.unwrap() as usize - header;
    assert_eq!((offset(0), &data[..5]), (0, &[0, 0, 0, 51, 0x41][..]));
    assert_eq!((offset(1), data[offset(1)]), (55 * 6, 5));
}

#[test]
fn other_parameter_sets_audio_that_comes_and_goes_and_a_pause_begin_runs_anew() {
    let mut cutter = Cutter::new(CUTS);
    let inits = |cutter: &mut Cutter, units: Vec<Unit>| {
        let (words, _) = cut(cutter, units);
        words.into_iter().filter(|word| word.starts_with("avc1")).collect::<Vec<_>>()
    };
    let video = |from: u64, key_at: u64, sets: &[u8]| -> Vec<Unit> {
        (0..10).map(|n| frame(from + n * 40, n == key_at, sets)).collect()
    };
    assert_eq!(inits(&mut cutter, video(0, 0, SMALL)), ["avc1.42c00a"]);
    assert_eq!(inits(&mut cutter, video(400, 0, SMALL)), [""; 0], "the same again");
    assert_eq!(inits(&mut cutter, video(800, 3, LARGE)), ["avc1.42c00a"], "another size");
    let with_sound = |from: u64, key_at: u64| -> Vec<Unit> {
        video(from, key_at, LARGE)
            .into_iter()
            .flat_map(|f| [sound(f.time.as_millis() as u64), f])
            .collect()
    };
    assert_eq!(inits(&mut cutter, with_sound(1200, 20)), [""; 0], "sound waits for a key frame");
    assert!(cutter.wants_key_frame(&frame(1600, false, SMALL)));
    assert!(!cutter.wants_key_frame(&frame(1640, false, SMALL)), "asked for once");
    assert_eq!(inits(&mut cutter, with_sound(1600, 1)), ["avc1.42c00a,mp4a.40.2"]);
    assert_eq!(inits(&mut cutter, video(2000, 20, LARGE)), [""; 0]);
    assert_eq!(inits(&mut cutter, video(3200, 0, LARGE)), ["avc1.42c00a"], "the sound is gone");
    // After a pause nothing is taken before a key frame.
    let (words, _) = cut(&mut cutter, video(9000, 5, LARGE));
    assert_eq!(words.iter().filter(|word| *word == "end").count(), 1, "{words:?}");
    assert_eq!(inits(&mut cutter, video(9400, 20, LARGE)), ["avc1.42c00a"]);
}

#[test]
fn frames_within_a_thousandth_are_all_there() {
    let mut cutter = Cutter::new(CUTS);
    let frames = [0, 40, 40, 40, 80, 120, 160, 200, 240, 280].map(|at| frame(at, at == 0, SMALL));
    let (words, parts) = cut(&mut cutter, frames);
    assert_eq!(words, ["avc1.42c00a", "240ms key"]);
    assert_eq!(boxes(&parts[0]).0.traf[0].trun[0].samples.iter().count(), 8);
}

#[test]
fn a_recording_goes_on_after_a_pause() {
    let cuts = Cuts { part: CLOCK.into(), segment: u64::MAX, longest_frame: u64::MAX };
    let mut cutter = Cutter::new(cuts);
    let frames = [0, 40, 80, 5000, 5040].map(|millis| frame(millis, millis == 0, SMALL));
    let (words, _) = cut(&mut cutter, frames);
    assert_eq!(words, ["avc1.42c00a", "5000ms key", "end"]);
}

#[test]
fn what_was_begun_is_handed_over_at_the_end() {
    let mut cutter =
        Cutter::new(Cuts { part: CLOCK.into(), segment: u64::MAX, longest_frame: u64::MAX });
    let (words, _) = cut(&mut cutter, (0..5).map(|n| frame(n * 40, n == 0, SMALL)));
    assert_eq!(words, [""; 0]);
    let rest = cutter.finish();
    let Made::Part(part) = &rest[1] else { panic!("{rest:?}") };
    assert_eq!(part.ticks, 4 * 40 + 33);
}

#[test]
fn the_init_segment_tells_the_pictures_size_and_the_decoders_needs() {
    let mut cutter = Cutter::new(CUTS);
    let units = (0..8).flat_map(|n| [frame(n * 40, n == 0, SMALL), sound(n * 40)]);
    let made: Vec<_> = units.flat_map(|unit| cutter.push(&unit)).collect();
    let Made::Init(init) = &made[0] else { panic!("{made:?}") };
    assert_eq!(init.size.to_string(), "64x48");
    let mut cursor = Cursor::new(&init.bytes[..]);
    mp4_atom::Ftyp::decode(&mut cursor).unwrap();
    let moov = Moov::decode(&mut cursor).unwrap();
    let codecs: Vec<_> = moov.trak.iter().map(|t| &t.mdia.minf.stbl.stsd.codecs[0]).collect();
    let mp4_atom::Codec::Avc1(video) = codecs[0] else { panic!("{codecs:?}") };
    assert_eq!((&video.avcc.sequence_parameter_sets[0][..], video.visual.width), (SMALL, 64));
    let mp4_atom::Codec::Mp4a(audio) = codecs[1] else { panic!("{codecs:?}") };
    let specific = audio.esds.es_desc.dec_config.dec_specific.as_ref().unwrap();
    assert_eq!(specific.raw, [0x11, 0x90]);
    assert_eq!((moov.trak[1].mdia.mdhd.timescale, moov.mvex.unwrap().trex.len()), (48_000, 2));
}
