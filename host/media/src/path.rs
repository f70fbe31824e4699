//! One stream's media: its sessions, what its publisher sends and what its readers are shown.

use crate::audio::Source;
use crate::codecs::Codec;
use crate::counters::IngressCounters;
use crate::egress::{Egress, IDLE};
use crate::feed::Feed;
use crate::hub::{Command, HubHandle};
use crate::negotiate::Role;
use crate::outputs::Outputs;
use crate::publisher::Publisher;
use crate::reception::Reception;
use crate::rtmp::Restreams;
use crate::server::Context;
use crate::showing::ShowingOrder;
use crate::unit::AudioCodec;
use host_ports::{
    Answer, EgressStats, Frame, HlsError, HlsFile, HlsRequest, IngressEvent, IngressSink,
    IngressStats, MediaPath, OfferError, Pending, RecordError, RecordedFile, Recording, Restream,
    RestreamStats, SessionId, VideoSettings,
};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Publishers that may be connecting at once: the one and some that mean to replace it.
const MAX_PUBLISHERS: usize = 4;

/// What the hub, the codec threads and the path's owner share.
pub(crate) struct PathState {
    pub id: u64,
    pub name: String,
    pub ingress: Arc<dyn IngressSink>,
    pub ingress_counters: Arc<IngressCounters>,
    pub egress: Egress,
    sessions: Mutex<Sessions>,
}

#[derive(Default)]
struct Sessions {
    is_closed: bool,
    by_id: HashMap<SessionId, Session>,
    /// Whose frames are taken.
    publisher: Option<SessionId>,
}

/// What follows for a publisher that took a path.
pub(crate) struct Connected {
    /// A peer that published until now, for the hub to end; others end by themselves.
    pub replaced_peer: Option<SessionId>,
    pub source: Source,
}

struct Session {
    role: Role,
    /// Ends it; none for peers, which the hub ends.
    end: Option<CancellationToken>,
}

impl PathState {
    pub fn new(name: String, ingress: Arc<dyn IngressSink>, egress: Egress) -> Self {
        let (ingress_counters, sessions) = (Arc::default(), Mutex::default());
        Self { id: egress.path, name, ingress, ingress_counters, egress, sessions }
    }

    /// Takes a session in, unless that would be one too many.
    fn admit(
        &self,
        session: &SessionId,
        (role, end): (Role, Option<CancellationToken>),
        max_readers: usize,
    ) -> Result<(), OfferError> {
        let mut sessions = self.lock();
        if sessions.is_closed {
            return Err(OfferError::Unavailable {
                reason: "the stream is being deleted".to_owned(),
            });
        }
        let others = sessions.by_id.values().filter(|other| other.role == role).count();
        match role {
            Role::Reader if others >= max_readers => {
                return Err(OfferError::TooManyReaders { limit: max_readers });
            }
            Role::Publisher if others >= MAX_PUBLISHERS => {
                let reason = format!("{MAX_PUBLISHERS} publishers are connecting already");
                return Err(OfferError::Unavailable { reason });
            }
            _ => {}
        }
        sessions.by_id.insert(session.clone(), Session { role, end });
        Ok(())
    }

    /// From now on this publisher's frames and audio are taken. All of it under one lock, as in `session_ended`: what is
    /// told of two publishers must come in the order in which they took the path.
    pub fn publisher_connected(&self, session: &SessionId, codec: Codec) -> Connected {
        let mut sessions = self.lock();
        let replaced = sessions.publisher.replace(session.clone());
        let end = replaced.as_ref().and_then(|id| sessions.by_id.get(id)?.end.clone());
        let source = self.egress.audio.begin();
        self.ingress_counters.set_codec(codec);
        self.ingress_counters.is_publishing.store(true, Relaxed);
        self.ingress.on(IngressEvent::PublisherConnected);
        drop(sessions);
        let Some(end) = end else { return Connected { replaced_peer: replaced, source } };
        end.cancel();
        Connected { replaced_peer: None, source }
    }

    pub fn session_ended(&self, session: &SessionId) {
        let mut sessions = self.lock();
        sessions.by_id.remove(session);
        self.egress.forget_estimate(session);
        // A replaced publisher is not missed.
        if sessions.publisher.as_ref() != Some(session) {
            return;
        }
        sessions.publisher = None;
        self.ingress_counters.is_publishing.store(false, Relaxed);
        self.ingress.on(IngressEvent::PublisherGone);
    }

