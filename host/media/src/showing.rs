//! Which picture a decoder gives out when one comes: encoders send some before those that are shown before them.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

/// H264 lets no more be held back.
const MAX_HELD: usize = 16;

/// A step back by more is no picture in another order: the clock was set anew.
const MAX_STEP_BACK: Duration = Duration::from_secs(2);

/// Finds by their times how many pictures are held back, as decoders do.
#[derive(Default)]
pub(crate) struct ShowingOrder {
    held: BinaryHeap<Reverse<Duration>>,
    depth: usize,
    /// The time of the picture that came out last.
    last: Duration,
}

impl ShowingOrder {
    /// Takes the time at which a picture that comes is to be shown; gives that of the picture that now comes out.
    pub fn comes_out(&mut self, time: Duration) -> Option<Duration> {
        if time + MAX_STEP_BACK < self.last {
            *self = Self::default();
        }
        if time < self.last {
            self.depth = (self.depth + 1).min(MAX_HELD);
        }
        self.held.push(Reverse(time));
        if self.held.len() <= self.depth {
            return None;
        }
        let Reverse(out) = self.held.pop()?;
        self.last = self.last.max(out);
        Some(out)
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
        let settled: Vec<_> = out[8..].iter().map(|time| time.unwrap() / 40).collect();
        assert_eq!(settled, (7..7 + 72).collect::<Vec<_>>(), "{out:?}");
    }

    #[test]
    fn a_clock_that_is_set_back_begins_anew() {
        let times = [100_000, 100_040, 10, 50];
        assert_eq!(order(&times), times.map(Some));
    }

    proptest! {
        #[test]
        fn only_so_many_are_held(times in prop::collection::vec(any::<u32>(), 0..200)) {
            let mut order = ShowingOrder::default();
            for time in times {
                order.comes_out(Duration::from_millis(time.into()));
                prop_assert!(order.held.len() <= MAX_HELD);
            }
        }
    }
}
