//! The handle that the API calls: every stream by its id, its key and its playback id.

use crate::agreement::{Agreement, Desk};
use crate::budget::Budget;
use crate::directory::{Directory, Name, NoPlace, Place};
use crate::identity::Identity;
use crate::session::{self, Ask, Handle, Parts, Reply, Request};
use crate::tally::Tally;
use crate::view::shortened;
use crate::{
    Applied, ChangeError, Changed, EventReader, EventsError, Fallback, Forecast, MediaError, Mode,
    NewStream, Planned, PluginFigures, StreamChange, StreamStatus, StreamView,
};
use host_ports::{
    Answer, Claim, MediaServer, ModelStore, PictureStore, PipelineCatalog, PluginReport, SessionId,
    StateStore, StoredStream, StreamKeys,
};
use host_stream::{Backoff, with_host_params};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{oneshot, watch};
use tracing::Instrument;

/// What an operator may set.
#[derive(Clone, Debug)]
pub struct Settings {
    pub max_streams: usize,
    /// Bytes that all pipelines together may take, by what their plugins plan.
    pub memory_limit: u64,
    /// What viewers see while a pipeline cannot deliver, where a stream says nothing else.
    pub default_fallback: Fallback,
    /// The pause before a dead pipeline is started again; doubled with every failure in a row.
    pub restart_backoff_first: Duration,
    /// The longest pause; a pipeline that keeps failing is tried again at this interval for ever.
    pub restart_backoff_max: Duration,
    /// How long deleting a stream, or shutting down with all of them, waits for pipelines to end.
    pub stop_deadline: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_streams: 16,
            memory_limit: u64::MAX,
            default_fallback: Fallback::Input,
            restart_backoff_first: Duration::from_millis(250),
            restart_backoff_max: Duration::from_secs(30),
            stop_deadline: Duration::from_secs(10),
        }
    }
}

impl Settings {
    pub(crate) fn backoff(&self) -> Backoff {
        Backoff { first: self.restart_backoff_first, max: self.restart_backoff_max }
    }
}

/// What the runtime works with.
pub struct Ports {
    pub catalog: Arc<dyn PipelineCatalog>,
    pub media: Arc<dyn MediaServer>,
    pub store: Arc<dyn StateStore>,
    /// Where models come from that are not on this machine; none: from nowhere.
    pub models: Option<Arc<dyn ModelStore>>,
    /// Fetches the pictures that params point to; none: nobody does.
    pub pictures: Option<Arc<dyn PictureStore>>,
}

/// All streams of this host. Clones are cheap and mean the same streams.
#[derive(Clone)]
pub struct Runtime {
    settings: Arc<Settings>,
    desk: Desk,
    media: Arc<dyn MediaServer>,
    directory: Arc<Directory>,
    /// Held from a stream's record to its place, so that both have the same order.
    creation: Arc<tokio::sync::Mutex<()>>,
    tally: Arc<Tally>,
}

impl Runtime {
    /// Must be called inside a tokio runtime.
    pub fn new(settings: Settings, ports: Ports) -> Self {
        let Ports { catalog, media, store, models, pictures } = ports;
        let budget = Budget::new(settings.memory_limit);
        let (change, offers) = watch::channel(());
        catalog.tell_changes(Box::new(move || change.send_replace(())));
        let default_fallback = settings.default_fallback;
        let encoders = Arc::new(media.video_abilities());
        let desk =
            Desk { catalog, store, budget, default_fallback, offers, models, pictures, encoders };
        Self {
            settings: Arc::new(settings),
            desk,
            media,
            directory: Arc::default(),
            creation: Arc::default(),
            tally: Arc::default(),
        }
    }

    /// Brings back the streams of an earlier run, in their order and whatever the limit. To be called once, before the
    /// first request. Each is agreed on anew and loads afterwards; where that fails it stays, and says why.
    pub async fn restore(&self) -> Result<(), ChangeError> {
        for record in self.desk.with_store(|store| store.list()).await? {
            let place = self.reserve(usize::MAX)?;
            let agreement = self.desk.provisional(&record)?;
            self.start(place, record, agreement).await?;
        }
        Ok(())
    }

