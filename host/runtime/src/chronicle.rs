//! Turns what session and pipeline thread notice into the events of a stream: each thing once, however often it is
//! noticed.

use crate::events::{EventKind, EventLog};
use host_ports::{
    FetchProgress, Notice, PipelineError, Progress, Recording, RecordingEnd, RestreamState,
    RestreamStats, SwitchedOff,
};
use host_stream::Condition;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tracing::warn;

/// Progress is told in steps of this size.
const PROGRESS_STEP: f32 = 0.05;
/// A pipeline may fail at every frame, each time in other words.
const ERROR_INTERVAL: Duration = Duration::from_secs(1);
/// A pipeline may have something else to say at every frame: so many changes are told in this time.
const NOTICE_CHANGES: usize = 8;
const NOTICE_PERIOD: Duration = Duration::from_secs(8);
/// A fetch of small files makes many steps in a moment.
const FETCH_INTERVAL: Duration = Duration::from_secs(1);
/// How often in a row a condition is seen before it is told: rates need a moment to settle.
const STEADY: u32 = 2;

pub struct Chronicle {
    pub log: Arc<EventLog>,
    notes: Mutex<Notes>,
}

#[derive(Default)]
struct Notes {
    has_crashed: bool,
    is_reloading: bool,
    has_input: bool,
    is_input_lost: bool,
    progress: Option<Progress>,
    fetching: Option<(FetchProgress, Instant)>,
    error: Option<(String, Instant)>,
    /// And how often in a row it was seen.
    condition: Option<(Condition, u32)>,
    degraded: Option<Condition>,
    switched_off: Vec<SwitchedOff>,
    /// As told last, and when they were told to have changed.
    notices: (Vec<Notice>, VecDeque<Instant>),
}

impl Chronicle {
    pub fn new(revision: u64) -> Self {
        Self { log: Arc::new(EventLog::new(revision)), notes: Mutex::default() }
    }

    pub fn created(&self, plugin: &str) {
        self.log.push(EventKind::Created, &format!("runs on the plugin {plugin}"));
    }

    pub fn loading_begins(&self) {
        self.notes().progress = None;
        self.loading(&Progress { fraction: 0.0, what: "starting".to_owned() });
    }

    pub fn loading(&self, progress: &Progress) {
        // Whatever a plugin says, what is told is a number.
        let fraction = if progress.fraction > 0.0 { progress.fraction.min(1.0) } else { 0.0 };
        let progress = Progress { fraction, what: progress.what.clone() };
        let mut notes = self.notes();
        if notes.progress.as_ref().is_some_and(|last| !is_worth_telling(last, &progress)) {
            return;
        }
        self.log.push(EventKind::Loading(fraction), &progress.what);
        notes.progress = Some(progress);
    }

    pub fn fetching_begins(&self) {
        self.notes().fetching = None;
    }

    /// How far a fetch is, `now`: its begin, and steps in its bytes with a pause between them.
    pub fn fetching(&self, progress: &FetchProgress, now: Instant) {
        let mut notes = self.notes();
        let is_old = |(last, at): &(FetchProgress, Instant)| {
            let has_paused = now.saturating_duration_since(*at) >= FETCH_INTERVAL;
            last.model == progress.model && !(has_paused && is_step(last, progress))
        };
        if notes.fetching.as_ref().is_some_and(is_old) {
            return;
        }
        let FetchProgress { model, what, bytes_done: done, bytes_total: total } = progress.clone();
        self.log.push(EventKind::Fetching { done, total }, &format!("{model}: {what}"));
        notes.fetching = Some((progress.clone(), now));
    }

    pub fn fetched(&self, what: &str) {
        self.log.push(EventKind::Fetched, &format!("{what} is on this machine"));
    }

    pub fn picture_fetched(&self, field: &str) {
        let message = format!("the picture of `{field}` is on this machine");
        self.log.push(EventKind::PictureFetched, &message);
    }

    pub fn picture_failed(&self, message: &str) {
        self.log.push(EventKind::PictureFailed, message);
    }

    pub fn recording_begins(&self, recording: &Recording) {
        self.log.push(EventKind::Recording, &format!("recording {}", recording.name));
    }

