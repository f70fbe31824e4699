//! What publishers may send: garbage, pictures of another size, pictures beyond the limit.

use super::*;
use crate::codecs::{Codec, Codecs};
use crate::convert::Exporter;
use crate::encoding::Encoding;
use crate::graph::Graph;
use host_ports::{Fit, FrameSize, FrameSlot, IngressEvent};
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

const SLOT: FrameSize = FrameSize::new(64, 64);

struct Slot(FrameSize, Vec<u8>);

impl FrameSlot for Slot {
    fn size(&self) -> FrameSize {
        self.0
    }
    fn pixels(&self) -> &[u8] {
        &self.1
    }
    fn pixels_mut(&mut self) -> &mut [u8] {
        &mut self.1
    }
    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

fn slot(size: FrameSize, grey: u8) -> Box<dyn FrameSlot> {
    Box::new(Slot(size, vec![grey; size.bytes()]))
}

/// Tells the grey in the middle of each frame.
struct Sink(Mutex<Sender<u8>>);

impl IngressSink for Sink {
    fn lease(&self) -> Option<Box<dyn FrameSlot>> {
        Some(slot(SLOT, 0))
    }
    fn fit(&self) -> Fit {
        Fit::Crop
    }
    fn put(&self, frame: Frame) {
        let _ = self.0.lock().unwrap().send(frame.pixels()[SLOT.bytes() / 2]);
    }
    fn on(&self, _event: IngressEvent) {}
}

/// A key frame of flat grey.
fn key_frame(codec: Codec, size: FrameSize, grey: u8) -> Arc<[u8]> {
    let element = Codecs::probe().unwrap().encoders_of(codec)[0];
    let mut exporter = Exporter::new(size, element.raw_format()).unwrap();
    let (units, encoded) = channel();
    let graph = Graph::start(
        &Encoding::of_tests(2500).graph(element, size),
        &exporter.caps().unwrap(),
        move |it| {
            units.send(Arc::from(it.buffer.map_readable().unwrap().as_slice())).unwrap();
        },
    );
    let stamp = FrameStamp { id: 1, captured_at: Instant::now() };
    exporter.load(&Frame::new(stamp, slot(size, grey))).unwrap();
    graph.unwrap().push(exporter.picture(gst::ClockTime::ZERO)).unwrap();
    encoded.recv_timeout(Duration::from_secs(5)).unwrap()
}

struct Decoded {
    decoder: Decoder,
    greys: std::sync::mpsc::Receiver<u8>,
    counters: Arc<IngressCounters>,
}

fn start(codec: Codec) -> Decoded {
    gst::init().unwrap();
    let (sink, greys) = channel();
    let counters = Arc::new(IngressCounters::default());
    let elements = Codecs::probe().unwrap().decoders_of(codec);
    let sink = Arc::new(Sink(Mutex::new(sink)));
    Decoded { decoder: Decoder::start(elements, sink, counters.clone()).unwrap(), greys, counters }
}

impl Decoded {
    fn push(&self, data: Arc<[u8]>) {
        // A full queue is waited for: none of these may be lost.
        while !self.decoder.push(AccessUnit { data: data.clone(), received_at: Instant::now() }) {
            std::thread::yield_now();
        }
    }

    fn expect(&self, grey: u8, what: &str) {
        let near = |shown: u8| shown.abs_diff(grey) <= 3;
        let deadline = Instant::now() + Duration::from_secs(10);
        while Instant::now() < deadline {
            match self.greys.recv_timeout(Duration::from_secs(10)) {
                Ok(shown) if near(shown) => return,
                // Of garbage before it that happened to be a picture.
                Ok(_) => {}
                Err(_) => break,
            }
        }
        panic!("{what} is not shown");
    }
}

#[test]
fn pictures_go_on_after_garbage() {
    for codec in [Codec::H264, Codec::Vp8] {
        let decoded = start(codec);
        let good = key_frame(codec, FrameSize::new(128, 96), 90);
        decoded.push(good.clone());
        decoded.expect(90, "the first picture");
        for round in 0..40_usize {
            let garbage = good.iter().enumerate().map(|(at, byte)| match (at + round) % 7 {
                0 => (at * 31 + round) as u8,
                _ => *byte,
            });
            decoded.push(garbage.collect());
            decoded.push((0..500).map(|at| (at * round) as u8).collect());
        }
        let after = key_frame(codec, FrameSize::new(128, 96), 200);
        decoded.push(after.clone());
        decoded.push(after);
        decoded.expect(200, "the picture after garbage");
    }
}

#[test]
fn a_publisher_may_change_its_size_at_any_key_frame() {
    for codec in [Codec::H264, Codec::Vp8, Codec::H265] {
        let decoded = start(codec);
        for (width, height, grey) in
            [(128, 96, 60), (640, 360, 120), (98, 202, 180), (128, 96, 240)]
        {
            decoded.push(key_frame(codec, FrameSize::new(width, height), grey));
            decoded.expect(grey, &format!("{} of {width}x{height}", codec.name()));
        }
        assert_eq!(decoded.counters.frames_dropped.get(), 0);
    }
}

#[test]
fn a_picture_beyond_the_limit_is_refused_and_the_next_is_shown() {
    for codec in [Codec::H264, Codec::H265] {
        let decoded = start(codec);
        decoded.push(key_frame(codec, FrameSize::new(MAX_SIDE + 16, 64), 90));
        let fitting = key_frame(codec, FrameSize::new(128, 96), 200);
        decoded.push(fitting.clone());
        decoded.push(fitting);
        decoded.expect(200, "the picture that fits");
        assert!(decoded.counters.frames_dropped.get() >= 1, "the refused one is counted");
    }
}

#[test]
fn a_picture_that_outgrows_the_limit_never_reaches_the_decoder() {
    for codec in [Codec::H264, Codec::H265] {
        let decoded = start(codec);
        decoded.push(key_frame(codec, FrameSize::new(128, 96), 60));
        decoded.expect(60, "a picture that fits");
        decoded.push(key_frame(codec, FrameSize::new(MAX_SIDE + 16, 64), 90));
        decoded.push(key_frame(codec, FrameSize::new(128, 96), 200));
        decoded.expect(200, "the next that fits");
        assert_eq!(decoded.counters.frames_decoded.get(), 2);
        assert_eq!(decoded.counters.frames_dropped.get(), 1);
    }
}
