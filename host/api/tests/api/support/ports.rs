//! Fake ports: just enough for the runtime to keep streams.

use host_ports::{
    Answer, Claim, ClaimRef, EgressStats, Formats, Frame, FramePool, FrameSize, FrameSlot,
    HlsError, HlsFile, HlsRequest, IngressSink, IngressStats, MediaPath, MediaServer, OfferError,
    OpenRequest, Opened, Pending, Pipeline, PipelineCatalog, PipelineError, Plan, PlanError,
    PluginReport, PluginState, Progress, RecordError, RecordedFile, Recording, RecordingEnd,
    ResolveError, Restream, RestreamState, RestreamStats, SessionId, StateStore, StoreError,
    StoredStream, VideoAbilities, VideoCodec, VideoSettings,
};
use serde_json::{Map, Value, json};
use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};
use tempfile::NamedTempFile;

const SIZE: FrameSize = FrameSize::new(64, 64);

/// `streamdiffusion` by two plugins for one model each, and `plain` for any.
pub struct Schemas;

impl PipelineCatalog for Schemas {
    fn plugins(&self) -> Vec<PluginReport> {
        let accepted = report("libsmall.so", Some("small"), PluginState::Accepted);
        let reason = "needs plugin-api >=9, this host offers 0.1".to_owned();
        vec![accepted, report("libodd.so", None, PluginState::Refused { reason })]
    }

    fn claims(&self) -> Vec<Claim> {
        vec![
            claim("small", "streamdiffusion", Some("acme/small")),
            claim("large", "streamdiffusion", Some("acme/large")),
            claim("plain", "plain", None),
        ]
    }

    fn resolve(&self, pipeline: &str, model_id: Option<&str>) -> Result<Claim, ResolveError> {
        if pipeline == "broken" {
            panic!("a bug in the catalog");
        }
        let pipeline = pipeline.to_owned();
        let claims: Vec<_> =
            self.claims().into_iter().filter(|claim| claim.pipeline == pipeline).collect();
        let on_offer = claims.iter().flat_map(|claim| claim.models.clone().unwrap_or_default());
        let on_offer: Vec<_> = on_offer.collect();
        if claims.is_empty() {
            let on_offer = vec!["plain".into(), "streamdiffusion".into()];
            return Err(ResolveError::UnknownPipeline { pipeline, on_offer });
        }
        let fits = |claim: &Claim| {
            claim.models.as_ref().is_none_or(|m| m.iter().any(|m| Some(m.as_str()) == model_id))
        };
        match (claims.into_iter().find(fits), model_id) {
            (Some(claim), _) => Ok(claim),
            (None, Some(model)) => {
                Err(ResolveError::UnknownModel { pipeline, model_id: model.into(), on_offer })
            }
            (None, None) => Err(ResolveError::MissingModel { pipeline, on_offer }),
        }
    }

    fn plan(
        &self,
        _: &ClaimRef,
        _: Option<&Map<String, Value>>,
        _: &Map<String, Value>,
    ) -> Result<Plan, PlanError> {
        Ok(Plan {
            formats: Formats { input: SIZE, output: SIZE },
            errors: vec![],
            unsupported: vec![],
            reload: vec![],
            warnings: vec![],
            memory_bytes: 0,
            parts_bytes: Default::default(),
            latency_frames: 0,
            artefacts: Vec::new(),
        })
    }

    fn open(&self, _: OpenRequest) -> Result<Opened, PipelineError> {
        Ok(Opened { pipeline: Box::new(Idle), input: Arc::new(NoMemory) })
    }

    fn tell_changes(&self, _told: Box<dyn Fn() + Send + Sync>) {
        // Nothing changes here.
    }
}

fn report(file: &str, id: Option<&str>, state: PluginState) -> PluginReport {
    PluginReport {
        file: file.to_owned(),
        id: id.map(str::to_owned),
        vendor: id.map(|_| "acme".to_owned()),
        version: id.map(|_| "1.0.0".to_owned()),
        license: None,
        description: None,
        features: vec![],
        pipelines: vec![],
        withheld: vec![],
        contributes: vec![],
        hash: "00".repeat(32),
        state,
    }
}

