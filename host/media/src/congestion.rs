//! What a reader's way carries, judged by what its reports tell of loss and delay: the loss-based half of WebRTC's congestion
//! control (draft-ietf-rmcat-gcc-02, 6), with a queue that builds up on the way counted like loss. Where the way was full is
//! remembered and come near slowly, as CUBIC does (RFC 9438, 4.1): else every few seconds are spent losing packets again.

use std::collections::VecDeque;
use std::time::Duration;

/// Of what is lost: less is no reason to hold back, more is one to send less.
const LITTLE_LOSS: f64 = 0.02;
const MUCH_LOSS: f64 = 0.10;

/// Round trips that take so much longer than the quickest tell of a queue.
const QUEUE: Duration = Duration::from_millis(150);
/// What a queue is counted as.
const LOSS_OF_QUEUE: f64 = 0.15;
/// The quickest of so many reports: a way may become a longer one for good.
const ROUND_TRIPS: usize = 30;

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
    round_trips: VecDeque<Duration>,
}

impl Congestion {
    pub fn new(most_kbps: u32) -> Self {
        let most_kbps = f64::from(most_kbps);
        Self {
            most_kbps,
            kbps: most_kbps,
            full_kbps: None,
            is_cut: false,
            round_trips: VecDeque::new(),
        }
    }

    /// Takes a report of the last second or so: the share lost, none if nothing was heard, and the round trip. What the way
    /// carries, in kbit/s.
    pub fn note(&mut self, lost: Option<f32>, round_trip: Option<Duration>) -> u32 {
        let has_queue = self.has_queue(round_trip);
        if let Some(lost) = lost {
            let least = if has_queue { LOSS_OF_QUEUE } else { 0.0 };
            self.judge(f64::from(lost).clamp(least, 1.0));
        }
        self.kbps.round() as u32
    }

    fn judge(&mut self, loss: f64) {
        let is_cut = std::mem::take(&mut self.is_cut);
        if loss > MUCH_LOSS {
            if is_cut {
                return;
            }
            self.is_cut = true;
            let full_kbps = self.kbps * (1.0 - loss).max(LEAST_LEFT);
            self.full_kbps = Some(full_kbps);
            self.kbps = full_kbps * BACK_OFF;
        } else if loss < LITTLE_LOSS {
            self.kbps *= if self.is_near_full() { SLOW_GROWTH } else { GROWTH };
        }
        self.kbps = self.kbps.clamp(self.most_kbps * LEAST_SHARE, self.most_kbps);
    }

    fn is_near_full(&self) -> bool {
        self.full_kbps.is_some_and(|full| NEAR.contains(&(self.kbps / full)))
    }

    fn has_queue(&mut self, round_trip: Option<Duration>) -> bool {
        let Some(now) = round_trip else { return false };
        if self.round_trips.len() == ROUND_TRIPS {
            self.round_trips.pop_front();
        }
        // One that took long tells of a busy moment at either end, two in a row of a queue.
        let now_or_before = self.round_trips.back().map_or(now, |before| now.min(*before));
        self.round_trips.push_back(now);
        self.round_trips.iter().any(|quickest| now_or_before > *quickest + QUEUE)
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

    fn ms(ms: u64) -> Option<Duration> {
        Some(Duration::from_millis(ms))
    }

    #[test]
    fn a_clear_way_is_used_whole() {
        let mut congestion = Congestion::new(2500);
        assert!((0..100).all(|_| congestion.note(Some(0.01), ms(30)) == 2500));
    }

    #[test]
    fn loss_takes_down_below_what_came_through_and_nothing_heard_changes_nothing() {
        let mut congestion = Congestion::new(2500);
        assert_eq!(congestion.note(Some(0.4), None), 1350);
        assert_eq!(congestion.note(None, ms(30)), 1350);
        assert_eq!(congestion.note(Some(0.05), None), 1350, "a little is no reason");
    }

    #[test]
    fn what_was_too_much_is_come_near_slowly_and_left_behind_fast() {
        let mut congestion = Congestion::new(2000);
        congestion.note(Some(0.9), None);
        let steps = [(); 7].map(|()| congestion.note(Some(0.0), ms(30)));
        assert_eq!(steps, [972, 991, 1011, 1031, 1052, 1136, 1227]);
    }

    #[test]
    fn a_queue_counts_like_loss_and_nothing_takes_all() {
        let mut congestion = Congestion::new(2500);
        assert_eq!(congestion.note(Some(0.0), ms(300)), 2500, "a long way is no queue");
        assert_eq!(congestion.note(Some(0.0), ms(40)), 2500);
        assert_eq!(congestion.note(Some(0.0), ms(400)), 2500, "a busy moment is no queue");
        assert_eq!(congestion.note(Some(0.0), ms(300)), 1913);
        assert_eq!((0..50).map(|_| congestion.note(Some(1.0), ms(900))).last(), Some(250));
    }

    #[test]
    fn the_same_trouble_takes_once() {
        let mut congestion = Congestion::new(2500);
        let mut note = |loss| congestion.note(Some(loss), ms(30));
        assert_eq!([0.2, 0.5, 0.2, 0.5].map(&mut note), [1800, 1800, 1296, 1296]);
        assert_eq!([0.05, 0.2].map(note), [1296, 933], "it was better between");
    }

    #[test]
    fn a_way_that_became_a_longer_one_is_no_queue_for_ever() {
        let mut congestion = Congestion::new(2500);
        congestion.note(Some(0.0), ms(20));
        assert!((0..9).map(|_| congestion.note(Some(0.0), ms(300))).any(|kbps| kbps < 2000));
        assert_eq!((0..200).map(|_| congestion.note(Some(0.0), ms(300))).last(), Some(2500));
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
