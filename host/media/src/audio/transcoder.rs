//! One audio codec made of another: a thread that decodes and encodes packet by packet.

use super::codecs::{AudioElement, CHANNELS, RATE, caps, raw_caps};
use super::evenly::{Run, time_of};
use super::line::Packet;
use super::sync::Nanos;
use crate::graph::{Graph, GraphError, Output};
use crate::unit::{AudioCodec, AudioFormat};
use crate::worker::Worker;
use gstreamer as gst;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// About a second of packets: a machine that is further behind leaves some out.
const QUEUE: usize = 50;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

pub(crate) struct Transcoder {
    // Before the worker, so that dropping closes it and the thread ends.
    packets: SyncSender<Packet>,
    _worker: Worker,
}

impl Transcoder {
    /// Hands what it makes to `on_packet`.
    pub fn start(
        elements: [Vec<&'static AudioElement>; 2],
        on_packet: impl FnMut(Packet) + Send + 'static,
    ) -> std::io::Result<Self> {
        let (packets, queue) = sync_channel(QUEUE);
        let transcoding =
            Transcoding { elements, on_packet, session: None, failures: 0, rest_until: None };
        let worker = Worker::start("transcode", move || transcoding.run(queue))?;
        Ok(Self { packets, _worker: worker })
    }

    /// False if it is so far behind that the packet is left out.
    pub fn push(&self, packet: Packet) -> bool {
        self.packets.try_send(packet).is_ok()
    }
}

/// What came out of a graph and was not looked at yet.
type Outputs<T> = Arc<Mutex<Vec<T>>>;

struct Decoding {
    format: Arc<AudioFormat>,
    graph: Graph,
    /// The graph's time 0.
    began: Nanos,
    sound: Outputs<(Nanos, Vec<u8>)>,
}

struct Encoding {
    graph: Graph,
    run: Run,
    lookahead: u32,
    /// With its format, which is known with the first.
    encoded: Outputs<(Arc<AudioFormat>, Arc<[u8]>)>,
    count: i64,
}

#[derive(Default)]
struct Session {
    decoding: Option<Decoding>,
    encoding: Option<Encoding>,
}

struct Transcoding<F> {
    elements: [Vec<&'static AudioElement>; 2],
    on_packet: F,
    session: Option<Session>,
    failures: u32,
    rest_until: Option<Instant>,
}

impl<F: FnMut(Packet)> Transcoding<F> {
    fn run(mut self, queue: Receiver<Packet>) {
        while let Ok(packet) = queue.recv() {
            if self.rest_until.is_some_and(|until| Instant::now() < until) {
                continue;
            }
            if let Err(error) = self.transcode(&packet) {
                // A publisher of garbage fails at every packet: ever fewer of these are worth a line.
                self.failures += 1;
                let failures = self.failures;
                if failures.is_power_of_two() {
                    tracing::warn!(error = %error, failures, "audio not transcoded, starting over");
                }
                self.session = None;
                let pause = FIRST_PAUSE * 2_u32.saturating_pow(failures.min(8) - 1);
                self.rest_until = Some(Instant::now() + pause.min(LONGEST_PAUSE));
            }
        }
    }

    fn transcode(&mut self, packet: &Packet) -> Result<(), GraphError> {
        let mut session = self.session.take().unwrap_or_default();
        let decoding = session.decoding.take().filter(|decoding| decoding.takes(packet));
        let [decoder, encoder] = [0, 1].map(|which: usize| {
            let elements = &self.elements[which];
            elements[self.failures as usize % elements.len()]
        });
        let decoding = match decoding {
            Some(decoding) => decoding,
            None => Decoding::start(decoder, packet)?,
        };
        for (theirs, sound) in session.decoding.insert(decoding).decode(packet)? {
            let placed =
                session.encoding.as_mut().and_then(|encoding| encoding.run.place(theirs, &sound));
            let (encoding, sound) = match (session.encoding.take(), placed) {
                (Some(encoding), Some(placed)) => (encoding, placed),
                _ => {
                    let mut encoding = Encoding::start(encoder, theirs)?;
                    let placed = encoding.run.place(theirs, &sound).unwrap_or_default();
                    (encoding, placed)
                }
            };
            session.encoding.insert(encoding).encode(sound, &mut self.on_packet)?;
            self.failures = 0;
        }
        self.session = Some(session);
        Ok(())
    }
}

impl Decoding {
    fn start(element: &AudioElement, packet: &Packet) -> Result<Self, GraphError> {
        let sound = Outputs::default();
        let (outputs, began) = (sound.clone(), packet.theirs);
        let graph = Graph::start(&element.decoding(), &caps(&packet.format), move |output| {
            let Ok(data) = output.buffer.map_readable() else { return };
            let theirs = began.saturating_add(output.time.nseconds() as Nanos);
            lock(&outputs).push((theirs, data.as_slice().to_vec()));
        })?;
        Ok(Self { format: packet.format.clone(), graph, began, sound })
    }

