//! A runtime among fakes, and short words for what tests do with it.

mod catalog;
mod media;
mod memory;
mod models;
mod pictures;
mod store;

pub use catalog::{FakeCatalog, Load, Script, Turn};
pub use media::{FakeMedia, FakePath};
pub use models::FakeModels;
pub use pictures::FakePictures;

use host_ports::StateStore;
use host_runtime::{
    EventKind, EventReader, NewStream, News, Phase, Ports, Runtime, Settings, StreamChange,
    StreamEvent, StreamStatus, StreamView,
};
use serde_json::{Map, Value};
use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

/// Memory that each pipeline plans in a [`World::tight`].
const PLANNED: u64 = 1 << 20;

pub struct World {
    pub runtime: Runtime,
    pub catalog: Arc<FakeCatalog>,
    pub media: Arc<FakeMedia>,
    pub store: Arc<store::FakeStore>,
    pub hub: Arc<FakeModels>,
    pub album: Arc<FakePictures>,
}

/// A stream with the fakes that serve it.
pub struct Stream {
    pub runtime: Runtime,
    pub id: String,
    pub path: Arc<FakePath>,
    pub script: Arc<Script>,
}

impl World {
    pub fn new() -> Self {
        Self::with(Settings::default())
    }

    pub fn with(settings: Settings) -> Self {
        Self::on(settings, Arc::default())
    }

    /// The next run on what this one has stored; `prepare` says how its plugins are.
    pub async fn restart(self, settings: Settings, prepare: impl FnOnce(&FakeCatalog)) -> Self {
        self.runtime.shutdown().await;
        let world = Self::on(settings, self.store);
        prepare(&world.catalog);
        world.runtime.restore().await.unwrap();
        world
    }

    /// The same where no picture is taken any more.
    pub async fn restart_where_pictures_are_bad(self) -> Self {
        self.runtime.shutdown().await;
        let world = Self::on(Settings::default(), self.store);
        world.album.is_strict.store(true, std::sync::atomic::Ordering::SeqCst);
        world.runtime.restore().await.unwrap();
        world
    }

    fn on(settings: Settings, store: Arc<store::FakeStore>) -> Self {
        let catalog = Arc::new(FakeCatalog::default());
        let media = Arc::new(FakeMedia::default());
        let hub = Arc::new(FakeModels::default());
        let album = Arc::new(FakePictures::default());
        let ports = Ports {
            catalog: catalog.clone(),
            media: media.clone(),
            store: store.clone(),
            models: Some(hub.clone()),
            pictures: Some(album.clone()),
        };
        let runtime = Runtime::new(settings, ports);
        Self { runtime, catalog, media, store, hub, album }
    }

    /// With memory for one of `fake`'s pipelines at a time: a reload ends the old one before the new one is loaded.
    pub fn tight() -> Self {
        let world = Self::with(Settings { memory_limit: PLANNED, ..Settings::default() });
        *world.catalog.script("fake").memory_bytes.lock().unwrap() = PLANNED;
        world
    }

    /// A stream of the pipeline `fake`.
    pub async fn create(&self, params: Value) -> Stream {
        self.create_of("fake", params).await
    }

    pub async fn create_of(&self, pipeline: &str, params: Value) -> Stream {
        let view = self.runtime.create(wish(pipeline, params)).await.unwrap();
        self.stream(view)
    }

    pub fn stream(&self, view: StreamView) -> Stream {
        Stream {
            runtime: self.runtime.clone(),
            path: self.media.path(&view.id),
            script: self.catalog.script(&view.pipeline),
            id: view.id,
        }
    }

    /// A restored stream.
    pub fn only_stream(&self) -> Stream {
        let streams = self.runtime.list();
        assert_eq!(streams.len(), 1);
        self.stream(streams[0].clone())
    }

    pub fn stored(&self) -> usize {
        self.store.list().unwrap().len()
    }
}

impl Stream {
    pub async fn change(&self, params: Value) -> StreamView {
        self.runtime.change(&self.id, change(params)).await.unwrap().view
    }

    pub fn status(&self) -> StreamStatus {
        self.runtime.status(&self.id).unwrap()
    }

    /// Waits until the stream is in `phase`. Phases tell no channel of their own: looks again whenever tasks had a turn.
    pub async fn reach(&self, phase: Phase) {
        self.wait_for(|status| status.view.phase == phase).await;
    }

    pub async fn wait_for(&self, is_met: impl Fn(&StreamStatus) -> bool) {
        patiently("the status", async {
            while !is_met(&self.status()) {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    pub fn events(&self) -> Events {
        Events(self.runtime.events(&self.id, None).unwrap())
    }

    /// Publishes a frame and waits until viewers see it.
    pub async fn see(&self, frame: u64) {
        assert!(self.path.publish_frame(frame));
        self.path.seen(frame).await;
    }
}

/// A stream's events, from its creation on.
pub struct Events(EventReader);

impl Events {
    /// The next but the steps of loading, of which only the first says more than that it goes on.
    pub async fn next(&mut self) -> Option<StreamEvent> {
        loop {
            let news = patiently("an event", self.0.next()).await?;
            let News::Event(event) = news else { panic!("{news:?}") };
            let is_step = matches!(event.kind, EventKind::Loading(fraction) if fraction > 0.0);
            if !is_step {
                return Some(event);
            }
        }
    }

    /// The names of the events up to the first of this name.
    pub async fn until(&mut self, name: &str) -> Vec<&'static str> {
        let mut names = Vec::new();
        while names.last() != Some(&name) {
            names.push(self.next().await.expect("the stream lives").kind.name());
        }
        names
    }
}

pub fn wish(pipeline: &str, params: Value) -> NewStream {
    NewStream { pipeline: pipeline.to_owned(), params: object(params), ..NewStream::default() }
}

pub fn change(params: Value) -> StreamChange {
    StreamChange { params: object(params), ..StreamChange::default() }
}

pub fn object(value: Value) -> Map<String, Value> {
    value.as_object().cloned().expect("tests write objects")
}

/// Waits for what must come, and fails the test if it does not. On a thread's clock, as tokio's may be paused.
pub async fn patiently<T>(what: &str, future: impl Future<Output = T>) -> T {
    let (_over, is_over) = std::sync::mpsc::channel::<()>();
    let (patience, ended) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        if is_over.recv_timeout(Duration::from_secs(20)) == Err(RecvTimeoutError::Timeout) {
            let _ = patience.send(());
        }
    });
    tokio::select! {
        value = future => value,
        Ok(()) = ended => panic!("waited too long for {what}"),
    }
}

/// Settings that give up on a hung pipeline quickly.
pub fn impatient() -> Settings {
    Settings { stop_deadline: Duration::from_millis(50), ..Settings::default() }
}
