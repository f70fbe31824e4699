//! No element may hold a frame back: what is pushed comes out before the push returns.

use super::*;
use crate::codecs::{Codec, Codecs, Element};
use crate::encoding::Encoding;
use crate::pace::Pace;
use host_ports::FrameSize;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

type Outputs = Arc<Mutex<Vec<(Vec<u8>, gst::ClockTime)>>>;

fn start(description: &str, caps: &gst::Caps) -> (Graph, Outputs) {
    let outputs = Outputs::default();
    let graph = Graph::start(description, caps, {
        let outputs = outputs.clone();
        move |output| {
            let bytes = output.buffer.map_readable().unwrap().to_vec();
            outputs.lock().unwrap_or_else(PoisonError::into_inner).push((bytes, output.time));
        }
    });
    (graph.unwrap(), outputs)
}

fn time(index: u64) -> gst::ClockTime {
    gst::ClockTime::from_mseconds(33 * index)
}

/// Encodes noise, and checks that every picture comes out at once under its own time.
fn encode(description: &str, format: gst_video::VideoFormat) -> Vec<Vec<u8>> {
    let info = gst_video::VideoInfo::builder(format, 128, 96).fps((30, 1)).build().unwrap();
    let (graph, outputs) = start(description, &info.to_caps().unwrap());
    for index in 0..20 {
        let noise = (0..info.size())
            .map(|at| (at * 7919 + at / 13 * index as usize) as u8)
            .collect::<Vec<_>>();
        let mut picture = gst::Buffer::from_slice(noise);
        picture.get_mut().unwrap().set_pts(time(index));
        graph.push(picture).unwrap();
        let outputs = outputs.lock().unwrap();
        assert_eq!(outputs.len() as u64, index + 1, "{description} holds frames back");
        assert_eq!(outputs.last().unwrap().1, time(index), "{description}");
    }
    let outputs = outputs.lock().unwrap();
    outputs.iter().map(|(bytes, _)| bytes.clone()).collect()
}

#[test]
fn codecs_hold_no_frame_back() {
    gst::init().unwrap();
    let codecs = Codecs::probe().unwrap();
    for codec in [Codec::H264, Codec::Vp8] {
        // Those of a device may work on a thread of their own.
        let on_cpu = |name: &str| !name.starts_with("nv") && !name.starts_with("va");
        for encoder in codecs.encoders_of(codec).into_iter().filter(|encoder| on_cpu(encoder.name))
        {
            let units = encode(
                &Encoding::of_tests(2500).graph(encoder, FrameSize::new(128, 96)),
                encoder.raw_format(),
            );
            for decoder in codecs.decoders_of(codec) {
                let (graph, outputs) = start(decoder.decoding(), &codec.caps());
                for (index, unit) in units.iter().enumerate() {
                    graph.push(gst::Buffer::from_slice(unit.clone())).unwrap();
                    let name = decoder.name;
                    assert_eq!(
                        outputs.lock().unwrap().len(),
                        index + 1,
                        "{name} holds frames of {} back",
                        encoder.name
                    );
                }
            }
        }
    }
}

#[test]
fn a_forced_key_frame_is_the_next_frame() {
    gst::init().unwrap();
    let codecs = Codecs::probe().unwrap();
    for codec in [Codec::H264, Codec::Vp8] {
        let encoder = codecs.encoders_of(codec)[0];
        let info = gst_video::VideoInfo::builder(encoder.raw_format(), 64, 64)
            .fps((30, 1))
            .build()
            .unwrap();
        let (graph, outputs) = start(
            &Encoding::of_tests(500).graph(encoder, FrameSize::new(64, 64)),
            &info.to_caps().unwrap(),
        );
        for index in 0..6 {
            if index == 4 {
                graph.force_key_frame();
            }
            let mut picture = gst::Buffer::from_slice(vec![index as u8; info.size()]);
            picture.get_mut().unwrap().set_pts(time(index));
            graph.push(picture).unwrap();
        }
        let keys = |(unit, _): &(Vec<u8>, _)| crate::access_unit::is_key_frame(codec, unit);
        let keys: Vec<_> = outputs.lock().unwrap().iter().map(keys).collect();
        assert_eq!(keys, [true, false, false, false, true, false], "{}", encoder.name);
    }
}

/// What an encoder sends of pictures that no bitrate is enough for, in kbit/s, once it has settled.
fn kbps(encoder: &Element, frames_a_second: u32) -> u64 {
    let size = FrameSize::new(256, 256);
    let info = gst_video::VideoInfo::builder(encoder.raw_format(), size.width, size.height);
    let info = info.fps((30, 1)).build().unwrap();
    let (graph, outputs) =
        start(&Encoding::of_tests(1000).graph(encoder, size), &info.to_caps().unwrap());
    let (mut pace, begin) = (Pace::new(), Instant::now());
    let (settling, measured) = (4 * frames_a_second, 4 * frames_a_second);
    let mut random = 1_u32;
    for index in 0..settling + measured {
        let time = Duration::from_secs(1) * index / frames_a_second;
        if let Some(factor) = pace.note(begin + time) {
            encoder.set_bitrate(&graph, encoder.paced(1000.0, factor));
        }
        let noise = (0..info.size()).map(|_| {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            96 + (random >> 26) as u8
        });
        let mut picture = gst::Buffer::from_slice(noise.collect::<Vec<_>>());
        picture.get_mut().unwrap().set_pts(gst::ClockTime::from_nseconds(time.as_nanos() as u64));
        graph.push(picture).unwrap();
    }
    let outputs = outputs.lock().unwrap();
    let bytes: usize = outputs.iter().skip(settling as usize).map(|(bytes, _)| bytes.len()).sum();
    bytes as u64 * 8 / 1000 / 4
}

#[test]
fn slow_frames_share_the_same_bits() {
    gst::init().unwrap();
    let codecs = Codecs::probe().unwrap();
    for codec in [Codec::H264, Codec::Vp8, Codec::H265] {
        let encoder = codecs.encoders_of(codec)[0];
        for rate in [30, 10] {
            let sent = kbps(encoder, rate);
            assert!((700..1300).contains(&sent), "{} at {rate}: {sent} kbit/s", encoder.name);
        }
    }
}

#[test]
fn a_dropped_graph_leaves_nothing_behind() {
    gst::init().unwrap();
    let caps = gst::Caps::builder("video/x-raw").build();
    let (graph, outputs) = start("identity ! identity", &caps);
    graph.push(gst::Buffer::from_slice([1])).unwrap();
    let (elements, messages) = (graph.elements.downgrade(), graph.messages.downgrade());
    drop(graph);
    assert!(elements.upgrade().is_none() && messages.upgrade().is_none());
    assert_eq!(Arc::strong_count(&outputs), 1);
}