    /// Counts a reader out; what encodes for it ends a while later unless another reader came.
    pub fn release(
        self: &Arc<Self>,
        (codec, audio): (Codec, Option<AudioCodec>),
        runtime: &Handle,
    ) {
        self.egress.release(codec, audio);
        let path = Arc::downgrade(self);
        runtime.spawn(async move {
            tokio::time::sleep(IDLE).await;
            if let Some(path) = path.upgrade() {
                path.egress.reap();
            }
        });
    }

    fn lock(&self) -> MutexGuard<'_, Sessions> {
        // Entries are put in or taken out in one step: a panic elsewhere leaves nothing half done.
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The owner's end of a path. Dropping it ends all sessions.
pub(crate) struct Path {
    pub state: Arc<PathState>,
    pub hub: HubHandle,
    pub context: Arc<Context>,
    /// Itself, for what outlives a call.
    pub me: Weak<Path>,
    pub restreams: Restreams,
    pub outputs: Outputs,
}

impl Path {
    fn join(&self, offer: &str, role: Role) -> Result<Answer, OfferError> {
        let session = random_id();
        let ticket = self.hub.ticket()?;
        let (mut peer, sdp) = self.context.join(offer, role, &self.state, &session)?;
        peer.ticket = Some(ticket);
        self.state.admit(&session, (role, None), self.context.config.max_readers)?;
        let started = match role {
            Role::Reader => self.state.egress.admit(peer.codec, peer.audio_codec()),
            Role::Publisher => Ok(()),
        };
        let is_counted = role == Role::Reader && started.is_ok();
        let added = started.map_err(|error| error.to_string());
        let codecs = (peer.codec, peer.audio_codec());
        let added = added
            .and_then(|()| self.hub.try_send(Command::Add(Box::new(peer))).map_err(str::to_owned));
        if let Err(reason) = added {
            self.state.session_ended(&session);
            if is_counted {
                self.state.release(codecs, &self.hub.runtime);
            }
            return Err(OfferError::Unavailable { reason });
        }
        if self.state.lock().is_closed {
            // Closed meanwhile: the hub may have ended the path's sessions before it had this one.
            self.end_all();
        }
        let (codec, audio) = (codecs.0.name(), codecs.1.map(AudioCodec::name));
        tracing::info!(path = %self.state.name, ?role, codec, audio, "session answered");
        Ok(Answer { session, sdp })
    }
}

impl Path {
    /// Lets a publisher in that is no peer connection. It takes the path at once.
    pub fn begin_publishing(&self, codec: Codec) -> Result<Publisher, OfferError> {
        if self.context.codecs.decoders_of(codec).is_empty() {
            let reason = format!("this server cannot decode {}", codec.name());
            return Err(OfferError::Unavailable { reason });
        }
        let (session, ended) = (random_id(), CancellationToken::new());
        let ticket = self.hub.ticket()?;
        let role = Role::Publisher;
        self.state.admit(&session, (role, Some(ended.clone())), self.context.config.max_readers)?;
        let reception = Reception::start(self.state.clone(), codec).inspect_err(|_| {
            self.state.session_ended(&session);
        });
        let reception = reception.map_err(no_thread)?;
        let path = self.state.clone();
        let Connected { replaced_peer, source } = path.publisher_connected(&session, codec);
        if let Some(peer) = replaced_peer {
            self.hub.send(Command::HangUp(peer));
        }
        let order = ShowingOrder::default();
        Ok(Publisher { path, session, ended, reception, source, order, _ticket: ticket })
    }

    /// Lets a reader in that is no peer connection; `NotReady` until a frame was shown.
    pub fn listen(&self, video: Codec, audio: Option<AudioCodec>) -> Result<Feed, OfferError> {
        if !self.state.egress.has_shown() {
            return Err(OfferError::NotReady);
        }
        if self.context.codecs.encoders_of(video).is_empty() {
            let reason = format!("this server cannot encode {}", video.name());
            return Err(OfferError::Unavailable { reason });
        }
        let (session, ended) = (random_id(), CancellationToken::new());
        let ticket = self.hub.ticket()?;
        let role = Role::Reader;
        self.state.admit(&session, (role, Some(ended.clone())), self.context.config.max_readers)?;
        let units = self.state.egress.feeds.subscribe();
        self.state.egress.admit(video, audio).map_err(no_thread).inspect_err(|_| {
            self.state.session_ended(&session);
        })?;
        self.state.egress.want_key_frame(video);
        let (path, runtime) = (self.state.clone(), self.hub.runtime.clone());
        let needs_key_frame = true;
        Ok(Feed {
            path,
            session,
            video,
            audio,
            units,
            ended,
            needs_key_frame,
            runtime,
            _ticket: ticket,
        })
    }