    /// Answers as soon as the request is checked; the pipeline loads afterwards.
    pub async fn create(&self, wish: NewStream) -> Result<StreamView, ChangeError> {
        let runtime = self.clone();
        to_the_end(async move { runtime.create_now(wish).await }).await
    }

    /// What `create` would make of the wish, and whether it would take it.
    pub async fn plan(&self, wish: NewStream) -> Result<Planned, ChangeError> {
        let agreement = self.desk.agree(&wish).await?;
        let (fetch_bytes, sizes) = self.desk.measure(&agreement.artefacts).await;
        let memory_bytes = agreement.memory_bytes;
        Ok(Planned {
            pipeline: wish.pipeline,
            warnings: agreement.warnings().into_iter().chain(sizes).collect(),
            forecast: Forecast { needs_reload: false, memory_bytes, fetch_bytes },
            params: agreement.params,
        })
    }

    /// In order of creation.
    pub fn list(&self) -> Vec<StreamView> {
        self.directory.all().iter().map(|stream| stream.told.borrow().view.clone()).collect()
    }

    /// Wakes whenever a stream came or went.
    pub fn arrivals(&self) -> watch::Receiver<()> {
        self.directory.news()
    }

    pub fn get(&self, id: &str) -> Option<StreamView> {
        Some(self.directory.find(Name::Id(id))?.told.borrow().view.clone())
    }

    pub async fn change(&self, id: &str, change: StreamChange) -> Result<Changed, ChangeError> {
        let stream = self.find(id)?;
        let mode = change.mode;
        let Reply { mut changed, artefacts, applied } =
            ask(&stream, id, Ask::Change(change)).await?;
        if mode == Mode::Plan {
            let (fetch_bytes, sizes) = self.desk.measure(&artefacts).await;
            changed.forecast.fetch_bytes = fetch_bytes;
            changed.view.warnings.extend(sizes);
        }
        if let (Some(applied), Mode::ApplyAndWait(limit)) = (applied, mode) {
            changed.applied = Some(told_within(limit, applied).await);
        }
        Ok(changed)
    }

    /// Answers when the pipeline and the media are gone.
    pub async fn delete(&self, id: &str) -> Result<(), ChangeError> {
        self.delete_at(id, None).await
    }

    /// The same, unless the stream is at none of these revisions.
    pub async fn delete_at(
        &self,
        id: &str,
        revisions: Option<Vec<u64>>,
    ) -> Result<(), ChangeError> {
        let (runtime, id) = (self.clone(), id.to_owned());
        to_the_end(async move { runtime.delete_now(&id, revisions).await }).await
    }

    pub fn status(&self, id: &str) -> Option<StreamStatus> {
        Some(self.directory.find(Name::Id(id))?.status())
    }

    /// In order of creation.
    pub fn statuses(&self) -> Vec<StreamStatus> {
        self.directory.all().iter().map(|stream| stream.status()).collect()
    }

    /// Follows a stream's events: those after `last`, or all that are kept, and then what happens.
    pub fn events(&self, id: &str, last: Option<u64>) -> Result<EventReader, EventsError> {
        let not_found = || EventsError::NotFound { id: shortened(id) };
        let stream = self.directory.find(Name::Id(id)).ok_or_else(not_found)?;
        Ok(stream.events(last)?)
    }

    /// Streams that exist, whatever their phase.
    pub fn active_streams(&self) -> usize {
        self.directory.count()
    }

    /// Answers a WHIP offer, with the stream it belongs to.
    pub fn publish(
        &self,
        stream_key: &str,
        offer: &str,
    ) -> Result<(Answer, StreamView), MediaError> {
        let stream = self.serving(Name::StreamKey(stream_key))?;
        let answer = stream.path.publish(offer)?;
        let view = stream.told.borrow().view.clone();
        Ok((answer, view))
    }

