//! What a reader's way carries, judged by what its reports tell of loss and delay: the loss-based half of WebRTC's congestion
//! control (draft-ietf-rmcat-gcc-02, 6), with a queue that builds up on the way counted like loss. Where the way was full is
//! remembered and come near slowly, as CUBIC does (RFC 9438, 4.1): else every few seconds are spent losing packets again.

use std::time::Duration;

/// Of what is lost: less is no reason to hold back, more is one to send less.
const LITTLE_LOSS: f64 = 0.02;
const MUCH_LOSS: f64 = 0.10;

/// Round trips that take so much longer than the quickest tell of a queue.
const QUEUE: Duration = Duration::from_millis(150);
/// What a queue is counted as.
const LOSS_OF_QUEUE: f64 = 0.15;
/// A queue in so many reports that sending less did not shorten is none: the way has become a longer one.
const NO_QUEUE: u32 = 6;

/// With each report without loss; and near what was too much.
const GROWTH: f64 = 1.08;
const SLOW_GROWTH: f64 = 1.02;
/// What is near, as shares of what the way carried when it was full. Beyond it, it carries more by now.
const NEAR: std::ops::Range<f64> = 0.95..1.05;

/// Of what the way carried when it was full: less, for the queue to drain.
const BACK_OFF: f64 = 0.9;
/// One report takes no more than this share: growing back takes long.
const LEAST_LEFT: f64 = 0.5;

/// Nobody is sent less of what the path may send.
const LEAST_SHARE: f64 = 0.1;

pub(crate) struct Congestion {
    most_kbps: f64,
    kbps: f64,
    /// What the way carried when it was last too much, in kbit/s.
    full_kbps: Option<f64>,
    /// The report before this one was bad: this one tells of the same trouble, from before less was sent.
    is_cut: bool,
    round_trips: RoundTrips,
}

/// A reader's report of the last second or so.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Report {
    /// The share lost.
    pub lost: f32,
    pub round_trip: Option<Duration>,
}

impl Congestion {
    pub fn new(most_kbps: u32) -> Self {
        let most_kbps = f64::from(most_kbps);
        let round_trips = RoundTrips::default();
        Self { most_kbps, kbps: most_kbps, full_kbps: None, is_cut: false, round_trips }
    }

    /// Takes a report, and what was being sent at most, which other readers may keep below what this one takes. What the way
    /// carries, in kbit/s.
    pub fn note(&mut self, report: Report, sent_kbps: u32) -> u32 {
        let has_queue = report.round_trip.is_some_and(|now| self.round_trips.tell_of_queue(now));
        let least = if has_queue { LOSS_OF_QUEUE } else { 0.0 };
        self.judge(f64::from(report.lost).clamp(least, 1.0), sent_kbps.into());
        self.kbps = self.kbps.clamp(self.most_kbps * LEAST_SHARE, self.most_kbps);
        self.kbps.round() as u32
    }

    fn judge(&mut self, loss: f64, sent_kbps: f64) {
        let is_cut = std::mem::take(&mut self.is_cut);
        if loss > MUCH_LOSS {
            if !is_cut {
                let full_kbps = self.kbps.min(sent_kbps) * (1.0 - loss).max(LEAST_LEFT);
                self.full_kbps = Some(full_kbps);
                self.kbps = full_kbps * BACK_OFF;
                self.is_cut = true;
            }
        } else if loss < LITTLE_LOSS {
            self.kbps *= if self.is_near_full() { SLOW_GROWTH } else { GROWTH };
        }
    }

    fn is_near_full(&self) -> bool {
        self.full_kbps.is_some_and(|full| NEAR.contains(&(self.kbps / full)))
    }
}

#[derive(Default)]
struct RoundTrips {
    quickest: Option<Duration>,
    last: Option<Duration>,
    /// Reports in a row that tell of a queue.
    queued: u32,
}

