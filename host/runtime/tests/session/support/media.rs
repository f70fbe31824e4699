//! A media server without network and codecs: tests publish frames and look at what is shown.

use super::patiently;
use host_ports::{
    Answer, EgressStats, Frame, FrameSize, FrameStamp, HlsError, HlsFile, HlsRequest, IngressEvent,
    IngressSink, IngressStats, MediaPath, MediaServer, OfferError, Pending, RecordError,
    RecordedFile, Recording, Restream, RestreamState, RestreamStats, SessionId, VideoAbilities,
    VideoCodec, VideoSettings,
};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Instant, SystemTime};
use tokio::sync::watch;

#[derive(Default)]
pub struct FakeMedia {
    paths: Mutex<HashMap<String, Arc<FakePath>>>,
}

impl FakeMedia {
    pub fn path(&self, stream: &str) -> Arc<FakePath> {
        self.paths.lock().unwrap()[stream].clone()
    }
}

impl MediaServer for FakeMedia {
    fn video_abilities(&self) -> VideoAbilities {
        VideoAbilities { codecs: vec![VideoCodec::H264], h264_encoder: Some("x264enc") }
    }

    fn open(&self, stream: &str, ingress: Arc<dyn IngressSink>) -> Arc<dyn MediaPath> {
        let (shown, _) = watch::channel(Vec::new());
        let path = Arc::new(FakePath {
            ingress,
            shown,
            is_publishing: AtomicBool::new(false),
            is_closed: AtomicBool::new(false),
            restreams: Mutex::default(),
        });
        self.paths.lock().unwrap().insert(stream.to_owned(), path.clone());
        path
    }
}

pub struct FakePath {
    pub ingress: Arc<dyn IngressSink>,
    shown: watch::Sender<Vec<Shown>>,
    is_publishing: AtomicBool,
    is_closed: AtomicBool,
    /// Every wish that was told.
    restreams: Mutex<Vec<Option<Restream>>>,
}

/// A frame that viewers saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The id in its stamp; 0 for a frame that nobody published.
    pub id: u64,
    pub size: FrameSize,
    /// Who made it: `publisher`, `pipeline` or `host`.
    pub by: &'static str,
}

/// First bytes of pictures.
pub const BY_PUBLISHER: u8 = 1;
pub const BY_PIPELINE: u8 = 2;

impl FakePath {
    /// Publishes a frame as a decoder does. False if there was no memory for it.
    pub fn publish_frame(&self, id: u64) -> bool {
        self.publish_frame_of(id, Instant::now())
    }

    pub fn publish_frame_of(&self, id: u64, captured_at: Instant) -> bool {
        let Some(mut slot) = self.ingress.lease() else { return false };
        slot.pixels_mut()[0] = BY_PUBLISHER;
        self.ingress.put(Frame::new(FrameStamp { id, captured_at }, slot));
        true
    }

    pub fn publisher_comes(&self) {
        self.is_publishing.store(true, Ordering::SeqCst);
        self.ingress.on(IngressEvent::PublisherConnected);
    }

    pub fn publisher_leaves(&self) {
        self.is_publishing.store(false, Ordering::SeqCst);
        self.ingress.on(IngressEvent::PublisherGone);
    }

    pub fn shown(&self) -> Vec<Shown> {
        self.shown.borrow().clone()
    }

    pub fn last_shown(&self) -> Option<Shown> {
        self.shown.borrow().last().cloned()
    }

    /// Waits until a frame of that id was shown.
    pub async fn seen(&self, id: u64) -> Shown {
        self.wait(|shown| shown.id == id).await
    }

    pub async fn black(&self) -> Shown {
        self.wait(|shown| shown.by == "host").await
    }

    /// Where it was to be sent to, from the first wish to the last.
    pub fn restreams(&self) -> Vec<Option<String>> {
        let wishes = self.restreams.lock().unwrap();
        wishes.iter().map(|wish| wish.as_ref().map(|wish| wish.url.clone())).collect()
    }

