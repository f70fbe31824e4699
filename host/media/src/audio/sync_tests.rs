//! Publishers and pictures whose clocks and delays are made up, and when audio is due for them.

use super::*;
use proptest::prelude::*;

const MS: Nanos = 1_000_000;

/// A publisher of 50 packets and 30 pictures a second, whose clock began a minute ago.
struct Run {
    sync: Sync,
    now: Nanos,
    offsets: Vec<Nanos>,
}

const THEIRS: Nanos = 60_000 * MS;

impl Run {
    fn new() -> Self {
        Self { sync: Sync::default(), now: 0, offsets: Vec::new() }
    }

    /// Goes on for some ms: audio and pictures arrive so many ms late, pictures take so long.
    fn go(&mut self, for_ms: Nanos, (audio, video, latency): (Nanos, Nanos, Nanos)) {
        for _ in 0..for_ms / 10 {
            let step = self.now / (10 * MS);
            if step % 2 == 0 {
                self.sync.audio_came(self.now + THEIRS - audio * MS, self.now);
            }
            if step % 3 == 0 {
                self.sync.video_came(self.now + 2 * THEIRS - video * MS, self.now);
                self.sync.shown(latency * MS, self.now);
            }
            let offset = self.sync.offset().map(|offset| (offset + THEIRS) / MS);
            if let Some(offset) = offset.filter(|offset| self.offsets.last() != Some(offset)) {
                self.offsets.push(offset);
            }
            self.now += 10 * MS;
        }
    }
}

#[test]
fn audio_is_delayed_as_pictures_are() {
    let mut run = Run::new();
    run.go(3000, (5, 5, 100));
    assert_eq!(run.offsets.last(), Some(&105));
    assert_eq!(run.sync.delay(), Some(Duration::from_millis(100)));
}

#[test]
fn without_pictures_audio_is_passed_on_as_it_comes() {
    let mut run = Run::new();
    run.sync.audio_came(THEIRS, 0);
    assert_eq!(run.sync.delay(), Some(Duration::ZERO));
    assert_eq!(run.sync.offset(), Some(-THEIRS));
}

#[test]
fn a_step_is_followed_in_one_step_and_small_ones_not_at_all() {
    let mut run = Run::new();
    run.go(3000, (0, 0, 100));
    run.go(8000, (0, 0, 115));
    assert_eq!(run.offsets, [100], "within the tolerance");
    run.go(3000, (0, 0, 300));
    run.go(3000, (0, 0, 40));
    assert_eq!(run.offsets, [100, 300, 40]);
}

#[test]
fn what_is_a_little_off_is_put_right_once_it_has_lasted() {
    let mut run = Run::new();
    run.go(3000, (0, 0, 115));
    run.go(30_000, (0, 0, 100));
    assert_eq!(run.offsets, [115, 100]);
    for _ in 0..10 {
        run.go(8000, (0, 0, 115));
        run.go(4000, (0, 0, 100));
    }
    run.go(30_000, (0, 0, 108));
    assert_eq!(run.offsets, [115, 100], "what comes and goes is let be");
}

#[test]
fn a_single_late_picture_or_packet_changes_nothing() {
    let mut run = Run::new();
    run.go(3000, (0, 0, 100));
    run.go(90, (700, 0, 900));
    run.go(3000, (0, 0, 100));
    assert_eq!(run.offsets, [100]);
}

#[test]
fn pictures_that_arrive_later_than_their_sound_are_waited_for_once_the_clocks_are_known() {
    let mut run = Run::new();
    run.go(3000, (0, 80, 100));
    run.sync.related(THEIRS);
    run.go(100, (0, 80, 100));
    assert_eq!(run.offsets, [100, 180]);
    run.sync.related(THEIRS + 3_600_000 * MS);
    run.go(100, (0, 80, 100));
    assert_eq!(run.offsets, [100, 180, 100], "nobody's audio is an hour off its pictures");
}

#[test]
fn a_clock_that_runs_fast_is_followed_for_hours() {
    let (mut sync, mut now) = (Sync::default(), 0);
    let mut steps = Vec::new();
    // 200 parts in a million, for two hours.
    while now < 7_200_000 * MS {
        sync.audio_came(now + now / 5000, now);
        let offset = sync.offset().unwrap() + now / 5000;
        assert!(offset.abs() <= 21 * MS, "{offset}");
        if steps.last() != sync.offset().as_ref() {
            steps.push(sync.offset().unwrap());
        }
        now += 20 * MS;
    }
    assert!(steps.len() < 160, "one step for each 10 ms of drift, not {}", steps.len());
}

#[test]
fn a_clock_set_anew_is_read_anew() {
    let mut sync = Sync::default();
    assert!(sync.audio_came(THEIRS, 0));
    assert!(sync.audio_came(THEIRS + 20 * MS, 20 * MS));
    assert!(!sync.audio_came(5 * MS, 40 * MS));
    assert_eq!(sync.offset(), Some(35 * MS));
    sync.restart();
    assert_eq!(sync.offset(), None);
}

proptest! {
    #[test]
    fn no_clock_makes_a_delay_beyond_the_limit(
        events in proptest::collection::vec((0..4_u8, any::<i64>(), 0..100_000_000_i64), 0..200),
    ) {
        let (mut sync, mut now) = (Sync::default(), 0);
        for (kind, value, passed) in events {
            now += passed;
            match kind {
                0 => drop(sync.audio_came(value, now)),
                1 => sync.video_came(value, now),
                2 => sync.shown(value, now),
                _ => sync.related(value),
            }
            let limit = Duration::from_nanos((MAX_LATENCY + MAX_SKEW + TOLERANCE) as u64);
            prop_assert!(sync.delay().is_none_or(|delay| delay <= limit + Duration::from_nanos(MAX_JUMP as u64)));
        }
    }
}