    pub fn recording_ended(&self, recording: &Recording) {
        let Recording { name, files, .. } = recording;
        let files = files.join(", ");
        let (kind, message) = match &recording.ended {
            Some(RecordingEnd::Failed(reason)) => {
                (EventKind::RecordingFailed, format!("recording {name} failed: {reason}"))
            }
            Some(RecordingEnd::Limit(reason)) => {
                (EventKind::Recorded, format!("recorded {files}; ended because {reason}"))
            }
            Some(RecordingEnd::Stopped) | None => {
                (EventKind::Recorded, format!("recorded {files}"))
            }
        };
        self.log.push(kind, &message);
    }

    /// A model is not fetched, and the pipeline not loaded therefore.
    pub fn fetch_failed(&self, message: &str) {
        self.log.push(EventKind::Error, message);
    }

    /// The pipeline takes frames.
    pub fn running(&self) {
        let mut notes = self.notes();
        if std::mem::take(&mut notes.has_crashed) {
            self.log.push(EventKind::PluginRecovered, "the plugin works again");
        }
        self.log.push(EventKind::Running, "the pipeline takes frames");
        (notes.error, notes.condition, notes.degraded) = (None, None, None);
    }

    pub fn first_frame(&self) {
        self.log.push(EventKind::FirstFrame, "the pipeline made its first frame");
    }

    pub fn reload_begins(&self) {
        self.notes().is_reloading = true;
        self.log.push(EventKind::Reloading, "the pipeline is loaded again for new params");
    }

    pub fn reload_ends(&self) {
        if std::mem::take(&mut self.notes().is_reloading) {
            self.log.push(
                EventKind::Reloaded,
                "the pipeline works with the params that the stream tells",
            );
        }
    }

    pub fn input_lost(&self) {
        let mut notes = self.notes();
        if std::mem::take(&mut notes.has_input) {
            (notes.is_input_lost, notes.condition, notes.degraded) = (true, None, None);
            self.log.push(EventKind::InputLost, "the publisher is gone");
        }
    }

    /// Frames come; the first time that is nothing to tell.
    pub fn input_comes(&self) {
        let mut notes = self.notes();
        notes.has_input = true;
        if std::mem::take(&mut notes.is_input_lost) {
            self.log.push(EventKind::InputBack, "a publisher's frames come again");
        }
    }

    /// What a look at the running stream found.
    pub fn judge(&self, condition: Condition) {
        let mut notes = self.notes();
        let before = notes.condition.filter(|(last, _)| *last == condition);
        let times = before.map_or(1, |(_, times)| times.saturating_add(1));
        notes.condition = Some((condition, times));
        if times < STEADY {
            return;
        }
        if condition.is_degraded() && notes.degraded != Some(condition) {
            notes.degraded = Some(condition);
            self.log.push(EventKind::Degraded(condition), why(condition));
        } else if condition == Condition::Online && notes.degraded.take().is_some() {
            self.log.push(EventKind::Running, "the stream is no longer degraded");
        }
    }

    /// A call of the pipeline failed.
    pub fn failed(&self, error: &PipelineError, now: Instant) {
        let message = error.to_string();
        if error.needs_restart() {
            return self.crashed(&message);
        }
        let mut notes = self.notes();
        let is_old = |(last, at): &(String, Instant)| {
            *last == message || now.saturating_duration_since(*at) < ERROR_INTERVAL
        };
        if !notes.error.as_ref().is_some_and(is_old) {
            self.log.push(EventKind::Error, &message);
            notes.error = Some((message, now));
        }
    }

    /// The pipeline goes on without these, of which some may have been told before.
    pub fn switched_off(&self, off: &[SwitchedOff]) {
        let mut notes = self.notes();
        let told = std::mem::replace(&mut notes.switched_off, off.to_vec());
        for off in off.iter().filter(|off| !told.contains(off)) {
            let SwitchedOff { name, plugin, reason } = off;
            let of = plugin.as_ref().map(|plugin| format!(" of the plugin {plugin}"));
            let message = format!("{name}{} is switched off: {reason}", of.unwrap_or_default());
            self.log.push(EventKind::SwitchedOff, &message);
        }
    }