    /// Moves the restream on.
    pub fn restream_is(&self, state: RestreamState, error: Option<&str>) {
        let wishes = self.restreams.lock().unwrap();
        let wish = wishes.last().unwrap().as_ref().unwrap();
        let (since, error) = (SystemTime::now(), error.map(str::to_owned));
        (wish.told)(&RestreamStats { state, since, error, bytes_sent: 0, reconnects: 0 });
    }

    pub fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::SeqCst)
    }

    async fn wait(&self, is_meant: impl Fn(&Shown) -> bool) -> Shown {
        let mut shown = self.shown.subscribe();
        let all = shown.wait_for(|shown| shown.iter().any(&is_meant));
        let all = patiently("a shown frame", all).await;
        all.expect("the path keeps the channel open")
            .iter()
            .rfind(|shown| is_meant(shown))
            .cloned()
            .expect("there is one")
    }
}

impl MediaPath for FakePath {
    fn publish(&self, offer: &str) -> Result<Answer, OfferError> {
        Ok(Answer { session: SessionId("publisher".into()), sdp: format!("answer to {offer}") })
    }

    fn play(&self, offer: &str) -> Result<Answer, OfferError> {
        match self.shown.borrow().is_empty() {
            true => Err(OfferError::NotReady),
            false => Ok(Answer {
                session: SessionId("reader".into()),
                sdp: format!("answer to {offer}"),
            }),
        }
    }

    fn hls(&self, _: HlsRequest) -> Pending<Result<HlsFile, HlsError>> {
        Box::pin(async { Err(OfferError::NotReady.into()) })
    }

    fn snapshot(&self) -> Pending<Result<Arc<[u8]>, OfferError>> {
        Box::pin(async { Err(OfferError::NotReady) })
    }

    fn record(&self) -> Pending<Result<(Recording, Pending<Recording>), RecordError>> {
        Box::pin(async { Err(OfferError::NotReady.into()) })
    }

    fn stop_recording(&self) -> Pending<Result<Recording, RecordError>> {
        Box::pin(async { Err(RecordError::NotRecording) })
    }

    fn recording(&self) -> Option<Recording> {
        None
    }

    fn recordings(&self) -> Pending<Result<Vec<RecordedFile>, RecordError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn recorded_file(&self, _: &str) -> Option<PathBuf> {
        None
    }

    fn delete_recording(&self, _: &str) -> Pending<Result<(), RecordError>> {
        Box::pin(async { Err(RecordError::NoFile) })
    }

    fn has_session(&self, session: &SessionId) -> bool {
        matches!(session.0.as_str(), "publisher" | "reader")
    }

    fn hang_up(&self, session: &SessionId) -> bool {
        matches!(session.0.as_str(), "publisher" | "reader")
    }

    fn show(&self, frame: Frame) {
        let by = match frame.pixels()[0] {
            BY_PUBLISHER => "publisher",
            BY_PIPELINE => "pipeline",
            _ => "host",
        };
        let shown = Shown { id: frame.stamp.id, size: frame.size(), by };
        self.shown.send_modify(|all| all.push(shown));
    }

    fn restream(&self, wanted: Option<Restream>) {
        self.restreams.lock().unwrap().push(wanted);
    }

    fn restream_stats(&self) -> Option<RestreamStats> {
        None
    }

    fn set_video(&self, _settings: VideoSettings) {}

    fn ingress_stats(&self) -> IngressStats {
        let is_publishing = self.is_publishing.load(Ordering::SeqCst);
        IngressStats { is_publishing, ..IngressStats::default() }
    }

    fn egress_stats(&self) -> EgressStats {
        EgressStats { frames_encoded: self.shown.borrow().len() as u64, ..EgressStats::default() }
    }

    fn close(&self) {
        self.is_closed.store(true, Ordering::SeqCst);
    }
}
