//! What happens to a stream, kept for those who want to be told: the latest events in a ring, and readers that follow it
//! at their own pace. A reader that is too slow loses the oldest and is told how many; nobody waits for it.

use host_stream::Condition;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;
use tokio::sync::watch;

/// What a new reader is told of the past, and how far a slow one may fall behind.
const MOST_EVENTS: usize = 64;
/// Readers of one stream at a time: each holds a connection.
const MOST_READERS: usize = 16;
/// Plugins say at any length why they failed.
const LONGEST_MESSAGE: usize = 1000;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq)]
pub struct StreamEvent {
    /// Grows by one with each event of a stream, and never falls: a host that starts again begins at the time of day.
    pub id: u64,
    pub kind: EventKind,
    pub at: SystemTime,
    /// Of the stream's params at that moment.
    pub revision: u64,
    /// For people.
    pub message: String,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum EventKind {
    Created,
    /// A model is fetched before the pipeline is loaded: bytes that are there, and that there will be, which is 0 as long
    /// as nobody knows.
    Fetching {
        done: u64,
        total: u64,
    },
    /// It is there.
    Fetched,
    /// A picture that a param points to is there, and given to the pipeline.
    PictureFetched,
    /// It cannot be had; the pipeline goes on with the one before, or none.
    PictureFailed,
    /// How far, from 0 to 1.
    Loading(f32),
    /// The pipeline takes frames; also told when the stream is no longer degraded.
    Running,
    /// The pipeline made its first frame.
    FirstFrame,
    InputLost,
    InputBack,
    Reloading,
    Reloaded,
    Degraded(Condition),
    PluginCrashed,
    PluginRecovered,
    /// An image processor failed; the pipeline goes on without it.
    SwitchedOff,
    /// The pipeline goes on, but not as it was asked for.
    Notice,
    /// What it told of that holds no more.
    NoticeOver,
    /// The server that the stream goes to takes it.
    RestreamLive,
    /// It does not, or no longer; it is tried again.
    RestreamFailed,
    /// What viewers see is recorded.
    Recording,
    /// The recording ended as it was meant to, and its files are whole.
    Recorded,
    /// It ended before it was asked to; what was recorded until then is whole.
    RecordingFailed,
    Error,
    Deleted,
}

impl EventKind {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Fetching { .. } => "fetching",
            Self::Fetched => "fetched",
            Self::PictureFetched => "picture_fetched",
            Self::PictureFailed => "picture_failed",
            Self::Loading(_) => "loading",
            Self::Running => "running",
            Self::FirstFrame => "first_frame",
            Self::InputLost => "input_lost",
            Self::InputBack => "input_back",
            Self::Reloading => "reloading",
            Self::Reloaded => "reloaded",
            Self::Degraded(_) => "degraded",
            Self::PluginCrashed => "plugin_crashed",
            Self::PluginRecovered => "plugin_recovered",
            Self::SwitchedOff => "switched_off",
            Self::Notice => "notice",
            Self::NoticeOver => "notice_over",
            Self::RestreamLive => "restream_live",
            Self::RestreamFailed => "restream_failed",
            Self::Recording => "recording",
            Self::Recorded => "recorded",
            Self::RecordingFailed => "recording_failed",
            Self::Error => "error",
            Self::Deleted => "deleted",
        }
    }
}