fn claim(plugin: &str, pipeline: &str, model: Option<&str>) -> Claim {
    let mut properties = json!({
        "prompt": {"type": "string", "default": "flowers", "x-apply": "hot"},
        "width": {"$ref": "#/$defs/side"},
        "controlnets": {
            "type": "array", "default": [], "x-apply": "hot",
            "items": {"type": "object", "properties": {
                "model_id": {"type": "string"}, "conditioning_scale": {"type": "number"},
            }},
        },
    });
    if let Some(model) = model {
        properties["model_id"] = json!({"const": model, "x-apply": "reload"});
    }
    Claim {
        pipeline: pipeline.into(),
        name_given: None,
        id: ClaimRef { plugin: plugin.into(), pipeline: pipeline.into(), index: 0 },
        models: model.map(|model| vec![model.to_owned()]),
        description: String::new(),
        params_schema: json!({
            "type": "object",
            "properties": properties,
            "$defs": {"side": {
                "type": "integer", "minimum": 64, "maximum": 512, "default": 64,
                "x-apply": "reload",
            }},
        }),
    }
}

/// A pipeline that is never fed.
struct Idle;

impl Pipeline for Idle {
    fn load(
        &mut self,
        _: &Map<String, Value>,
        _: &mut dyn FnMut(Progress),
    ) -> Result<(), PipelineError> {
        Ok(())
    }

    fn update(&mut self, _: &Map<String, Value>) -> Result<(), PipelineError> {
        Ok(())
    }

    fn process(&mut self, frame: Frame) -> Result<Option<Frame>, PipelineError> {
        Ok(Some(frame))
    }

    fn canceller(&self) -> Arc<dyn Fn() + Send + Sync> {
        Arc::new(|| {})
    }

    fn worker_pid(&self) -> Option<u32> {
        None
    }
}

struct NoMemory;

impl FramePool for NoMemory {
    fn size(&self) -> FrameSize {
        SIZE
    }

    fn lease(&self) -> Option<Box<dyn FrameSlot>> {
        None
    }
}

/// Answers by what the offer says: `fine`, `codec`, `full`, `down`; anything else is no offer.
pub struct FakeMedia;

impl MediaServer for FakeMedia {
    fn video_abilities(&self) -> VideoAbilities {
        VideoAbilities { codecs: vec![VideoCodec::H264], h264_encoder: Some("x264enc") }
    }

    fn open(&self, _: &str, _: Arc<dyn IngressSink>) -> Arc<dyn MediaPath> {
        Arc::new(FakePath::default())
    }
}

#[derive(Default)]
struct FakePath {
    has_published: Mutex<bool>,
    is_restreamed: Mutex<bool>,
    recording: Mutex<Option<Recording>>,
    /// Of ended recordings.
    files: Mutex<HashMap<String, NamedTempFile>>,
    sessions: Mutex<HashSet<SessionId>>,
}

impl FakePath {
    fn has_published(&self) -> bool {
        *self.has_published.lock().unwrap()
    }

    fn recording_with(&self, ended: Option<RecordingEnd>) -> Recording {
        Recording {
            name: "now".to_owned(),
            started_at: SystemTime::UNIX_EPOCH,
            length: Duration::from_millis(1500),
            bytes: 5,
            files: ended.iter().map(|_| "now.mp4".to_owned()).collect(),
            ended,
        }
    }

    fn answer(&self, offer: &str, session: &str) -> Result<Answer, OfferError> {
        match offer.lines().next().unwrap_or_default() {
            "fine" => {
                self.sessions.lock().unwrap().insert(SessionId(session.to_owned()));
                Ok(Answer { session: SessionId(session.to_owned()), sdp: "v=0 answer".to_owned() })
            }
            "codec" => Err(OfferError::NoCommonCodec {
                doing: "decode",
                supported: "H264".into(),
                offered: "AV1".into(),
            }),
            "full" => Err(OfferError::TooManyReaders { limit: 3 }),
            "down" => Err(OfferError::Unavailable { reason: "no port".into() }),
            _ => Err(OfferError::Invalid { reason: "it does not start with v=0".into() }),
        }
    }
}

impl MediaPath for FakePath {
    fn publish(&self, offer: &str) -> Result<Answer, OfferError> {
        let answer = self.answer(offer, "in1")?;
        *self.has_published.lock().unwrap() = true;
        Ok(answer)
    }

    fn play(&self, offer: &str) -> Result<Answer, OfferError> {
        if !self.has_published() {
            return Err(OfferError::NotReady);
        }
        self.answer(offer, "out1")
    }

    fn hls(&self, request: HlsRequest) -> Pending<Result<HlsFile, HlsError>> {
        let answer = match (self.has_published(), request.file.as_str()) {
            (false, _) => Err(OfferError::NotReady.into()),
            (_, "index.m3u8") => {
                Ok(HlsFile::Playlist(format!("{:?} {:?}", request.segment, request.part)))
            }
            (_, "piece.mp4") => Ok(HlsFile::Media(b"boxes".as_slice().into())),
            (_, "far.m3u8") => Err(HlsError::Invalid { reason: "too far" }),
            (_, _) => Err(HlsError::NoFile { file: request.file }),
        };
        Box::pin(async { answer })
    }