    /// Answers a WHEP offer.
    pub fn play(&self, playback_id: &str, offer: &str) -> Result<Answer, MediaError> {
        Ok(self.serving(Name::PlaybackId(playback_id))?.path.play(offer)?)
    }

    /// Whether there is such a session of a publisher's; an error if not.
    pub fn find_publisher(&self, stream_key: &str, session: &str) -> Result<(), MediaError> {
        self.find_session(Name::StreamKey(stream_key), session)
    }

    /// The same of a reader's.
    pub fn find_reader(&self, playback_id: &str, session: &str) -> Result<(), MediaError> {
        self.find_session(Name::PlaybackId(playback_id), session)
    }

    pub fn hang_up_publisher(&self, stream_key: &str, session: &str) -> Result<(), MediaError> {
        self.hang_up(Name::StreamKey(stream_key), session)
    }

    pub fn hang_up_reader(&self, playback_id: &str, session: &str) -> Result<(), MediaError> {
        self.hang_up(Name::PlaybackId(playback_id), session)
    }

    /// Every plugin library found, accepted or not.
    pub fn plugins(&self) -> Vec<PluginReport> {
        self.desk.catalog.plugins()
    }

    /// How each plugin that was ever asked for has fared, by its id.
    pub fn plugin_figures(&self) -> BTreeMap<String, PluginFigures> {
        self.tally.snapshot()
    }

    /// What streams can name, each with the schema that their params are checked against: the plugin's params and the
    /// host's.
    pub fn claims(&self) -> Vec<Claim> {
        let mut claims = self.desk.catalog.claims();
        for claim in &mut claims {
            let fallback = self.settings.default_fallback;
            claim.params_schema = with_host_params(&claim.params_schema, fallback);
        }
        claims
    }

    /// Ends ingress, pipelines and egress of all streams, within one deadline. The streams stay in the store.
    pub async fn shutdown(&self) {
        self.directory.close();
        let streams = self.directory.all();
        for stream in &streams {
            stream.stop();
        }
        // Each ends by the same deadline on its own.
        for stream in streams {
            stream.ended().await;
        }
    }

    async fn create_now(&self, wish: NewStream) -> Result<StreamView, ChangeError> {
        let place = self.reserve(self.settings.max_streams)?;
        let identity = Identity::draw(wish.name.clone())?;
        let agreement = self.desk.agree(&wish).await?;
        let record = record(identity, wish, &agreement);
        let (id, stored) = (record.id.clone(), record.clone());
        let _in_order = self.creation.lock().await;
        self.desk.with_store(move |store| store.create(stored)).await?;
        let started = self.start(place, record, agreement).await;
        if started.is_err() {
            self.desk.with_store(move |store| store.delete(&id)).await?;
        }
        started
    }

    fn reserve(&self, limit: usize) -> Result<Place, ChangeError> {
        self.directory.reserve(limit).map_err(|refusal| match refusal {
            NoPlace::Full => ChangeError::TooManyStreams { limit },
            NoPlace::Closed => ChangeError::Internal("the server is shutting down".to_owned()),
        })
    }

    async fn delete_now(&self, id: &str, revisions: Option<Vec<u64>>) -> Result<(), ChangeError> {
        let stream = self.find(id)?;
        // First of all: a crash from here on must not bring the stream back. Of two deletions one finds it.
        match revisions {
            // Between other changes, which a deletion of any revision need not wait for.
            Some(revisions) => drop(ask(&stream, id, Ask::Forget { revisions }).await?),
            None => {
                let forgotten = id.to_owned();
                if !self.desk.with_store(move |store| store.delete(&forgotten)).await? {
                    return Err(ChangeError::not_found(id));
                }
            }
        }
        stream.stop();
        stream.ended().await;
        stream.tell_deleted();
        // The session does this as it ends; one that a fault of ours ended early did not.
        self.directory.remove(id);
        Ok(())
    }

