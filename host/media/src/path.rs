//! One stream's media: its sessions, what its publisher sends and what its readers are shown.

use crate::codecs::Codec;
use crate::counters::IngressCounters;
use crate::egress::{Egress, IDLE};
use crate::hub::{Command, HubHandle};
use crate::negotiate::Role;
use crate::server::Context;
use host_ports::{
    Answer, EgressStats, Frame, IngressEvent, IngressSink, IngressStats, MediaPath, OfferError,
    SessionId,
};
use std::collections::HashMap;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::runtime::Handle;

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
    by_id: HashMap<SessionId, Role>,
    /// Whose frames are taken.
    publisher: Option<SessionId>,
}

impl PathState {
    pub fn new(id: u64, name: String, ingress: Arc<dyn IngressSink>, egress: Egress) -> Self {
        let (ingress_counters, sessions) = (Arc::default(), Mutex::default());
        Self { id, name, ingress, ingress_counters, egress, sessions }
    }

    /// Takes a session in, unless that would be one too many.
    fn admit(&self, session: &SessionId, role: Role, max_readers: usize) -> Result<(), OfferError> {
        let mut sessions = self.lock();
        if sessions.is_closed {
            return Err(OfferError::Unavailable {
                reason: "the stream is being deleted".to_owned(),
            });
        }
        let others = sessions.by_id.values().filter(|other| **other == role).count();
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
        sessions.by_id.insert(session.clone(), role);
        Ok(())
    }

    /// From now on this publisher's frames are taken.
    pub fn publisher_connected(&self, session: &SessionId, codec: Codec) {
        self.lock().publisher = Some(session.clone());
        self.ingress_counters.set_codec(codec);
        self.ingress_counters.is_publishing.store(true, Relaxed);
        self.ingress.on(IngressEvent::PublisherConnected);
    }

    pub fn session_ended(&self, session: &SessionId) {
        let mut sessions = self.lock();
        sessions.by_id.remove(session);
        // A replaced publisher is not missed.
        if sessions.publisher.as_ref() != Some(session) {
            return;
        }
        sessions.publisher = None;
        drop(sessions);
        self.ingress_counters.is_publishing.store(false, Relaxed);
        self.ingress.on(IngressEvent::PublisherGone);
    }

    /// Counts a reader out; its encoder ends a while later unless another reader came.
    pub fn release(self: &Arc<Self>, codec: Codec, runtime: &Handle) {
        self.egress.release(codec);
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
}

impl Path {
    fn join(&self, offer: &str, role: Role) -> Result<Answer, OfferError> {
        let session = SessionId(uuid::Uuid::new_v4().simple().to_string());
        let ticket = self.hub.ticket()?;
        let (mut peer, sdp) = self.context.join(offer, role, &self.state, &session)?;
        peer.ticket = Some(ticket);
        self.state.admit(&session, role, self.context.config.max_readers)?;
        let started = match role {
            Role::Reader => self.state.egress.admit(peer.codec),
            Role::Publisher => Ok(()),
        };
        let added = started.map_err(|error| error.to_string());
        let codec = peer.codec;
        let added = added
            .and_then(|()| self.hub.try_send(Command::Add(Box::new(peer))).map_err(str::to_owned));
        if let Err(reason) = added {
            self.state.session_ended(&session);
            if role == Role::Reader {
                self.state.release(codec, &self.hub.runtime);
            }
            return Err(OfferError::Unavailable { reason });
        }
        if self.state.lock().is_closed {
            // Closed meanwhile: the hub may have ended the path's sessions before it had this one.
            self.end_all();
        }
        tracing::info!(path = %self.state.name, ?role, codec = codec.name(), "session answered");
        Ok(Answer { session, sdp })
    }
}

impl Path {
    fn end_all(&self) {
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

    fn hang_up(&self, session: &SessionId) -> bool {
        let is_known = self.state.lock().by_id.contains_key(session);
        if is_known {
            self.hub.send(Command::HangUp(session.clone()));
        }
        is_known
    }

    fn show(&self, frame: Frame) {
        if !self.state.lock().is_closed {
            self.state.egress.show(frame);
        }
    }

    fn ingress_stats(&self) -> IngressStats {
        self.state.ingress_counters.read()
    }

    fn egress_stats(&self) -> EgressStats {
        let readers =
            self.state.lock().by_id.values().filter(|role| **role == Role::Reader).count();
        self.state.egress.counters.read(readers, self.state.egress.codecs_in_use())
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

impl Drop for Path {
    fn drop(&mut self) {
        self.close();
    }
}
