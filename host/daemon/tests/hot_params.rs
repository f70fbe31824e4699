//! A hot change is in the very next frame: the runtime over a real worker, with a plugin that writes its param into the
//! pictures, and frames that come as fast as they are shown.

use host_plugins::{Environment, PluginCatalog, WorkerCommand};
use host_ports::{
    Answer, EgressStats, Frame, FrameStamp, HlsError, HlsFile, HlsRequest, IngressSink,
    IngressStats, MediaPath, MediaServer, OfferError, Pending, RecordError, RecordedFile,
    Recording, SessionId, VideoAbilities, VideoCodec, VideoSettings,
};
use host_runtime::{Applied, Mode, NewStream, Phase, Ports, Runtime, Settings, StreamChange};
use host_store::MemoryStore;
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const CHANGES: u64 = 1000;
/// For what comes within milliseconds, or never.
const PATIENCE: Duration = Duration::from_secs(20);

/// One stream's media: publishes a frame whenever the last one was shown, and writes down what is shown.
#[derive(Default)]
struct Media {
    ingress: OnceLock<Arc<dyn IngressSink>>,
    /// The number of the newest frame; counted before the frame is handed over.
    published: AtomicU64,
    shown: Mutex<Vec<Shown>>,
    progress: Mutex<Option<mpsc::Sender<u64>>>,
    is_over: AtomicBool,
}

struct Shown {
    frame: u64,
    mark: u64,
}

/// The path, which the runtime lets go of by itself.
struct View(Arc<Media>);

/// What the runtime gets.
struct Server(Arc<Media>);

impl MediaServer for Server {
    fn video_abilities(&self) -> VideoAbilities {
        VideoAbilities { codecs: vec![VideoCodec::H264], h264_encoder: Some("x264enc") }
    }

    fn open(&self, _: &str, ingress: Arc<dyn IngressSink>) -> Arc<dyn MediaPath> {
        assert!(self.0.ingress.set(ingress).is_ok(), "there is one stream");
        Arc::new(View(self.0.clone()))
    }
}

impl MediaPath for View {
    fn publish(&self, _: &str) -> Result<Answer, OfferError> {
        Err(OfferError::NotReady)
    }

    fn play(&self, _: &str) -> Result<Answer, OfferError> {
        Err(OfferError::NotReady)
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

    fn has_session(&self, _: &SessionId) -> bool {
        false
    }

    fn hang_up(&self, _: &SessionId) -> bool {
        false
    }

    fn show(&self, frame: Frame) {
        let mark = frame.pixels().iter().take(3).fold(0, |mark, byte| mark << 8 | u64::from(*byte));
        let shown = Shown { frame: frame.stamp.id, mark };
        let progress = self.0.progress.lock().expect("no panic").clone();
        // Nobody publishes any more.
        let _ = progress.map(|progress| progress.send(shown.frame));
        self.0.shown.lock().expect("no panic").push(shown);
    }

    fn set_video(&self, _settings: VideoSettings) {}

    fn ingress_stats(&self) -> IngressStats {
        IngressStats::default()
    }

    fn egress_stats(&self) -> EgressStats {
        EgressStats::default()
    }

    fn restream(&self, _: Option<host_ports::Restream>) {}

    fn restream_stats(&self) -> Option<host_ports::RestreamStats> {
        None
    }

    fn close(&self) {}
}

impl Media {
    /// Until then nobody seems to publish.
    async fn reach_first_frame(&self) {
        let first = async {
            while self.shown.lock().expect("no panic").is_empty() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, first).await.expect("frames are shown");
    }

