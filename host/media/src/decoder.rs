//! A publisher's access units become frames: one thread that decodes and converts straight into leased slots.

use crate::access_unit::MAX_SIDE;
use crate::codecs::Element;
use crate::color;
use crate::convert::Importer;
use crate::counters::IngressCounters;
use crate::graph::{Graph, GraphError};
use crate::worker::Worker;
use gstreamer as gst;
use gstreamer::prelude::*;
use host_ports::{Frame, FrameStamp, IngressSink};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// About a second of video: a decoder that is further behind has to start over at a key frame.
const QUEUE: usize = 30;

/// One compressed frame.
pub(crate) struct AccessUnit {
    pub data: Arc<[u8]>,
    /// When its last packet came.
    pub received_at: Instant,
}

/// What the decoder's thread shares with the hub.
pub(crate) struct Decoder {
    // Before the worker, so that dropping closes it and the thread ends.
    units: SyncSender<AccessUnit>,
    needs_key_frame: Arc<AtomicBool>,
    _worker: Worker,
}

impl Decoder {
    pub fn start(
        elements: Vec<&'static Element>,
        ingress: Arc<dyn IngressSink>,
        counters: Arc<IngressCounters>,
    ) -> std::io::Result<Self> {
        let (units, queue) = sync_channel(QUEUE);
        let needs_key_frame = Arc::new(AtomicBool::new(false));
        let decoding = Decoding {
            elements,
            element: 0,
            decoded_before: 0,
            failures: 0,
            graph: None,
            latest: Latest::default(),
            importer: Importer::default(),
            ingress,
            counters,
            needs_key_frame: needs_key_frame.clone(),
        };
        let worker = Worker::start("decode", move || decoding.run(queue))?;
        Ok(Self { units, needs_key_frame, _worker: worker })
    }

    /// Queues a unit; false when the decoder is so far behind that it has to start over at a key frame.
    pub fn push(&self, unit: AccessUnit) -> bool {
        self.units.try_send(unit).is_ok()
    }

    /// Whether the decoder lost its way since it was last asked.
    pub fn takes_key_frame_only(&self) -> bool {
        self.needs_key_frame.swap(false, Ordering::Relaxed)
    }
}

/// The newest decoded picture; older ones are not worth converting.
type Latest = Arc<Mutex<Option<(gst::Buffer, gst::Caps)>>>;

struct Decoding {
    elements: Vec<&'static Element>,
    element: usize,
    /// Pictures of the stream when the graph was built.
    decoded_before: u64,
    failures: usize,
    graph: Option<Graph>,
    latest: Latest,
    importer: Importer,
    ingress: Arc<dyn IngressSink>,
    counters: Arc<IngressCounters>,
    needs_key_frame: Arc<AtomicBool>,
}

impl Decoding {
    fn run(mut self, queue: Receiver<AccessUnit>) {
        let mut next = queue.recv().ok();
        while let Some(unit) = next {
            let received_at = unit.received_at;
            if let Err(error) = self.decode(unit) {
                self.counters.frames_dropped.add(1);
                self.failures += 1;
                self.element += usize::from(self.is_barren());
                // A publisher of garbage fails at every key frame: ever fewer of these are worth a line.
                if self.failures.is_power_of_two() {
                    let failures = self.failures;
                    tracing::warn!(error = %error, failures, "decoder failed, starting over at the next key frame");
                }
                self.graph = None;
                self.needs_key_frame.store(true, Ordering::Relaxed);
            }
            next = queue.try_recv().ok();
            let picture = self.latest.lock().unwrap_or_else(PoisonError::into_inner).take();
            match picture {
                Some(picture) if next.is_none() => self.deliver(picture, received_at),
                Some(_) => self.counters.frames_dropped.add(1),
                None => {}
            }
            if next.is_none() {
                next = queue.recv().ok();
            }
        }
    }