    /// What the pipeline tells the user `now`, of which some may have been told before.
    pub fn noticed(&self, notices: &[Notice], now: Instant) {
        let mut notes = self.notes();
        let (told, changes) = &mut notes.notices;
        changes.retain(|change| now.saturating_duration_since(*change) < NOTICE_PERIOD);
        if told == notices || changes.len() == NOTICE_CHANGES {
            return;
        }
        let over = joined(told.iter().filter(|notice| !notices.contains(notice)));
        let new = joined(notices.iter().filter(|notice| !told.contains(notice)));
        *told = notices.to_vec();
        changes.push_back(now);
        if !over.is_empty() {
            self.log.push(EventKind::NoticeOver, &over);
        }
        if !new.is_empty() {
            warn!(notice = %new, "the pipeline goes on, but not as asked for");
            self.log.push(EventKind::Notice, &new);
        }
    }

    pub fn load_failed(&self, error: &PipelineError) {
        match error.needs_restart() {
            true => self.crashed(&error.to_string()),
            false => self.log.push(EventKind::Error, &error.to_string()),
        }
    }

    pub fn crashed(&self, message: &str) {
        self.notes().has_crashed = true;
        self.log.push(EventKind::PluginCrashed, message);
    }

    /// What tells of a new restream. Attempts that fail as the one before did are told once.
    pub fn restream(self: &Arc<Self>) -> Box<dyn Fn(&RestreamStats) + Send + Sync> {
        let (chronicle, told) = (self.clone(), Mutex::new(None));
        Box::new(move |stats| {
            let (kind, message) = match (stats.state, &stats.error) {
                (RestreamState::Live, _) => {
                    (EventKind::RestreamLive, "the server takes the stream".to_owned())
                }
                (RestreamState::Waiting, Some(error)) => (EventKind::RestreamFailed, error.clone()),
                _ => return,
            };
            let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
            if told.as_ref() != Some(&message) {
                chronicle.log.push(kind, &message);
                *told = Some(message);
            }
        })
    }