/// What a reader gets.
#[derive(Clone, Debug, PartialEq)]
pub enum News {
    Event(StreamEvent),
    /// So many events were gone before the reader came to them.
    Missed(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this stream's events have {limit} readers already, which is the limit")]
pub struct TooManyEventReaders {
    pub limit: usize,
}

/// One stream's events.
pub struct EventLog {
    ring: Mutex<Ring>,
    news: watch::Sender<()>,
    revision: AtomicU64,
    readers: AtomicUsize,
}

struct Ring {
    events: VecDeque<StreamEvent>,
    first: u64,
    next: u64,
    is_closed: bool,
}

/// Follows one stream's events. Dropping it makes room for another.
pub struct EventReader {
    log: Arc<EventLog>,
    news: watch::Receiver<()>,
    next: u64,
}

impl EventLog {
    pub fn new(revision: u64) -> Self {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let first = u64::try_from(now.as_millis()).unwrap_or_default();
        let ring = Ring { events: VecDeque::new(), first, next: first, is_closed: false };
        Self {
            ring: Mutex::new(ring),
            news: watch::channel(()).0,
            revision: AtomicU64::new(revision),
            readers: AtomicUsize::new(0),
        }
    }

    pub fn set_revision(&self, revision: u64) {
        self.revision.store(revision, Ordering::Relaxed);
    }

    /// After the last event none is taken.
    pub fn push(&self, kind: EventKind, message: &str) {
        let mut ring = self.ring();
        if ring.is_closed {
            return;
        }
        if ring.events.len() == MOST_EVENTS {
            ring.events.pop_front();
        }
        let event = StreamEvent {
            id: ring.next,
            kind,
            at: SystemTime::now(),
            revision: self.revision.load(Ordering::Relaxed),
            message: message.chars().take(LONGEST_MESSAGE).collect(),
        };
        ring.next += 1;
        ring.events.push_back(event);
        drop(ring);
        self.news.send_replace(());
    }

    /// Readers end once they have read what is there.
    pub fn close(&self) {
        self.ring().is_closed = true;
        self.news.send_replace(());
    }

    /// A reader of all that is kept, or of what came after the event `last`.
    pub fn read(self: &Arc<Self>, last: Option<u64>) -> Result<EventReader, TooManyEventReaders> {
        let admit = |readers| (readers < MOST_READERS).then_some(readers + 1);
        let admitted = self.readers.fetch_update(Ordering::Relaxed, Ordering::Relaxed, admit);
        admitted.map_err(|limit| TooManyEventReaders { limit })?;
        let ring = self.ring();
        let oldest = ring.events.front().map_or(ring.next, |event| event.id);
        let next = match last {
            // Of an earlier life of the stream.
            Some(last) if last < ring.first => ring.first,
            Some(last) if last < ring.next => last + 1,
            // Never given out, whatever it is.
            Some(_) | None => oldest,
        };
        drop(ring);
        Ok(EventReader { log: self.clone(), news: self.news.subscribe(), next })
    }

    pub fn readers(&self) -> usize {
        self.readers.load(Ordering::Relaxed)
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        // An event is added in one step: a panic elsewhere leaves the ring whole.
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EventReader {
    /// Waits for the next; none after the stream's end.
    pub async fn next(&mut self) -> Option<News> {
        loop {
            // Before the look, so that what comes after it wakes.
            self.news.borrow_and_update();
            match self.look() {
                Ok(news) => return Some(news),
                Err(is_closed) if is_closed => return None,
                Err(_) => self.news.changed().await.ok()?,
            }
        }
    }

    /// What is next, or whether nothing will be.
    fn look(&mut self) -> Result<News, bool> {
        let ring = self.log.ring();
        let oldest = ring.events.front().ok_or(ring.is_closed)?.id;
        if self.next < oldest {
            let missed = oldest - self.next;
            self.next = oldest;
            return Ok(News::Missed(missed));
        }
        let index = usize::try_from(self.next - oldest).unwrap_or(usize::MAX);
        let event = ring.events.get(index).cloned().ok_or(ring.is_closed)?;
        self.next += 1;
        Ok(News::Event(event))
    }
}

impl Drop for EventReader {
    fn drop(&mut self) {
        self.log.readers.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log_of(events: usize) -> Arc<EventLog> {
        let log = Arc::new(EventLog::new(1));
        (0..events).for_each(|n| log.push(EventKind::Error, &n.to_string()));
        log
    }

    /// What a reader gets until the log's end, which is made first.
    async fn rest(log: &EventLog, mut reader: EventReader) -> Vec<String> {
        log.close();
        let mut told = Vec::new();
        while let Some(news) = reader.next().await {
            told.push(match news {
                News::Event(event) => event.message,
                News::Missed(count) => format!("missed {count}"),
            });
        }
        told
    }

    #[tokio::test]
    async fn a_slow_reader_loses_the_oldest_and_is_told_how_many() {
        let log = log_of(1);
        let reader = log.read(None).unwrap();
        (1..MOST_EVENTS + 10).for_each(|n| log.push(EventKind::Error, &n.to_string()));
        let told = rest(&log, reader).await;
        assert_eq!(told.len(), MOST_EVENTS + 1);
        assert_eq!((told[0].as_str(), told[1].as_str()), ("missed 10", "10"));
        assert_eq!(told.last().unwrap(), &(MOST_EVENTS + 9).to_string());
    }

    #[tokio::test]
    async fn a_new_reader_gets_what_is_kept_and_one_that_comes_back_what_it_lacks() {
        let first = log_of(0).ring().next;
        for (last, told) in [
            (None, vec!["0", "1", "2"]),
            (Some(0), vec!["1", "2"]),
            (Some(2), vec![]),
            // Never given out.
            (Some(1_000_000_000), vec!["0", "1", "2"]),
        ] {
            let log = log_of(3);
            let first = log.ring().first;
            let reader = log.read(last.map(|last| first + last)).unwrap();
            assert_eq!(rest(&log, reader).await, told, "{last:?}");
        }
        let log = log_of(MOST_EVENTS + 1);
        let of_earlier_life = log.read(Some(first - 1000)).unwrap();
        assert_eq!(rest(&log, of_earlier_life).await[0], "missed 1");
    }

    #[tokio::test]
    async fn readers_are_limited_and_one_that_leaves_makes_room() {
        let log = log_of(0);
        let mut readers: Vec<_> = (0..MOST_READERS).map(|_| log.read(None).unwrap()).collect();
        let limit = MOST_READERS;
        assert_eq!(log.read(None).err(), Some(TooManyEventReaders { limit }));
        readers.pop();
        assert!(log.read(None).is_ok());
    }

    #[tokio::test]
    async fn a_waiting_reader_wakes_and_nothing_follows_the_end() {
        let log = log_of(0);
        let mut reader = log.read(None).unwrap();
        let (news, ()) = tokio::join!(reader.next(), async {
            log.set_revision(7);
            log.push(EventKind::Deleted, &"x".repeat(2 * LONGEST_MESSAGE));
            log.close();
            log.push(EventKind::Error, "too late");
        });
        let Some(News::Event(event)) = news else { panic!("{news:?}") };
        assert_eq!((event.revision, event.message.len()), (7, LONGEST_MESSAGE));
        assert_eq!(reader.next().await, None);
    }
}
