//! Keeps a stream's playlist up to date, from the first request until some seconds after the last.

use super::playlist::{Numbers, PART_TARGET, Playlist};
use crate::feed::Feed;
use crate::fmp4::{CLOCK, Cuts, Cutter};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::time::interval;

/// How long there is a muxer without requests. Players ask every few seconds, also when they are paused.
const IDLE: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_secs(1);

/// A key frame is asked for early enough that segments have about a second. Frames are shown again after a fifth of one: after
/// a pause nothing would hold that is promised of a segment's length.
const CUTS: Cuts = Cuts {
    part: (CLOCK as f64 * PART_TARGET) as u64,
    segment: CLOCK as u64 * 9 / 10,
    longest_frame: CLOCK as u64,
};

pub(crate) struct Muxer {
    pub playlist: watch::Receiver<Playlist>,
    asked_at: Mutex<Instant>,
}

impl Muxer {
    /// Runs until nobody asks any more or the feed ends; the playlist is closed then.
    pub fn start(feed: Feed, numbers: Numbers) -> Arc<Self> {
        let tag = uuid::Uuid::new_v4().simple().to_string();
        // Enough that no name of another time is taken for one of this.
        let playlist = Playlist::new(tag[..12].to_owned(), numbers);
        let (sender, receiver) = watch::channel(playlist);
        let muxer = Arc::new(Self { playlist: receiver, asked_at: Mutex::new(Instant::now()) });
        let runtime = feed.runtime.clone();
        runtime.spawn(muxer.clone().run(feed, sender));
        muxer
    }

    /// Somebody asks for something.
    pub fn touch(&self) {
        *self.asked_at.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    pub fn is_over(&self) -> bool {
        self.playlist.has_changed().is_err()
    }

    async fn run(self: Arc<Self>, mut feed: Feed, playlist: watch::Sender<Playlist>) {
        let mut cutter = Cutter::new(CUTS);
        let mut looks = interval(LOOK);
        while !self.is_idle() {
            let unit = tokio::select! {
                unit = feed.next() => unit,
                _ = looks.tick() => continue,
            };
            let Some(unit) = unit else { break };
            let made = cutter.push(&unit);
            if cutter.wants_key_frame(&unit) {
                feed.want_key_frame();
            }
            if !made.is_empty() {
                playlist.send_modify(|playlist| made.into_iter().for_each(|m| playlist.take(m)));
            }
        }
        playlist.send_modify(Playlist::clear);
    }

    fn is_idle(&self) -> bool {
        self.asked_at.lock().unwrap_or_else(PoisonError::into_inner).elapsed() > IDLE
    }
}