    async fn start(
        &self,
        place: Place,
        record: StoredStream,
        agreement: Agreement,
    ) -> Result<StreamView, ChangeError> {
        let id = record.id.clone();
        let parts = Parts {
            settings: &self.settings,
            desk: self.desk.clone(),
            media: &*self.media,
            tally: self.tally.clone(),
            record,
            agreement,
        };
        let directory = self.directory.clone();
        let started = session::spawn(parts, move || directory.remove(&id));
        let stream = Arc::new(started.map_err(|error| {
            ChangeError::Internal(format!("no thread could be started: {error}"))
        })?);
        let view = stream.told.borrow().view.clone();
        if !place.take(stream.clone()) {
            stream.stop();
            stream.ended().await;
        }
        Ok(view)
    }

    fn find(&self, id: &str) -> Result<Arc<Handle>, ChangeError> {
        self.directory.find(Name::Id(id)).ok_or_else(|| ChangeError::not_found(id))
    }

    pub(crate) fn serving(&self, name: Name<'_>) -> Result<Arc<Handle>, MediaError> {
        let stream = self.directory.find(name).filter(|stream| !stream.is_stopping());
        stream.ok_or(MediaError::NoStream)
    }

    fn find_session(&self, name: Name<'_>, session: &str) -> Result<(), MediaError> {
        let is_there = self.serving(name)?.path.has_session(&SessionId(session.to_owned()));
        if is_there { Ok(()) } else { Err(MediaError::NoSession) }
    }

    fn hang_up(&self, name: Name<'_>, session: &str) -> Result<(), MediaError> {
        let stream = self.serving(name)?;
        match stream.path.hang_up(&SessionId(session.to_owned())) {
            true => Ok(()),
            false => Err(MediaError::NoSession),
        }
    }
}

/// Asks a stream's session.
async fn ask(stream: &Handle, id: &str, ask: Ask) -> Result<Reply, ChangeError> {
    let not_found = || ChangeError::not_found(id);
    let (reply, answer) = oneshot::channel();
    stream.requests.try_send(Request { ask, reply }).map_err(|refusal| match refusal {
        TrySendError::Full(_) => ChangeError::Busy { id: id.to_owned() },
        TrySendError::Closed(_) => not_found(),
    })?;
    // Deleted before it came to that.
    answer.await.unwrap_or_else(|_| Err(not_found()))
}

async fn told_within(limit: Duration, applied: oneshot::Receiver<Applied>) -> Applied {
    let reason = match tokio::time::timeout(limit, applied).await {
        Ok(Ok(applied)) => return applied,
        Ok(Err(_)) => "the stream was deleted meanwhile".to_owned(),
        Err(_) => format!("no frame was made with them within {} s", limit.as_secs()),
    };
    Applied::NotYet { reason }
}

/// Does not stop halfway when the caller, a request whose client hung up, goes away.
async fn to_the_end<T: Send + 'static>(
    work: impl Future<Output = Result<T, ChangeError>> + Send + 'static,
) -> Result<T, ChangeError> {
    let done = tokio::spawn(work.in_current_span()).await;
    done.unwrap_or_else(|error| Err(ChangeError::Internal(error.to_string())))
}

impl StreamKeys for Runtime {
    fn stream_of(&self, stream_key: &str) -> Option<String> {
        let stream = self.serving(Name::StreamKey(stream_key)).ok()?;
        let told = stream.told.borrow();
        Some(told.view.id.clone())
    }
}

fn record(identity: Identity, wish: NewStream, agreement: &Agreement) -> StoredStream {
    StoredStream {
        id: identity.id,
        name: identity.name,
        stream_key: identity.stream_key,
        playback_id: identity.playback_id,
        created_at: identity.created_at,
        pipeline: wish.pipeline,
        params: agreement.params.clone(),
        revision: 1,
        output_rtmp_url: wish.output_rtmp_url.filter(|url| !url.is_empty()),
    }
}
