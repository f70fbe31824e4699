//! When a publisher's audio is due: as long after it came as pictures of the same moment are shown after they came.

use std::collections::VecDeque;
use std::time::Duration;

/// Nanoseconds on a publisher's clock, or on the path's.
pub(crate) type Nanos = i64;

/// What is judged by: the last frames and packets, no older than this and no more than so many.
const WINDOW: Nanos = 2_000_000_000;
const MAX_SAMPLES: usize = 128;

/// Below this, audio and pictures that are apart are taken for one. Each correction is heard, so there are few.
const TOLERANCE: Nanos = 20_000_000;

/// Less than that, but more than this, is put right once it has lasted: pictures take longer while everything starts.
const SETTLED: Nanos = 10_000_000;
const LASTED: Nanos = 10_000_000_000;

/// Pictures later than this are waited for no longer: audio would be held for minutes while a pipeline hangs.
const MAX_LATENCY: Nanos = 5_000_000_000;

/// A publisher's clock that moves by more against its packets' arrival was set anew.
const MAX_JUMP: Nanos = 2_000_000_000;

/// Audio and video of one moment do not come further apart than this; who says so has no clock to go by.
const MAX_SKEW: Nanos = 1_000_000_000;

#[derive(Default)]
pub(crate) struct Sync {
    /// From a publisher's own time of a picture or packet to its arrival.
    video: Window,
    audio: Window,
    /// From a picture's arrival to when it was shown.
    latency: Window,
    /// What the publisher's time of audio is to be added to, to be its time of video; none while nothing is known.
    skew: Option<Nanos>,
    /// What the publisher's time of audio is added to, to be the path's.
    offset: Option<Nanos>,
    /// Since when that is a little off.
    off_since: Option<Nanos>,
    now: Nanos,
}

impl Sync {
    /// Another publisher, another clock. Pictures take as long as they did.
    pub fn restart(&mut self) {
        *self = Self { latency: std::mem::take(&mut self.latency), ..Self::default() };
    }

    pub fn video_came(&mut self, theirs: Nanos, now: Nanos) {
        let offset = now.saturating_sub(theirs);
        if self.video.is_far_from(offset) {
            self.video = Window::default();
        }
        self.video.note(now, offset);
        self.now = now;
        self.follow();
    }

    /// A packet came that ends at this time. False if the publisher's clock was set anew: what came before has no place
    /// in it.
    pub fn audio_came(&mut self, theirs: Nanos, now: Nanos) -> bool {
        let offset = now.saturating_sub(theirs);
        let is_anew = self.audio.is_far_from(offset);
        if is_anew {
            (self.audio, self.offset) = (Window::default(), None);
        }
        self.audio.note(now, offset);
        self.now = now;
        self.follow();
        !is_anew
    }

    /// A picture that came so long ago is shown now.
    pub fn shown(&mut self, latency: Nanos, now: Nanos) {
        self.latency.note(now, latency.clamp(0, MAX_LATENCY));
        self.now = now;
        self.follow();
    }

    /// What the publisher says of its two clocks.
    pub fn related(&mut self, skew: Nanos) {
        self.skew = Some(skew);
        self.follow();
    }

    pub fn offset(&self) -> Option<Nanos> {
        self.offset
    }

    /// How much later than it came audio is heard.
    pub fn delay(&self) -> Option<Duration> {
        let held = self.offset?.saturating_sub(self.audio.median()?);
        Some(Duration::from_nanos(u64::try_from(held).unwrap_or(0)))
    }

    fn follow(&mut self) {
        let Some(came) = self.came() else { return };
        let target = came.saturating_add(self.latency.median().unwrap_or(0));
        let off = self.offset.map_or(u64::MAX, |offset| offset.abs_diff(target));
        if off <= SETTLED as u64 {
            self.off_since = None;
            return;
        }
        let since = *self.off_since.get_or_insert(self.now);
        if off > TOLERANCE as u64 || self.now.saturating_sub(since) > LASTED {
            (self.offset, self.off_since) = (Some(target), None);
        }
    }

    /// From the publisher's time of audio to the arrival of a picture of that moment; without a word on how its clocks
    /// are related, to the audio's own.
    fn came(&self) -> Option<Nanos> {
        let audio = self.audio.median()?;
        let video =
            self.skew.zip(self.video.median()).map(|(skew, video)| video.saturating_add(skew));
        Some(video.filter(|video| video.abs_diff(audio) <= MAX_SKEW as u64).unwrap_or(audio))
    }
}

/// The latest values. Their median follows a step at once, after half the window, and does not follow outliers at all.
#[derive(Default)]
struct Window(VecDeque<(Nanos, Nanos)>);

impl Window {
    fn note(&mut self, now: Nanos, value: Nanos) {
        while self.0.front().is_some_and(|(at, _)| now.saturating_sub(*at) > WINDOW)
            || self.0.len() >= MAX_SAMPLES
        {
            self.0.pop_front();
        }
        self.0.push_back((now, value));
    }

    fn median(&self) -> Option<Nanos> {
        let mut values: Vec<_> = self.0.iter().map(|(_, value)| *value).collect();
        let middle = values.len() / 2;
        (!values.is_empty()).then(|| *values.select_nth_unstable(middle).1)
    }

    fn is_far_from(&self, value: Nanos) -> bool {
        self.median().is_some_and(|median| median.abs_diff(value) > MAX_JUMP as u64)
    }
}

#[cfg(test)]
#[path = "sync_tests.rs"]
mod tests;
