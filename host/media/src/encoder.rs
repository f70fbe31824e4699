//! Shown frames become access units for all readers of one codec: one thread, one encode, newest frame first.

use crate::audio::Audio;
use crate::codecs::{Codec, Element};
use crate::convert::{ConvertError, Exporter};
use crate::counters::EgressCounters;
use crate::encoding::Encoding;
use crate::graph::{Graph, GraphError, Output};
use crate::pace::Pace;
use crate::unit::{Track, Unit};
use crate::worker::Worker;
use gstreamer as gst;
use host_ports::{Frame, FrameSize, Mailbox, VideoSettings};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{broadcast, mpsc};

/// The last frame is shown again when none came for this long.
const REPEAT: Duration = Duration::from_millis(200);

/// Key frames are large: however many readers ask, this long passes between two.
const KEY_FRAME_INTERVAL: Duration = Duration::from_millis(200);

const MAX_BACKOFF: Duration = Duration::from_secs(5);

pub(crate) struct Encoder {
    frames: Arc<Mailbox<Frame>>,
    wants_key_frame: Arc<AtomicBool>,
    encoding: Arc<Mutex<Encoding>>,
    _worker: Worker,
}

/// Where an encoder's units go.
pub(crate) struct Outlet {
    pub path: u64,
    /// When the path was opened.
    pub opened_at: Instant,
    /// To the peer connections.
    pub units: mpsc::Sender<Unit>,
    /// To all other readers.
    pub feeds: broadcast::Sender<Unit>,
    /// What is to be heard together with the pictures.
    pub audio: Arc<Audio>,
    pub counters: Arc<EgressCounters>,
}

impl Encoder {
    pub fn start(
        codec: Codec,
        elements: Vec<&'static Element>,
        encoding: Encoding,
        outlet: Outlet,
    ) -> std::io::Result<Self> {
        let frames = Arc::new(Mailbox::default());
        let wants_key_frame = Arc::new(AtomicBool::new(true));
        let encoding = Arc::new(Mutex::new(encoding));
        let work = Work {
            elements,
            encoding: encoding.clone(),
            opened_at: outlet.opened_at,
            outlet: Arc::new(outlet),
            frames: frames.clone(),
            wants_key_frame: wants_key_frame.clone(),
            last_key_frame: None,
            session: None,
            failures: 0,
        };
        let name = format!("encode-{}", codec.name().to_ascii_lowercase());
        let worker = Worker::start(&name, move || work.run())?;
        Ok(Self { frames, wants_key_frame, encoding, _worker: worker })
    }

    /// Encodes this frame next, in place of one that still waits.
    pub fn show(&self, frame: Frame) -> bool {
        self.frames.put(frame)
    }

    /// How it encodes from the next frame on.
    pub fn set(&self, settings: VideoSettings) {
        self.encoding().settings = settings;
    }

    pub fn set_bitrate(&self, kbps: u32) {
        self.encoding().bitrate_kbps = kbps;
    }

    pub fn bitrate_kbps(&self) -> u32 {
        self.encoding().bitrate_kbps
    }

    fn encoding(&self) -> MutexGuard<'_, Encoding> {
        // Each field is set in one step: a panic elsewhere leaves nothing half done.
        self.encoding.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A reader cannot go on without a key frame.
    pub fn want_key_frame(&self) {
        self.wants_key_frame.store(true, Ordering::Relaxed);
    }
}

impl Drop for Encoder {
    fn drop(&mut self) {
        self.frames.close();
    }
}

