//! What a reader's way carries, judged by what its reports tell of loss and delay: the loss-based half of WebRTC's congestion
//! control (draft-ietf-rmcat-gcc-02, 6), with a queue that builds up on the way counted like loss.

use std::time::Duration;

/// Of what is lost: less is no reason to hold back, more is one to send less.
const LITTLE_LOSS: f64 = 0.02;
const MUCH_LOSS: f64 = 0.10;

/// Round trips that take so much longer than the quickest tell of a queue.
const QUEUE: Duration = Duration::from_millis(150);
/// What a queue is counted as.
const LOSS_OF_QUEUE: f64 = 0.3;

/// With each report without loss.
const GROWTH: f64 = 1.08;

/// Nobody is sent less of what the path may send.
const LEAST_SHARE: f64 = 0.1;

pub(crate) struct Congestion {
    most_kbps: f64,
    kbps: f64,
    quickest: Option<Duration>,
}

impl Congestion {
    pub fn new(most_kbps: u32) -> Self {
        let most_kbps = f64::from(most_kbps);
        Self { most_kbps, kbps: most_kbps, quickest: None }
    }

    /// Takes a report of the last second or so: the share lost, and the round trip. What the way carries, in kbit/s.
    pub fn note(&mut self, lost: Option<f32>, round_trip: Option<Duration>) -> u32 {
        let lost = f64::from(lost.unwrap_or(0.0)).clamp(0.0, 1.0);
        let loss = if self.has_queue(round_trip) { lost.max(LOSS_OF_QUEUE) } else { lost };
        let factor = match loss {
            loss if loss > MUCH_LOSS => 1.0 - 0.5 * loss,
            loss if loss < LITTLE_LOSS => GROWTH,
            _ => 1.0,
        };
        self.kbps = (self.kbps * factor).clamp(self.most_kbps * LEAST_SHARE, self.most_kbps);
        self.kbps.round() as u32
    }

    fn has_queue(&mut self, round_trip: Option<Duration>) -> bool {
        let Some(now) = round_trip else { return false };
        let quickest = self.quickest.map_or(now, |quickest| quickest.min(now));
        self.quickest = Some(quickest);
        now > quickest + QUEUE
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
        assert_eq!(congestion.note(None, None), 2500);
    }

    #[test]
    fn loss_takes_and_time_gives_back() {
        let mut congestion = Congestion::new(2500);
        assert_eq!(congestion.note(Some(0.4), None), 2000);
        assert_eq!(congestion.note(Some(0.05), None), 2000);
        assert_eq!(congestion.note(Some(0.0), None), 2160);
        assert_eq!((0..10).map(|_| congestion.note(Some(0.0), None)).last(), Some(2500));
    }

    #[test]
    fn a_queue_counts_like_loss_and_nothing_takes_all() {
        let mut congestion = Congestion::new(2500);
        assert_eq!(congestion.note(Some(0.0), ms(300)), 2500, "a long way is no queue");
        assert_eq!(congestion.note(Some(0.0), ms(40)), 2500);
        assert_eq!(congestion.note(Some(0.0), ms(400)), 2125);
        assert_eq!((0..50).map(|_| congestion.note(Some(1.0), ms(900))).last(), Some(250));
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
