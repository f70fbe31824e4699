//! Which picture a decoder gives out when one comes: encoders send some before those that are shown before them.

use std::collections::VecDeque;
use std::time::Duration;

/// H264 and H265 let no more be held back.
const MAX_HELD: usize = 16;

/// A step back by more is no picture in another order: the clock was set anew. At two pictures a second an order is not seen.
const MAX_STEP_BACK: Duration = Duration::from_secs(1);

/// What was not seen again within as many to twice as many pictures counts no more: one step back of a clock is no order.
const PERIOD: usize = 256;

/// Finds by their times how many pictures are held back, as decoders are told.
#[derive(Default)]
pub(crate) struct ShowingOrder {
    /// Of the pictures that came last.
    times: VecDeque<Duration>,
    /// Most pictures that came before one that is shown before them: in this period, and in the last.
    depths: [usize; 2],
    /// Pictures in this period.
    count: usize,
}

impl ShowingOrder {
    /// Takes the time at which a picture that comes is to be shown; gives that of the picture that now comes out.
    pub fn comes_out(&mut self, time: Duration) -> Option<Duration> {
        if self.times.iter().any(|other| time + MAX_STEP_BACK < *other) {
            *self = Self::default();
        }
        if self.count == PERIOD {
            (self.depths, self.count) = ([0, self.depths[0]], 0);
        }
        let overtaken = self.times.iter().filter(|other| **other > time).count();
        self.depths[0] = self.depths[0].max(overtaken);
        self.count += 1;
        if self.times.len() > MAX_HELD {
            self.times.pop_front();
        }
        self.times.push_back(time);
        let depth = self.depths[0].max(self.depths[1]).min(MAX_HELD);
        let mut latest: Vec<_> = self.times.iter().copied().collect();
        latest.sort_unstable_by(|one, other| other.cmp(one));
        latest.get(depth).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn order(times: &[u64]) -> Vec<Option<u64>> {
        let mut order = ShowingOrder::default();
        let mut comes_out = |time: &u64| order.comes_out(Duration::from_millis(*time));
        times.iter().map(|time| Some(comes_out(time)?.as_millis() as u64)).collect()
    }

    #[test]
    fn pictures_in_order_come_out_as_they_come() {
        assert_eq!(order(&[7, 40, 73]), [Some(7), Some(40), Some(73)]);
    }

    #[test]
    fn pictures_out_of_order_come_out_in_order_once_it_is_known_how_many_are_held() {
        // A picture, the one after three others, and these with the middle first.
        let times: Vec<u64> =
            (0..20).flat_map(|n| [4, 2, 1, 3].map(|at| 40 * (4 * n + at))).collect();
        let out = order(&times);
        // The second of the first four is the second that is shown, two pictures later.
        let settled: Vec<_> = out[3..].iter().map(|time| time.unwrap() / 40).collect();
        assert_eq!(settled, (2..79).collect::<Vec<_>>(), "{out:?}");
    }

    #[test]
    fn a_clock_that_is_set_back_begins_anew() {
        let times = [100_000, 100_040, 10, 50];
        assert_eq!(order(&times), times.map(Some));
    }

    #[test]
    fn a_small_step_back_is_forgotten_after_a_while() {
        let back = (0..30).chain(10..600).map(|n| 33 * n);
        let times: Vec<u64> = back.collect();
        assert_eq!(order(&times).last(), Some(&times.last().copied()));
    }

    proptest! {
        #[test]
        fn only_so_many_are_held(times in prop::collection::vec(any::<u32>(), 0..200)) {
            let mut order = ShowingOrder::default();
            for time in times {
                order.comes_out(Duration::from_millis(time.into()));
                prop_assert!(order.times.len() <= MAX_HELD + 1);
            }
        }
    }
}