    /// Whether a frame was shown, and when the first is.
    pub fn shown(&self) -> watch::Receiver<bool> {
        self.state.egress.has_shown.subscribe()
    }

    fn end_all(&self) {
        self.restreams.end();
        for session in self.state.lock().by_id.values() {
            if let Some(end) = &session.end {
                end.cancel();
            }
        }
        self.hub.send(Command::ClosePath(self.state.id));
        self.state.egress.close();
    }
}

impl MediaPath for Path {
    fn publish(&self, offer: &str) -> Result<Answer, OfferError> {
        self.join(offer, Role::Publisher)
    }

    fn play(&self, offer: &str) -> Result<Answer, OfferError> {
        if !self.state.egress.has_shown() {
            return Err(OfferError::NotReady);
        }
        self.join(offer, Role::Reader)
    }

    fn hls(&self, request: HlsRequest) -> Pending<Result<HlsFile, HlsError>> {
        self.answer_hls(request)
    }

    fn snapshot(&self) -> Pending<Result<Arc<[u8]>, OfferError>> {
        let state = self.state.clone();
        self.outputs.snapshots.take(move || state.egress.shown())
    }

    fn record(&self) -> Pending<Result<(Recording, Pending<Recording>), RecordError>> {
        self.begin_recording()
    }

    fn stop_recording(&self) -> Pending<Result<Recording, RecordError>> {
        self.end_recording()
    }

    fn recording(&self) -> Option<Recording> {
        self.last_recording()
    }

    fn recordings(&self) -> Pending<Result<Vec<RecordedFile>, RecordError>> {
        self.list_recordings()
    }

    fn recorded_file(&self, name: &str) -> Option<PathBuf> {
        self.find_recording(name)
    }

    fn delete_recording(&self, name: &str) -> Pending<Result<(), RecordError>> {
        self.remove_recording(name)
    }

    fn has_session(&self, session: &SessionId) -> bool {
        self.state.lock().by_id.contains_key(session)
    }

    fn hang_up(&self, session: &SessionId) -> bool {
        let sessions = self.state.lock();
        let Some(known) = sessions.by_id.get(session) else { return false };
        match &known.end {
            Some(end) => end.cancel(),
            None => self.hub.send(Command::HangUp(session.clone())),
        }
        true
    }

    fn show(&self, frame: Frame) {
        if !self.state.lock().is_closed {
            self.state.egress.show(frame);
        }
    }

    fn restream(&self, wanted: Option<Restream>) {
        let is_closed = self.state.lock().is_closed;
        let wanted = wanted.filter(|_| !is_closed);
        self.restreams.set(wanted, &self.me, &self.context.restreaming, &self.hub.runtime);
    }

    fn set_video(&self, settings: VideoSettings) {
        self.state.egress.set_video(settings);
    }

    fn ingress_stats(&self) -> IngressStats {
        self.state.ingress_counters.read(self.state.egress.audio.stats())
    }

    fn egress_stats(&self) -> EgressStats {
        let readers =
            self.state.lock().by_id.values().filter(|other| other.role == Role::Reader).count();
        let egress = &self.state.egress;
        let (codecs, bitrate_kbps) = (egress.codecs_in_use(), egress.bitrates().iter().sum());
        egress.counters.read(readers, codecs, bitrate_kbps, egress.audio.stats())
    }

    fn restream_stats(&self) -> Option<RestreamStats> {
        self.restreams.stats()
    }

    fn close(&self) {
        let mut sessions = self.state.lock();
        if std::mem::replace(&mut sessions.is_closed, true) {
            return;
        }
        drop(sessions);
        self.end_all();
    }
}

fn random_id() -> SessionId {
    SessionId(uuid::Uuid::new_v4().simple().to_string())
}

fn no_thread(error: std::io::Error) -> OfferError {
    OfferError::Unavailable { reason: format!("no thread for its codec: {error}") }
}

impl Drop for Path {
    fn drop(&mut self) {
        self.close();
    }
}