    fn decode(&mut self, unit: AccessUnit) -> Result<(), GraphError> {
        let graph = match self.graph.take() {
            Some(graph) => graph,
            None => self.build()?,
        };
        let mut buffer = gst::Buffer::from_slice(unit.data);
        if let Some(buffer) = buffer.get_mut() {
            // Only the order matters: pictures are shown as they come.
            buffer.set_pts(gst::ClockTime::from_nseconds(self.counters.frames_decoded.get()));
        }
        let decoded_before = self.counters.frames_decoded.get();
        graph.push(buffer)?;
        // Every unit is a picture, and none is held back: one without a picture was refused.
        let is_refused = self.counters.frames_decoded.get() == decoded_before;
        self.counters.frames_dropped.add(is_refused.into());
        self.graph = Some(graph);
        Ok(())
    }

    /// Whether nothing came out of the graph since it was built: then another element may do better. A codec on a
    /// device may be there and yet not work.
    fn is_barren(&self) -> bool {
        self.counters.frames_decoded.get() == self.decoded_before
    }

    fn build(&mut self) -> Result<Graph, GraphError> {
        self.decoded_before = self.counters.frames_decoded.get();
        let element = self.elements[self.element % self.elements.len()];
        let (latest, counters) = (self.latest.clone(), self.counters.clone());
        let graph = Graph::start(element.decoding(), &element.codec.caps(), move |output| {
            counters.frames_decoded.add(1);
            let picture = (output.buffer, output.caps.to_owned());
            let displaced = latest.lock().unwrap_or_else(PoisonError::into_inner).replace(picture);
            counters.frames_dropped.add(displaced.is_some().into());
        })?;
        refuse_large_pictures(&graph);
        Ok(graph)
    }

    fn deliver(&mut self, (picture, caps): (gst::Buffer, gst::Caps), captured_at: Instant) {
        let Some(mut slot) = self.ingress.lease() else {
            return self.counters.frames_dropped.add(1);
        };
        let (importer, fit) = (&mut self.importer, self.ingress.fit());
        let imported = color::decoded(self.elements[0].codec, &caps).map_err(Into::into);
        match imported.and_then(|info| importer.import(&picture, &info, fit, &mut *slot)) {
            Ok(()) => {
                let stamp = FrameStamp { id: self.counters.frames_delivered.next(), captured_at };
                self.ingress.put(Frame::new(stamp, slot));
            }
            Err(error) => {
                tracing::warn!(error = %error, caps = %caps, "picture not converted");
                self.counters.frames_dropped.add(1);
            }
        }
    }
}

/// Stops oversized pictures between the parser, which reads their size, and the decoder, which would make room for them.
/// Codecs without a parser tell the size in each key frame's own header, which was looked at before.
fn refuse_large_pictures(graph: &Graph) {
    let Some(parsed) = graph.element("parse").and_then(|parser| parser.static_pad("src")) else {
        return;
    };
    let is_large = AtomicBool::new(false);
    let kinds = gst::PadProbeType::EVENT_DOWNSTREAM | gst::PadProbeType::BUFFER;
    parsed.add_probe(kinds, move |_, info| {
        if let Some(gst::EventView::Caps(caps)) = info.event().map(|event| event.view()) {
            is_large.store(is_beyond_limit(caps.caps()), Ordering::Relaxed);
        }
        let is_of_picture = info.buffer().is_some()
            || info.event().is_some_and(|event| event.type_() == gst::EventType::Caps);
        if is_of_picture && is_large.load(Ordering::Relaxed) {
            gst::PadProbeReturn::Handled
        } else {
            gst::PadProbeReturn::Ok
        }
    });
}

fn is_beyond_limit(caps: &gst::CapsRef) -> bool {
    let side =
        |name| caps.structure(0).and_then(|fields| fields.get::<i32>(name).ok()).unwrap_or(0);
    [side("width"), side("height")].iter().any(|side| side.unsigned_abs() > MAX_SIDE)
}

#[cfg(test)]
#[path = "decoder_tests.rs"]
mod tests;