#[derive(Debug, thiserror::Error)]
enum EncodeError {
    #[error(transparent)]
    Graph(#[from] GraphError),
    #[error(transparent)]
    Convert(#[from] ConvertError),
}

/// A graph for frames of one size, encoded in one way, and the picture it was given last.
struct Session {
    size: FrameSize,
    encoding: Encoding,
    element: &'static Element,
    graph: Graph,
    exporter: Exporter,
    pace: Pace,
    /// What the bitrate is multiplied by for the frames' pace.
    factor: f64,
    /// What the element was told, in kbit/s, with the factor.
    told_kbps: f64,
}

impl Session {
    /// Tells the element of another bitrate; each time costs it some of what it has learnt.
    fn spend(&mut self, kbps: u32) {
        let wanted = self.element.paced(f64::from(kbps), self.factor);
        if (wanted - self.told_kbps).abs() > 0.05 * self.told_kbps {
            self.told_kbps = wanted;
            self.element.set_bitrate(&self.graph, wanted);
        }
    }
}

struct Work {
    elements: Vec<&'static Element>,
    encoding: Arc<Mutex<Encoding>>,
    outlet: Arc<Outlet>,
    frames: Arc<Mailbox<Frame>>,
    wants_key_frame: Arc<AtomicBool>,
    opened_at: Instant,
    last_key_frame: Option<Instant>,
    session: Option<Session>,
    failures: u32,
}

impl Work {
    fn run(mut self) {
        while !self.frames.is_closed() {
            // Once closed this returns at once, with the last frame or none.
            let frame = self.frames.take_until(Instant::now() + REPEAT);
            if let Err(error) = self.encode(frame.clone()) {
                tracing::error!(error = %error, codec = self.elements[0].codec.name(), "encoder failed, building it anew");
                self.session = None;
                self.failures += 1;
                self.back_off(frame);
            }
        }
    }

    /// Waits longer after each failure, and leaves the frame for the next attempt unless a newer one came.
    fn back_off(&mut self, frame: Option<Frame>) {
        let pause = (REPEAT * 2_u32.saturating_pow(self.failures.min(8))).min(MAX_BACKOFF);
        let retry_at = Instant::now() + pause;
        let mut newest = frame;
        while let Some(newer) = self.frames.take_until(retry_at) {
            newest = Some(newer);
        }
        if let Some(frame) = newest {
            self.frames.put(frame);
        }
    }

    /// Encodes a new frame, or the last one again.
    fn encode(&mut self, frame: Option<Frame>) -> Result<(), EncodeError> {
        if let Some(frame) = &frame {
            self.ready(frame.size())?.exporter.load(frame)?;
        }
        let now = Instant::now();
        let is_key_frame_due =
            self.last_key_frame.is_none_or(|last| now - last >= KEY_FRAME_INTERVAL);
        let Some(session) = &mut self.session else { return Ok(()) };
        session.factor = session.pace.note(now).unwrap_or(session.factor);
        session.spend(self.encoding.lock().unwrap_or_else(PoisonError::into_inner).bitrate_kbps);
        if is_key_frame_due && self.wants_key_frame.swap(false, Ordering::Relaxed) {
            self.last_key_frame = Some(now);
            session.graph.force_key_frame();
        }
        let time = u64::try_from((now - self.opened_at).as_nanos()).unwrap_or(u64::MAX);
        let picture = session.exporter.picture(gst::ClockTime::from_nseconds(time));
        session.graph.push(picture)?;
        // A frame that is shown again is not on its way any more.
        if let Some(frame) = frame {
            self.outlet.counters.time(&frame);
            if frame.stamp.id > 0 {
                self.outlet.audio.picture_shown(frame.stamp.captured_at, now);
            }
        }
        self.failures = 0;
        Ok(())
    }

    /// The graph for frames of this size, built when there is none.
    fn ready(&mut self, size: FrameSize) -> Result<&mut Session, EncodeError> {
        // The old one goes first: codecs on a device may allow only one.
        let encoding = *self.encoding.lock().unwrap_or_else(PoisonError::into_inner);
        let is_current = |session: &Session| {
            session.size == size && session.encoding.settings == encoding.settings
        };
        let session = match self.session.take().filter(is_current) {
            Some(session) => session,
            None => self.build(size, encoding)?,
        };
        Ok(self.session.insert(session))
    }

    fn build(&self, size: FrameSize, encoding: Encoding) -> Result<Session, EncodeError> {
        let element = self.elements[self.failures as usize % self.elements.len()];
        let exporter = Exporter::new(size, element.raw_format())?;
        let (outlet, wants_key_frame) = (self.outlet.clone(), self.wants_key_frame.clone());
        let codec = element.codec;
        let description = encoding.graph(element, size);
        let graph = Graph::start(&description, &exporter.caps()?, move |output| {
            if !outlet.send(codec, output) {
                wants_key_frame.store(true, Ordering::Relaxed);
            }
        })?;
        tracing::debug!(element = element.name, %size, "encoder built");
        let told_kbps = f64::from(encoding.bitrate_kbps);
        let pace = Pace::new();
        Ok(Session { size, encoding, element, graph, exporter, pace, factor: 1.0, told_kbps })
    }
}

impl Outlet {
    /// Hands a unit on; false if the hub is too far behind and the unit was thrown away.
    fn send(&self, codec: Codec, output: Output<'_>) -> bool {
        let Ok(data) = output.buffer.map_readable() else { return false };
        let is_key_frame = !output.buffer.flags().contains(gst::BufferFlags::DELTA_UNIT);
        self.counters.frames_encoded.add(1);
        self.counters.key_frames.add(is_key_frame.into());
        let time = Duration::from_nanos(output.time.nseconds());
        let unit = Unit {
            path: self.path,
            track: Track::Video(codec),
            data: Arc::from(data.as_slice()),
            is_key_frame,
            shown_at: self.opened_at + time,
            time,
        };
        // An error means that there is no other reader.
        let _ = self.feeds.send(unit.clone());
        self.units.try_send(unit).is_ok()
    }
}
