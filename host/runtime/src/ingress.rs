//! A publisher's frames on their way to the pipeline. Runs on the media server's threads and never waits.

use crate::figures::{DropCause, Figures};
use crate::inbox::Inbox;
use crate::screen::Screen;
use host_ports::{Fit, Frame, FramePool, FrameSlot, IngressEvent, IngressSink};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio::sync::watch;
use tracing::{Span, info};

pub struct Ingress {
    entrance: Mutex<Entrance>,
    /// For the session: only the latest matters, so it cannot fill up.
    presence: watch::Sender<Presence>,
    inbox: Arc<Inbox>,
    screen: Arc<Screen>,
    figures: Arc<Figures>,
    stream: Span,
}

/// Whether a publisher's frames come.
#[derive(Clone, Copy, Default)]
pub struct Presence {
    pub is_flowing: bool,
    /// How often frames began to come: tells that they did, even if they have ended by the time one looks.
    pub beginnings: u64,
}

struct Entrance {
    /// The present pipeline's memory; none before the first one and once the stream is being deleted.
    pool: Option<Arc<dyn FramePool>>,
    is_closed: bool,
    fit: Fit,
    publisher: Publisher,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Publisher {
    Expected,
    Flowing,
    /// What a decoder still held of its frames is too late: nobody would tell again that the publisher is gone.
    Gone,
}

/// The parts that an ingress leads to.
pub struct Parts {
    pub inbox: Arc<Inbox>,
    pub screen: Arc<Screen>,
    pub figures: Arc<Figures>,
    pub stream: Span,
}

impl Ingress {
    /// The ingress, and where it tells whether frames come.
    pub fn new(parts: Parts, fit: Fit) -> (Self, watch::Receiver<Presence>) {
        let (presence, told) = watch::channel(Presence::default());
        let Parts { inbox, screen, figures, stream } = parts;
        let publisher = Publisher::Expected;
        let entrance = Mutex::new(Entrance { pool: None, is_closed: false, fit, publisher });
        (Self { entrance, presence, inbox, screen, figures, stream }, told)
    }

    /// Leases come from `pool` from now on. Frames captured before may still lie in the old one's memory.
    pub fn set_pool(&self, pool: Arc<dyn FramePool>) {
        let mut entrance = self.entrance();
        if !entrance.is_closed {
            entrance.pool = Some(pool);
        }
    }

    pub fn set_fit(&self, fit: Fit) {
        self.entrance().fit = fit;
    }

    /// Whether a publisher's frames come.
    pub fn is_flowing(&self) -> bool {
        self.entrance().publisher == Publisher::Flowing
    }

    /// No more frames.
    pub fn close(&self) {
        let mut entrance = self.entrance();
        entrance.is_closed = true;
        entrance.pool = None;
    }

    /// Whether a frame is taken, and whether it is the first of its publisher.
    fn admit(&self) -> Option<bool> {
        let mut entrance = self.entrance();
        if entrance.is_closed || entrance.publisher == Publisher::Gone {
            return None;
        }
        Some(std::mem::replace(&mut entrance.publisher, Publisher::Flowing) != Publisher::Flowing)
    }

    fn entrance(&self) -> MutexGuard<'_, Entrance> {
        // The fields are replaced one by one: a panic leaves none wrong.
        self.entrance.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl IngressSink for Ingress {
    fn lease(&self) -> Option<Box<dyn FrameSlot>> {
        let pool = self.entrance().pool.clone();
        let slot = pool.and_then(|pool| pool.lease());
        if slot.is_none() {
            self.figures.count_unleased();
        }
        slot
    }

    fn fit(&self) -> Fit {
        self.entrance().fit
    }

    fn put(&self, mut frame: Frame) {
        let now = Instant::now();
        self.figures.count_received(&frame, now);
        frame.queued_at = Some(now);
        let Some(is_first) = self.admit() else {
            return self.figures.count_dropped(DropCause::Late);
        };
        if is_first {
            self.screen.expect_frames();
            self.presence.send_modify(|presence| {
                presence.is_flowing = true;
                presence.beginnings += 1;
            });
        }
        if let Err(frame) = self.inbox.put_frame(frame) {
            self.figures.count_set_aside();
            self.screen.show_input(frame);
        }
    }

    fn on(&self, event: IngressEvent) {
        let _entered = self.stream.enter();
        match event {
            IngressEvent::PublisherConnected => {
                info!("publisher connected");
                let mut entrance = self.entrance();
                // One that takes over from another changes nothing.
                if entrance.publisher == Publisher::Gone {
                    entrance.publisher = Publisher::Expected;
                }
            }
            IngressEvent::PublisherGone => {
                info!("publisher gone");
                self.entrance().publisher = Publisher::Gone;
                self.presence.send_modify(|presence| presence.is_flowing = false);
            }
        }
    }
}
