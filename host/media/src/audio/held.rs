//! Audio between its arrival and its time, and the task that lets it go.

use super::AudioStats;
use super::line::{Line, Packet};
use super::nanos;
use super::sync::{Nanos, Sync};
use crate::unit::{AudioCodec, Track, Unit};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::{Notify, broadcast, mpsc};

/// Where a path's audio goes.
pub(crate) struct Outlet {
    pub path: u64,
    /// When the path was opened.
    pub opened_at: Instant,
    /// To the peer connections.
    pub units: mpsc::Sender<Unit>,
    /// To all other readers.
    pub feeds: broadcast::Sender<Unit>,
    pub runtime: Handle,
}

pub(super) struct Held {
    outlet: Outlet,
    state: Mutex<State>,
    /// Something changed that the task goes by.
    changed: Arc<Notify>,
    has_opus_readers: AtomicBool,
}

#[derive(Default)]
struct State {
    source: u64,
    sync: Sync,
    opus: Line,
    aac: Line,
    packets: u64,
    dropped: u64,
}

impl Held {
    pub fn new(outlet: Outlet) -> Arc<Self> {
        let runtime = outlet.runtime.clone();
        let changed = Arc::new(Notify::new());
        let has_opus_readers = AtomicBool::new(false);
        let state = Mutex::default();
        let held = Arc::new(Self { outlet, state, changed: changed.clone(), has_opus_readers });
        runtime.spawn(let_go(Arc::downgrade(&held), changed));
        held
    }

    pub fn restart(&self, source: u64) {
        let mut state = self.lock();
        state.source = source;
        state.sync.restart();
        state.clear();
    }

    pub fn picture_came(&self, source: u64, theirs: Nanos, received_at: Instant) {
        let now = self.path_time(received_at);
        self.lock().of(source, |state| state.sync.video_came(theirs, now));
    }

    pub fn related(&self, source: u64, skew: Nanos) {
        self.lock().of(source, |state| state.sync.related(skew));
    }

    pub fn picture_shown(&self, captured_at: Instant, now: Instant) {
        let latency = nanos(now.saturating_duration_since(captured_at));
        let mut state = self.lock();
        let before = state.sync.offset();
        state.sync.shown(latency, self.path_time(now));
        if state.sync.offset() != before {
            self.changed.notify_one();
        }
    }

    /// Takes a packet that just came; false if it is not the publisher's whose audio is taken.
    pub fn take(&self, source: u64, packet: Packet, received_at: Instant) -> bool {
        let now = self.path_time(received_at);
        let mut state = self.lock();
        if state.source != source {
            return false;
        }
        state.packets += 1;
        // It came when its last sample was captured, not its first.
        if !state.sync.audio_came(packet.theirs.saturating_add(packet.duration), now) {
            state.clear();
        }
        self.push(state, packet);
        true
    }

    /// Takes a packet that was made of the publisher's.
    pub fn made(&self, source: u64, packet: Packet) {
        let state = self.lock();
        if state.source == source {
            self.push(state, packet);
        }
    }

    fn push(&self, mut state: MutexGuard<'_, State>, packet: Packet) {
        let line = match packet.format.codec {
            AudioCodec::Opus => &mut state.opus,
            AudioCodec::Aac => &mut state.aac,
        };
        if !line.push(packet) {
            state.dropped += 1;
        }
        self.changed.notify_one();
    }

    pub fn drop_one(&self) {
        self.lock().dropped += 1;
    }

    pub fn count_readers(&self, codec: AudioCodec, count: usize) {
        if codec == AudioCodec::Opus {
            self.has_opus_readers.store(count > 0, Relaxed);
        }
    }

    pub fn stats(&self) -> AudioStats {
        let state = self.lock();
        AudioStats {
            packets: state.packets,
            dropped: state.dropped,
            delay: state.sync.delay(),
            ..AudioStats::default()
        }
    }

    /// Sends all that is due, and tells when more will be.
    fn let_go(&self) -> Option<Instant> {
        let mut state = self.lock();
        let now = self.path_time(Instant::now());
        let offset = state.sync.offset()?;
        while let Some(due) = state.opus.pop(now, offset) {
            self.send(due);
        }
        while let Some(due) = state.aac.pop(now, offset) {
            self.send(due);
        }
        let next = state.opus.next(offset).into_iter().chain(state.aac.next(offset)).min()?;
        let in_time = Duration::from_nanos(u64::try_from(next).unwrap_or(0));
        Some(self.outlet.opened_at + in_time)
    }

    fn send(&self, (packet, time): (Packet, Nanos)) {
        // Before the path was opened nobody listened.
        let Ok(time) = u64::try_from(time).map(Duration::from_nanos) else { return };
        let is_opus = packet.format.codec == AudioCodec::Opus;
        let unit = Unit {
            path: self.outlet.path,
            track: Track::Audio(packet.format),
            data: packet.data,
            is_key_frame: true,
            shown_at: self.outlet.opened_at + time,
            time,
        };
        // Nobody may be listening; and a hub that is too far behind leaves some out.
        let _ = self.outlet.feeds.send(unit.clone());
        if is_opus && self.has_opus_readers.load(Relaxed) {
            let _ = self.outlet.units.try_send(unit);
        }
    }

    fn path_time(&self, at: Instant) -> Nanos {
        nanos(at.saturating_duration_since(self.outlet.opened_at))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic in between leaves figures and packets that are whole, each for itself.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn of(&mut self, source: u64, change: impl FnOnce(&mut Self)) {
        if self.source == source {
            change(self);
        }
    }

    fn clear(&mut self) {
        self.opus.clear();
        self.aac.clear();
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.changed.notify_one();
    }
}

/// Lets packets go when they are due, until nobody holds any.
async fn let_go(held: Weak<Held>, changed: Arc<Notify>) {
    loop {
        let Some(next) = held.upgrade().map(|held| held.let_go()) else { return };
        match next {
            Some(at) => tokio::select! {
                () = changed.notified() => {}
                () = tokio::time::sleep_until(at.into()) => {}
            },
            None => changed.notified().await,
        }
    }
}
