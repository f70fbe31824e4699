//! Tones through every pair of elements that this machine has, and what is heard of them.

use super::super::codecs::AudioCodecs;
use super::super::evenly::time_of;
use super::*;
use std::f64::consts::TAU;
use std::sync::mpsc;

const MS: Nanos = 1_000_000;
const RATE_F: f64 = RATE as f64;

/// Where the publisher's clock stands when its sound begins.
const BEGAN: Nanos = 3_600_000 * MS;

fn codecs() -> AudioCodecs {
    gst::init().unwrap();
    AudioCodecs::among(|name| gst::ElementFactory::find(name).is_some())
}

/// A tone of so many Hz after so much silence, both in ms.
pub fn tone(hertz: f64, silence: usize, sound: usize) -> Vec<i16> {
    let wave = |sample: usize| (TAU * hertz * sample as f64 / RATE_F).sin() * 12_000.0;
    let silence = vec![0; silence * 48];
    silence.into_iter().chain((0..sound * 48).map(|sample| wave(sample) as i16)).collect()
}

/// Sound, of both channels alike, as a publisher with this encoder sends it.
pub fn encode(element: &AudioElement, sound: &[i16]) -> Vec<Packet> {
    let mut encoding = Encoding::start(element, BEGAN).unwrap();
    let mut packets = Vec::new();
    for chunk in sound.chunks(480) {
        let bytes: Vec<_> =
            chunk.iter().flat_map(|s| [s.to_le_bytes(), s.to_le_bytes()].concat()).collect();
        let theirs = BEGAN + encoding.run.time_of_last(0);
        let placed = encoding.run.place(theirs, &bytes).unwrap();
        encoding.encode(placed, &mut |packet| packets.push(packet)).unwrap();
    }
    packets
}

/// What is heard of packets: samples of one channel, the first at the time returned.
pub fn decode(element: &AudioElement, packets: &[Packet]) -> (Nanos, Vec<i16>) {
    let decoding = Decoding::start(element, &packets[0]).unwrap();
    let mut heard = Vec::new();
    for packet in packets {
        for (_, sound) in decoding.decode(packet).unwrap() {
            let left = sound.chunks(4).map(|sample| i16::from_le_bytes([sample[0], sample[1]]));
            heard.extend(left);
        }
    }
    (packets[0].theirs, heard)
}

/// How much of the sound's energy is at this frequency, 0 to 1.
pub fn share(sound: &[i16], hertz: f64) -> f64 {
    let (mut re, mut im, mut energy) = (0.0, 0.0, 0.0);
    for (index, sample) in sound.iter().enumerate() {
        let (value, phase) = (f64::from(*sample), TAU * hertz * index as f64 / RATE_F);
        re += value * phase.cos();
        im += value * phase.sin();
        energy += value * value;
    }
    2.0 * (re * re + im * im) / (energy.max(1.0) * sound.len() as f64)
}

/// When the silence ends, in ms since the publisher's sound began.
fn onset(first: Nanos, sound: &[i16]) -> f64 {
    let at = sound.iter().position(|sample| sample.unsigned_abs() > 4000).expect("a sound");
    (first - BEGAN + time_of(at as i64)) as f64 / MS as f64
}

