//! Encoded test sound, and an ear for what came back.

use crate::video::launch;
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app::AppSrc;
use std::f64::consts::TAU;
use std::sync::Arc;
use std::time::Duration;
use str0m::media::MediaData;

/// Samples by which Opus without the speech codec sounds late.
const LOOKAHEAD: usize = 120;

/// A second of Opus, in packets.
pub struct Sound {
    pub packets: Vec<Arc<[u8]>>,
}

impl Sound {
    pub const PACKET: Duration = Duration::from_millis(20);

    /// A tone of so many Hz that fills the second.
    pub fn tone(hertz: u32) -> Arc<Self> {
        Self::of(&[&tone(hertz, 1000)])
    }

    /// A tone in the first tenth of the second, and silence.
    pub fn beep(hertz: u32) -> Arc<Self> {
        Self::of(&[&tone(hertz, 100), &vec![0; 900 * 48]])
    }

    fn of(parts: &[&[i16]]) -> Arc<Self> {
        // Of two rounds the second, which follows on itself; and the encoder is late by some samples.
        let mut samples = parts.concat();
        samples.rotate_left(LOOKAHEAD);
        let samples = samples.repeat(2);
        gst::init().unwrap();
        let (graph, out) = launch(
            "appsrc name=in format=time caps=audio/x-raw,format=S16LE,layout=interleaved,rate=48000,channels=1 ! \
             opusenc frame-size=20 bitrate=64000 audio-type=restricted-lowdelay ! appsink name=out sync=false",
        );
        let input = graph.by_name("in").unwrap().downcast::<AppSrc>().unwrap();
        graph.set_state(gst::State::Playing).unwrap();
        let bytes: Vec<_> = samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
        input.push_buffer(gst::Buffer::from_mut_slice(bytes)).unwrap();
        input.end_of_stream().unwrap();
        let mut packets = Vec::new();
        while let Ok(sample) = out.pull_sample() {
            let buffer = sample.buffer().unwrap();
            if !buffer.flags().contains(gst::BufferFlags::HEADER) {
                packets.push(Arc::from(buffer.map_readable().unwrap().as_slice()));
            }
        }
        graph.set_state(gst::State::Null).unwrap();
        let packets: Vec<_> = packets.into_iter().skip(50).take(50).collect();
        assert_eq!(packets.len(), 50);
        Arc::new(Self { packets })
    }
}

fn tone(hertz: u32, ms: usize) -> Vec<i16> {
    let wave = |sample: usize| (TAU * f64::from(hertz) * sample as f64 / 48_000.0).sin();
    (0..ms * 48).map(|sample| (wave(sample) * 16_000.0) as i16).collect()
}

/// Decodes received packets, one after the other whatever their times: 48000 samples a second.
pub fn hear(packets: &[MediaData]) -> Vec<i16> {
    gst::init().unwrap();
    let (graph, out) = launch(
        "appsrc name=in format=time caps=audio/x-opus,channel-mapping-family=0,rate=48000,channels=1 ! opusdec ! \
         audio/x-raw,format=S16LE,rate=48000,channels=1 ! appsink name=out sync=false",
    );
    let input = graph.by_name("in").unwrap().downcast::<AppSrc>().unwrap();
    graph.set_state(gst::State::Playing).unwrap();
    for (packet, count) in packets.iter().zip(0..) {
        let mut buffer = gst::Buffer::from_slice(packet.data.clone());
        buffer.get_mut().unwrap().set_pts(gst::ClockTime::from_mseconds(20) * count);
        input.push_buffer(buffer).unwrap();
    }
    input.end_of_stream().unwrap();
    let mut sound = Vec::new();
    while let Ok(sample) = out.pull_sample() {
        let bytes = sample.buffer().unwrap().map_readable().unwrap();
        sound
            .extend(bytes.chunks_exact(2).map(|sample| i16::from_le_bytes([sample[0], sample[1]])));
    }
    graph.set_state(gst::State::Null).unwrap();
    sound
}

/// How much of the sound's energy is at this frequency, 0 to 1.
pub fn share(sound: &[i16], hertz: f64) -> f64 {
    let (mut re, mut im, mut energy) = (0.0, 0.0, 0.0);
    for (index, sample) in sound.iter().enumerate() {
        let (value, phase) = (f64::from(*sample), TAU * hertz * index as f64 / 48_000.0);
        re += value * phase.cos();
        im += value * phase.sin();
        energy += value * value;
    }
    2.0 * (re * re + im * im) / (energy.max(1.0) * sound.len().max(1) as f64)
}