    /// The last there is to tell.
    pub fn deleted(&self) {
        self.log.push(EventKind::Deleted, "the stream is gone");
        self.log.close();
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        // A panic between two notes costs an event at most.
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn joined<'a>(notices: impl Iterator<Item = &'a Notice>) -> String {
    notices.map(Notice::to_string).collect::<Vec<_>>().join("; ")
}

fn is_worth_telling(last: &Progress, now: &Progress) -> bool {
    let is_end = now.fraction == 1.0 && last.fraction < 1.0;
    last.what != now.what || is_end || (now.fraction - last.fraction).abs() >= PROGRESS_STEP
}

fn is_step(last: &FetchProgress, now: &FetchProgress) -> bool {
    let step = (now.bytes_total as f64 * f64::from(PROGRESS_STEP)) as u64;
    last.bytes_total != now.bytes_total || now.bytes_done.abs_diff(last.bytes_done) >= step.max(1)
}

fn why(condition: Condition) -> &'static str {
    match condition {
        Condition::DegradedInput => "the publisher's frames come too slowly, or none came for 2 s",
        _ => "the pipeline does not keep up, or had an error or a restart in the last 10 s",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::News;

    /// What a chronicle told, kind and message.
    async fn told(chronicle: &Chronicle) -> Vec<String> {
        let mut reader = chronicle.log.read(None).unwrap();
        chronicle.log.close();
        let mut told = Vec::new();
        while let Some(News::Event(event)) = reader.next().await {
            told.push(format!("{}: {}", event.kind.name(), event.message));
        }
        told
    }

    fn failure(message: &str) -> PipelineError {
        PipelineError::Failed { message: message.to_owned() }
    }

    #[tokio::test]
    async fn progress_is_told_in_steps_and_whatever_it_is_made_of() {
        let chronicle = Chronicle::new(1);
        chronicle.loading_begins();
        for percent in 0..=100u8 {
            let fraction = f32::from(percent) / 100.0;
            chronicle.loading(&Progress { fraction, what: "weights".to_owned() });
        }
        chronicle.loading(&Progress { fraction: f32::NAN, what: "weights".to_owned() });
        let told = told(&chronicle).await;
        assert_eq!((told[0].as_str(), told[1].as_str()), ("loading: starting", "loading: weights"));
        assert!((20..=24).contains(&told.len()), "{}", told.len());
    }

    #[tokio::test]
    async fn a_fetch_is_told_in_steps_with_a_pause_between_them() {
        let chronicle = Chronicle::new(1);
        let start = Instant::now();
        let tell = |model: &str, milliseconds: u64, done: u64| {
            let (model, what) = (model.to_owned(), "weights".to_owned());
            let progress = FetchProgress { model, what, bytes_done: done, bytes_total: 1000 };
            chronicle.fetching(&progress, start + Duration::from_millis(milliseconds));
        };
        for (milliseconds, done) in
            [(0, 0), (10, 500), (999, 600), (1000, 601), (2000, 650), (2001, 651), (9000, 900)]
        {
            tell("org/name", milliseconds, done);
        }
        tell("org/other", 9001, 0);
        let mut reader = chronicle.log.read(None).unwrap();
        chronicle.log.close();
        let mut told = Vec::new();
        while let Some(News::Event(event)) = reader.next().await {
            let EventKind::Fetching { done, total: 1000 } = event.kind else { panic!("{event:?}") };
            told.push((event.message, done));
        }
        let wanted = [0, 601, 651, 900].map(|done| ("org/name", done)).into_iter();
        let wanted = wanted.chain([("org/other", 0)]);
        let wanted = wanted.map(|(model, done)| (format!("{model}: weights"), done));
        assert_eq!(told, wanted.collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn an_error_at_every_frame_is_told_once_and_new_ones_once_a_second() {
        let chronicle = Chronicle::new(1);
        let start = Instant::now();
        for (milliseconds, message) in
            [(0, "one"), (5000, "one"), (5001, "two"), (5002, "three"), (6001, "four")]
        {
            let now = start + Duration::from_millis(milliseconds);
            chronicle.failed(&failure(message), now);
        }
        assert_eq!(told(&chronicle).await, ["error: one", "error: two", "error: four"]);
    }

    #[tokio::test]
    async fn notices_are_told_when_they_come_and_go_but_not_all_of_a_flood() {
        let chronicle = Chronicle::new(1);
        let start = Instant::now();
        let tell = |milliseconds, texts: &[&str]| {
            let notice = |text: &&str| Notice { part: "tint".to_owned(), text: (*text).to_owned() };
            let notices: Vec<_> = texts.iter().map(notice).collect();
            chronicle.noticed(&notices, start + Duration::from_millis(milliseconds));
        };
        tell(0, &[]);
        tell(1, &["one", "two"]);
        tell(2, &["one", "two"]);
        tell(3, &["two", "three"]);
        tell(4, &[]);
        // Other words at each frame.
        for milliseconds in 5..8001 {
            tell(milliseconds, &[if milliseconds % 2 == 0 { "even" } else { "odd" }]);
        }
        tell(8001, &[]);
        let told = told(&chronicle).await;
        let expected = [
            "notice: tint: one; tint: two",
            "notice_over: tint: one",
            "notice: tint: three",
            "notice_over: tint: two; tint: three",
            "notice: tint: odd",
        ];
        assert_eq!(told[..5], expected);
        assert_eq!(told.len(), 5 + 4 * 2 + 1, "{told:?}");
        assert_eq!(told.last().unwrap(), "notice_over: tint: odd");
    }

    #[tokio::test]
    async fn a_server_that_stays_away_is_told_once_and_again_after_it_was_there() {
        let chronicle = Arc::new(Chronicle::new(1));
        let tell = chronicle.restream();
        let away = Some("no connection".to_owned());
        let (waiting, live) = (RestreamState::Waiting, RestreamState::Live);
        for (state, error) in [
            (waiting, None),
            (RestreamState::Connecting, None),
            (waiting, away.clone()),
            (RestreamState::Connecting, away.clone()),
            (waiting, away.clone()),
            (live, None),
            (waiting, away),
        ] {
            let since = std::time::SystemTime::now();
            tell(&RestreamStats { state, since, error, bytes_sent: 0, reconnects: 0 });
        }
        let expected = [
            "restream_failed: no connection",
            "restream_live: the server takes the stream",
            "restream_failed: no connection",
        ];
        assert_eq!(told(&chronicle).await, expected);
    }

    #[tokio::test]
    async fn a_condition_is_told_once_it_is_steady() {
        use Condition::{DegradedInference as Slow, DegradedInput as Poor, Online};
        let chronicle = Chronicle::new(1);
        for condition in [Poor, Online, Online, Poor, Poor, Poor, Slow, Slow, Online, Poor, Online]
        {
            chronicle.judge(condition);
        }
        chronicle.judge(Online);
        let told = told(&chronicle).await;
        assert_eq!(told.len(), 3, "{told:?}");
        assert!(told[0].contains("too slowly") && told[1].contains("does not keep up"));
        assert_eq!(told[2], "running: the stream is no longer degraded");
    }
}
