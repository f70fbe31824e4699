//! What a session and the threads that move a stream's frames have in common.

use crate::agreement::Agreement;
use crate::chronicle::Chronicle;
use crate::figures::Figures;
use crate::health::Health;
use crate::inbox::Inbox;
use crate::ingress::{self, Ingress, Presence};
use crate::pipe::Canceller;
use crate::screen::Screen;
use crate::waiting::Waiting;
use host_ports::{Frame, Mailbox};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;
use tracing::Span;

#[derive(Clone)]
pub struct Shared {
    pub inbox: Arc<Inbox>,
    pub ingress: Arc<Ingress>,
    pub screen: Arc<Screen>,
    pub figures: Arc<Figures>,
    pub health: Arc<Health>,
    pub canceller: Arc<Canceller>,
    pub samples: Arc<Samples>,
    pub waiting: Arc<Waiting>,
    pub chronicle: Arc<Chronicle>,
}

/// Where frames go that the pipeline has worked on, while another one is being warmed with them.
#[derive(Default)]
pub struct Samples {
    taker: Mutex<Option<Arc<Mailbox<Frame>>>>,
}

impl Samples {
    pub fn set(&self, taker: Option<Arc<Mailbox<Frame>>>) {
        *self.taker.lock().unwrap_or_else(PoisonError::into_inner) = taker;
    }

    pub fn offer(&self, frame: &Frame) {
        let taker = self.taker.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(taker) = &*taker {
            taker.put(frame.clone());
        }
    }
}

impl Shared {
    /// The parts, and where the ingress tells whether frames come.
    pub fn new(
        agreement: &Agreement,
        revision: u64,
        stream: Span,
    ) -> (Self, watch::Receiver<Presence>) {
        let figures = Arc::new(Figures::default());
        let inbox = Arc::new(Inbox::new(figures.clone()));
        let screen = Arc::new(Screen::new(agreement.fallback(), agreement.formats.output));
        let parts = ingress::Parts {
            inbox: inbox.clone(),
            screen: screen.clone(),
            figures: figures.clone(),
            stream,
        };
        let (ingress, presence) = Ingress::new(parts, agreement.fit());
        let shared = Self {
            inbox,
            ingress: Arc::new(ingress),
            screen,
            figures,
            health: Arc::default(),
            canceller: Arc::default(),
            samples: Arc::default(),
            waiting: Arc::default(),
            chronicle: Arc::new(Chronicle::new(revision)),
        };
        (shared, presence)
    }
}