impl RoundTrips {
    fn tell_of_queue(&mut self, now: Duration) -> bool {
        // One that took long tells of a busy moment at either end, two in a row of a queue.
        let shorter = self.last.replace(now).map_or(now, |last| last.min(now));
        let quickest = self.quickest.map_or(now, |quickest| quickest.min(now));
        let is_queue = shorter > quickest + QUEUE;
        self.queued = if is_queue { self.queued + 1 } else { 0 };
        let is_longer_way = self.queued == NO_QUEUE;
        self.quickest = Some(if is_longer_way { shorter } else { quickest });
        is_queue && !is_longer_way
    }
}

/// What a path sends to several readers by one encode: what three of four can take. Those with less lose what is too much
/// for them and do not spoil the picture of all others.
pub(crate) fn common(mut each: Vec<u32>) -> Option<u32> {
    each.sort_unstable();
    each.get(each.len() / 4).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A report, while as much is sent as this reader takes.
    fn note(congestion: &mut Congestion, lost: f32, ms: u64) -> u32 {
        let round_trip = Some(Duration::from_millis(ms));
        congestion.note(Report { lost, round_trip }, u32::MAX)
    }

    #[test]
    fn a_clear_way_is_used_whole() {
        let mut congestion = Congestion::new(2500);
        assert!((0..100).all(|_| note(&mut congestion, 0.01, 30) == 2500));
    }

    #[test]
    fn loss_takes_down_below_what_came_through_of_what_was_sent() {
        let mut congestion = Congestion::new(2500);
        assert_eq!(note(&mut congestion, 0.4, 30), 1350);
        assert_eq!(note(&mut congestion, 0.05, 30), 1350, "a little is no reason");
        let report = Report { lost: 0.2, round_trip: None };
        assert_eq!(congestion.note(report, 500), 360, "for others' sake less was sent");
    }

    #[test]
    fn what_was_too_much_is_come_near_slowly_and_left_behind_fast() {
        let mut congestion = Congestion::new(2000);
        note(&mut congestion, 0.9, 30);
        let steps = [(); 7].map(|()| note(&mut congestion, 0.0, 30));
        assert_eq!(steps, [972, 991, 1011, 1031, 1052, 1136, 1227]);
    }

    #[test]
    fn a_queue_counts_like_loss_and_nothing_takes_all() {
        let mut congestion = Congestion::new(2500);
        assert_eq!(note(&mut congestion, 0.0, 300), 2500, "a long way is no queue");
        assert_eq!(note(&mut congestion, 0.0, 40), 2500);
        assert_eq!(note(&mut congestion, 0.0, 400), 2500, "a busy moment is no queue");
        assert_eq!(note(&mut congestion, 0.0, 300), 1913);
        assert_eq!((0..50).map(|_| note(&mut congestion, 1.0, 900)).last(), Some(250));
    }

    #[test]
    fn the_same_trouble_takes_once() {
        let mut congestion = Congestion::new(2500);
        let mut lose = |lost| note(&mut congestion, lost, 30);
        assert_eq!([0.2, 0.5, 0.2, 0.5].map(&mut lose), [1800, 1800, 1296, 1296]);
        assert_eq!([0.05, 0.2].map(lose), [1296, 933], "it was better between");
    }

    #[test]
    fn a_way_that_became_a_longer_one_is_no_queue_for_long() {
        let mut congestion = Congestion::new(2500);
        note(&mut congestion, 0.0, 20);
        let after: Vec<_> = (0..30).map(|_| note(&mut congestion, 0.0, 300)).collect();
        let least = after.iter().copied().min();
        assert!(least < Some(2000) && least > Some(1000), "{after:?}");
        assert_eq!(after.last(), Some(&2500), "{after:?}");
    }

    #[test]
    fn one_bad_way_of_many_holds_nobody_back() {
        assert_eq!(common(vec![]), None);
        assert_eq!(common(vec![300]), Some(300));
        assert_eq!(common(vec![2500, 300]), Some(300));
        assert_eq!(common(vec![2500, 300, 2500, 2500]), Some(2500));
        assert_eq!(common(vec![400, 300, 2500, 2500]), Some(400));
    }
}