    fn snapshot(&self) -> Pending<Result<Arc<[u8]>, OfferError>> {
        let shown = self.has_published().then(|| b"jpeg".as_slice().into());
        Box::pin(async { shown.ok_or(OfferError::NotReady) })
    }

    /// Ends at once, with an empty file.
    fn record(&self) -> Pending<Result<(Recording, Pending<Recording>), RecordError>> {
        let begun = self.recording_with(None);
        *self.recording.lock().unwrap() = Some(begun.clone());
        let ended = self.recording_with(Some(RecordingEnd::Stopped));
        Box::pin(async { Ok((begun, Box::pin(async { ended }) as Pending<_>)) })
    }

    fn stop_recording(&self) -> Pending<Result<Recording, RecordError>> {
        let recording = self.recording.lock().unwrap().take();
        let file = tempfile::Builder::new().suffix(".mp4").tempfile().unwrap();
        std::fs::write(file.path(), "boxes").unwrap();
        self.files.lock().unwrap().insert("now.mp4".to_owned(), file);
        let ended = recording.map(|_| self.recording_with(Some(RecordingEnd::Stopped)));
        Box::pin(async { ended.ok_or(RecordError::NotRecording) })
    }

    fn recording(&self) -> Option<Recording> {
        self.recording.lock().unwrap().clone()
    }

    fn recordings(&self) -> Pending<Result<Vec<RecordedFile>, RecordError>> {
        let modified_at = SystemTime::UNIX_EPOCH;
        let file = RecordedFile { name: "now.mp4".to_owned(), bytes: 5, modified_at };
        Box::pin(async { Ok(vec![file]) })
    }

    fn recorded_file(&self, name: &str) -> Option<PathBuf> {
        self.files.lock().unwrap().get(name).map(NamedTempFile::path).map(Into::into)
    }

    fn delete_recording(&self, name: &str) -> Pending<Result<(), RecordError>> {
        let removed = self.files.lock().unwrap().remove(name);
        Box::pin(async { removed.map(drop).ok_or(RecordError::NoFile) })
    }

    fn has_session(&self, session: &SessionId) -> bool {
        self.sessions.lock().unwrap().contains(session)
    }

    fn hang_up(&self, session: &SessionId) -> bool {
        self.sessions.lock().unwrap().remove(session)
    }

    fn show(&self, _: Frame) {}

    fn set_video(&self, _settings: VideoSettings) {}

    fn ingress_stats(&self) -> IngressStats {
        IngressStats::default()
    }

    fn egress_stats(&self) -> EgressStats {
        EgressStats::default()
    }

    fn restream(&self, wanted: Option<Restream>) {
        *self.is_restreamed.lock().unwrap() = wanted.is_some();
    }

    fn restream_stats(&self) -> Option<RestreamStats> {
        self.is_restreamed.lock().unwrap().then(|| RestreamStats {
            state: RestreamState::Waiting,
            since: SystemTime::UNIX_EPOCH + Duration::from_millis(1500),
            error: Some("the server closed the connection".to_owned()),
            bytes_sent: 7,
            reconnects: 2,
        })
    }

    fn close(&self) {}
}

#[derive(Default)]
pub struct FakeStore(Mutex<Vec<StoredStream>>);

impl StateStore for FakeStore {
    fn get(&self, id: &str) -> Result<Option<StoredStream>, StoreError> {
        Ok(self.0.lock().unwrap().iter().find(|stream| stream.id == id).cloned())
    }

    fn list(&self) -> Result<Vec<StoredStream>, StoreError> {
        Ok(self.0.lock().unwrap().clone())
    }

    fn create(&self, stream: StoredStream) -> Result<(), StoreError> {
        self.0.lock().unwrap().push(stream);
        Ok(())
    }

    fn update(&self, _: u64, stream: StoredStream) -> Result<(), StoreError> {
        let mut streams = self.0.lock().unwrap();
        let found = streams.iter_mut().find(|known| known.id == stream.id);
        let found = found.ok_or_else(|| StoreError::Missing { id: stream.id.clone() })?;
        *found = stream;
        Ok(())
    }

    fn delete(&self, id: &str) -> Result<bool, StoreError> {
        let mut streams = self.0.lock().unwrap();
        let before = streams.len();
        streams.retain(|stream| stream.id != id);
        Ok(streams.len() < before)
    }
}