    fn publish(self: &Arc<Self>) -> JoinHandle<()> {
        let (progress, shown) = mpsc::channel();
        *self.progress.lock().expect("no panic") = Some(progress);
        let media = self.clone();
        std::thread::spawn(move || {
            let ingress = media.ingress.get().expect("the stream is there");
            while !media.is_over.load(Ordering::SeqCst) {
                let id = media.published.fetch_add(1, Ordering::SeqCst) + 1;
                let mut slot =
                    ingress.lease().expect("the memory of a frame that was shown is free");
                slot.pixels_mut().fill(0);
                ingress.put(Frame::new(FrameStamp { id, captured_at: Instant::now() }, slot));
                while shown.recv_timeout(PATIENCE).expect("every frame is shown") < id {}
            }
        })
    }
}

fn catalog(folder: &Path) -> PluginCatalog {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_streamdiffusion-host"));
    let name = "libplugin_faulty.so";
    let built = program.with_file_name(name);
    assert!(built.is_file(), "{} is missing; `cargo build --workspace` makes it", built.display());
    let plugins = folder.join("plugins");
    std::fs::create_dir(&plugins).expect("an empty folder takes a folder");
    std::fs::copy(built, plugins.join(name)).expect("a folder of our own takes a file");
    let environment = Environment { threads: 1, ..Environment::default() };
    let mut config = host_plugins::Config::new(vec![plugins], folder.join("cache"), environment);
    config.worker = WorkerCommand { exe: program, ..WorkerCommand::default() };
    PluginCatalog::new(config).expect("the folder can be read")
}

fn object(value: Value) -> Map<String, Value> {
    value.as_object().cloned().expect("tests write objects")
}

async fn reach_running(runtime: &Runtime, id: &str) {
    let running = async {
        while runtime.get(id).expect("the stream is there").phase != Phase::Running {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, running).await.expect("the stream runs");
}

/// Every second change waits for its frame, which must be the first with the mark. The others are answered at once, and
/// whatever is published after the answer must show them.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_hot_changes_are_each_in_the_very_next_frame() {
    let folder = tempfile::tempdir().expect("a folder");
    let media = Arc::new(Media::default());
    let catalog = Arc::new(catalog(folder.path()));
    let server = Arc::new(Server(media.clone()));
    let store = Arc::new(MemoryStore::default());
    let ports = Ports { catalog, media: server, store, models: None, pictures: None };
    let runtime = Runtime::new(Settings::default(), ports);
    let params = object(json!({ "width": 16, "height": 16 }));
    let wish = NewStream { pipeline: "faulty".into(), params, ..NewStream::default() };
    let id = runtime.create(wish).await.expect("the plugin is there").id;
    reach_running(&runtime, &id).await;
    let publisher = media.publish();
    media.reach_first_frame().await;

    let (mut applied, mut answered) = (Vec::new(), Vec::new());
    for mark in 1..=CHANGES {
        let mode = if mark % 2 == 0 { Mode::ApplyAndWait(PATIENCE) } else { Mode::Apply };
        let change = StreamChange {
            params: object(json!({ "mark": mark })),
            mode,
            ..StreamChange::default()
        };
        let changed = runtime.change(&id, change).await.expect("the change is good");
        match changed.applied {
            Some(Applied::AtFrame(frame)) => applied.push((mark, frame)),
            None => answered.push((mark, media.published.load(Ordering::SeqCst))),
            Some(not_yet) => panic!("{mark}: {not_yet:?}"),
        }
    }
    media.is_over.store(true, Ordering::SeqCst);
    publisher.join().expect("every frame is shown");
    runtime.delete(&id).await.expect("the stream is there");

    let shown = media.shown.lock().expect("no panic");
    let mark_of =
        |frame: u64| shown.iter().find(|shown| shown.frame == frame).map(|shown| shown.mark);
    let wrong = applied.iter().filter(|(mark, frame)| {
        mark_of(*frame) != Some(*mark) || mark_of(frame - 1).is_some_and(|before| before >= *mark)
    });
    let late = answered.iter().filter(|(mark, newest)| {
        shown.iter().any(|shown| shown.frame > *newest && shown.mark < *mark)
    });
    assert_eq!((wrong.count(), late.count()), (0, 0));
    assert_eq!((applied.len(), answered.len()), (500, 500));
    assert_eq!(shown.last().map(|shown| shown.mark), Some(CHANGES));
}
