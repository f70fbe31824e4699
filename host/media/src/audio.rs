//! A publisher's audio on its way to the readers.

use crate::unit::{AudioFormat, Track, Unit};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::broadcast;

/// A publisher's clock that is further from the arrival of its packets than this is read anew.
const MAX_DRIFT: Duration = Duration::from_millis(200);

/// A path's audio: carried through as it came.
pub(crate) struct Audio {
    pub path: u64,
    pub opened_at: Instant,
    pub units: broadcast::Sender<Unit>,
    /// What a publisher's time has to be added to, to be the path's.
    clock: Mutex<Option<Clock>>,
}

#[derive(Clone, Copy)]
struct Clock {
    /// Of the publisher's, and the path's time at it.
    theirs: Duration,
    ours: Duration,
}

impl Audio {
    pub fn new(path: u64, opened_at: Instant, units: broadcast::Sender<Unit>) -> Self {
        Self { path, opened_at, units, clock: Mutex::default() }
    }

    /// Hands a packet on.
    pub fn take(
        &self,
        format: &Arc<AudioFormat>,
        data: Arc<[u8]>,
        time: Duration,
        received_at: Instant,
    ) {
        let arrived = received_at.saturating_duration_since(self.opened_at);
        let time = self.path_time(time, arrived);
        let unit = Unit {
            path: self.path,
            track: Track::Audio(format.clone()),
            data,
            is_key_frame: true,
            shown_at: self.opened_at + time,
            time,
        };
        // Nobody may be listening.
        let _ = self.units.send(unit);
    }

    fn path_time(&self, theirs: Duration, arrived: Duration) -> Duration {
        let mut clock = self.clock.lock().unwrap_or_else(PoisonError::into_inner);
        let read = clock.and_then(|clock| (clock.ours + theirs).checked_sub(clock.theirs));
        match read.filter(|read| read.abs_diff(arrived) <= MAX_DRIFT) {
            Some(read) => read,
            None => {
                *clock = Some(Clock { theirs, ours: arrived });
                arrived
            }
        }
    }
}