    fn takes(&self, packet: &Packet) -> bool {
        self.format == packet.format && packet.theirs >= self.began
    }

    fn decode(&self, packet: &Packet) -> Result<Vec<(Nanos, Vec<u8>)>, GraphError> {
        let mut buffer = gst::Buffer::from_slice(packet.data.clone());
        if let Some(buffer) = buffer.get_mut() {
            buffer.set_pts(clock_time(packet.theirs.saturating_sub(self.began)));
            buffer.set_duration(clock_time(packet.duration));
        }
        self.graph.push(buffer)?;
        Ok(std::mem::take(&mut *lock(&self.sound)))
    }
}

impl Encoding {
    fn start(element: &AudioElement, began: Nanos) -> Result<Self, GraphError> {
        let encoded = Outputs::default();
        let (outputs, codec) = (encoded.clone(), element.codec);
        let mut format: Option<Arc<AudioFormat>> = None;
        let graph = Graph::start(&element.encoding(), &raw_caps(), move |output| {
            // Opus in Ogg begins with headers; nothing else does.
            if output.buffer.flags().contains(gst::BufferFlags::HEADER) {
                return;
            }
            let Ok(data) = output.buffer.map_readable() else { return };
            let format = format.get_or_insert_with(|| Arc::new(encoded_format(codec, &output)));
            lock(&outputs).push((format.clone(), Arc::from(data.as_slice())));
        })?;
        Ok(Self { graph, run: Run::new(began), lookahead: element.lookahead, encoded, count: 0 })
    }

    fn encode(
        &mut self,
        sound: Vec<u8>,
        on_packet: &mut impl FnMut(Packet),
    ) -> Result<(), GraphError> {
        if !sound.is_empty() {
            let mut buffer = gst::Buffer::from_mut_slice(sound);
            if let Some(buffer) = buffer.get_mut() {
                buffer.set_pts(clock_time(self.run.time_of_last(buffer.size())));
            }
            self.graph.push(buffer)?;
        }
        for (format, data) in std::mem::take(&mut *lock(&self.encoded)) {
            let samples = match format.codec {
                AudioCodec::Opus => 960,
                AudioCodec::Aac => 1024,
            };
            let begins = self.count * samples - i64::from(self.lookahead);
            self.count += 1;
            let theirs = self.run.began.saturating_add(time_of(begins));
            on_packet(Packet { format, data, theirs, duration: time_of(samples) });
        }
        Ok(())
    }
}

fn encoded_format(codec: AudioCodec, output: &Output<'_>) -> AudioFormat {
    let config =
        output.caps.structure(0).and_then(|fields| fields.get::<gst::Buffer>("codec_data").ok());
    let config = match codec {
        AudioCodec::Opus => None,
        AudioCodec::Aac => {
            config.and_then(|config| Some(Arc::from(config.map_readable().ok()?.as_slice())))
        }
    };
    AudioFormat { codec, rate: RATE, channels: CHANNELS, config: config.unwrap_or_default() }
}

fn clock_time(nanos: Nanos) -> gst::ClockTime {
    gst::ClockTime::from_nseconds(u64::try_from(nanos).unwrap_or(0))
}

fn lock<T>(outputs: &Mutex<Vec<T>>) -> std::sync::MutexGuard<'_, Vec<T>> {
    // Whole entries are put in or taken out: a panic elsewhere leaves nothing half done.
    outputs.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[path = "transcoder_tests.rs"]
pub(super) mod tests;