fn transcode(elements: [Vec<&'static AudioElement>; 2], packets: Vec<Packet>) -> Vec<Packet> {
    let (say, made) = mpsc::channel();
    let transcoder = Transcoder::start(elements, move |packet| drop(say.send(packet))).unwrap();
    for packet in packets {
        while !transcoder.push(packet.clone()) {
            std::thread::yield_now();
        }
    }
    drop(transcoder);
    made.iter().collect()
}

/// Every pair of elements that this machine has.
fn pairs(from: AudioCodec) -> Vec<[&'static AudioElement; 2]> {
    let [decoders, encoders] = codecs().between(from, from.other()).unwrap();
    let pair = |decoder| encoders.iter().map(move |encoder| [decoder, *encoder]);
    decoders.into_iter().flat_map(pair).collect()
}

pub fn first_of(codec: AudioCodec) -> [&'static AudioElement; 2] {
    let codecs = codecs();
    let encoder = codecs.between(codec.other(), codec).unwrap()[1][0];
    let decoder = codecs.between(codec, codec.other()).unwrap()[0][0];
    [decoder, encoder]
}

#[test]
fn a_tone_keeps_its_pitch_and_its_moment_both_ways() {
    for from in [AudioCodec::Opus, AudioCodec::Aac] {
        let [_, publisher] = first_of(from);
        let [reader, _] = first_of(from.other());
        for [decoder, encoder] in pairs(from) {
            let packets = encode(publisher, &tone(1000.0, 300, 700));
            let made = transcode([vec![decoder], vec![encoder]], packets);
            assert!(made.iter().all(|packet| packet.format == made[0].format));
            assert_eq!(made[0].format.codec, from.other());
            assert_eq!(made[0].format.config.is_empty(), from == AudioCodec::Aac);
            let (first, heard) = decode(reader, &made);
            let name = (decoder.name, encoder.name);
            let began = onset(first, &heard);
            println!("{name:?}: tone after {began:.1} ms");
            assert!((began - 300.0).abs() < 5.0, "{name:?}: tone after {began} ms");
            let middle = &heard[heard.len() / 2..heard.len() / 2 + 9600];
            assert!(share(middle, 1000.0) > 0.95, "{name:?}: {}", share(middle, 1000.0));
            assert!(share(middle, 1100.0) < 0.05, "{name:?}: {}", share(middle, 1100.0));
        }
    }
}

#[test]
fn packets_that_are_missing_are_silence_of_their_length() {
    let [_, publisher] = first_of(AudioCodec::Opus);
    let [reader, _] = first_of(AudioCodec::Aac);
    let mut packets = encode(publisher, &tone(440.0, 0, 1000));
    packets.drain(20..30);
    let [decoders, encoders] = codecs().between(AudioCodec::Opus, AudioCodec::Aac).unwrap();
    let made = transcode([decoders, encoders], packets);
    let steps = made.windows(2).map(|pair| pair[1].theirs - pair[0].theirs);
    assert!(
        steps.clone().all(|step| (step - time_of(1024)).abs() < 2),
        "{:?}",
        steps.collect::<Vec<_>>()
    );
    let (first, heard) = decode(reader, &made);
    let at = |ms: Nanos| usize::try_from((BEGAN + ms * MS - first) * 48 / MS).unwrap();
    let loudest = |from, to| heard[at(from)..at(to)].iter().map(|s| s.unsigned_abs()).max();
    assert!(loudest(450, 550) < Some(1500), "{:?}", loudest(450, 550));
    assert!(loudest(300, 380) > Some(8000) && loudest(700, 800) > Some(8000));
}

#[test]
fn a_publisher_that_pauses_for_long_begins_another_run_at_its_time() {
    let [_, publisher] = first_of(AudioCodec::Opus);
    let mut packets = encode(publisher, &tone(440.0, 0, 1000));
    packets.iter_mut().skip(25).for_each(|packet| packet.theirs += 60_000 * MS);
    let resumed = packets[25].theirs;
    let [decoders, encoders] = codecs().between(AudioCodec::Opus, AudioCodec::Aac).unwrap();
    let made = transcode([decoders, encoders], packets);
    let first_after = made.iter().find(|packet| packet.theirs > BEGAN + 10_000 * MS).unwrap();
    assert!((first_after.theirs - resumed).abs() < 60 * MS);
}

#[test]
fn what_is_no_audio_is_left_out_and_the_next_packets_are_heard() {
    let [_, publisher] = first_of(AudioCodec::Aac);
    let good = encode(publisher, &tone(440.0, 0, 1500));
    let format = Arc::new(AudioFormat {
        codec: AudioCodec::Aac,
        rate: 44_100,
        channels: 9,
        config: Arc::from([0xff, 0xff]),
    });
    let bad = good.iter().take(3).map(|packet| Packet {
        format: format.clone(),
        data: Arc::from([0xfe; 300]),
        ..*packet
    });
    let elements = codecs().between(AudioCodec::Aac, AudioCodec::Opus).unwrap();
    let (say, made) = mpsc::channel();
    let transcoder = Transcoder::start(elements, move |packet| drop(say.send(packet))).unwrap();
    bad.for_each(|packet| assert!(transcoder.push(packet)));
    // It rests a moment after a failure.
    let end = Instant::now() + Duration::from_secs(10);
    let heard = good.iter().cycle().find_map(|packet| {
        assert!(Instant::now() < end, "nothing was made of good packets");
        let _ = transcoder.push(packet.clone());
        made.recv_timeout(Duration::from_millis(20)).ok()
    });
    assert_eq!(heard.unwrap().format.codec, AudioCodec::Opus);
}
