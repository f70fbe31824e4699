//! Audio of one codec that waits until it is due.

use super::sync::Nanos;
use crate::unit::AudioFormat;
use std::collections::VecDeque;
use std::sync::Arc;

/// More than the longest delay takes, of packets as short as they come.
const MAX_PACKETS: usize = 2048;
const MAX_BYTES: usize = 1 << 20;
/// No delay is so long: a packet that is due later is of a clock that its publisher has set back since.
const FARTHEST: Nanos = 10_000_000_000;

/// Some milliseconds of encoded audio.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    pub format: Arc<AudioFormat>,
    pub data: Arc<[u8]>,
    /// When it begins, on the publisher's clock.
    pub theirs: Nanos,
    pub duration: Nanos,
}

#[derive(Default)]
pub(crate) struct Line {
    waiting: VecDeque<Packet>,
    bytes: usize,
    /// Time of the path before which all is said.
    free_from: Nanos,
}

impl Line {
    /// Lets a packet wait; false if too many do already.
    pub fn push(&mut self, packet: Packet) -> bool {
        let bytes = self.bytes + packet.data.len();
        if self.waiting.len() >= MAX_PACKETS || bytes > MAX_BYTES {
            return false;
        }
        self.bytes = bytes;
        self.waiting.push_back(packet);
        true
    }

    /// The path's time at which the next packet is due.
    pub fn next(&self, offset: Nanos) -> Option<Nanos> {
        Some(self.waiting.front()?.theirs.saturating_add(offset))
    }

    /// The next packet that is due, with its time on the path's clock. Packets are left out whose time is spoken for
    /// since the delay shrank: time never goes back.
    pub fn pop(&mut self, now: Nanos, offset: Nanos) -> Option<(Packet, Nanos)> {
        let is_far = |time: Nanos| time > now.saturating_add(FARTHEST);
        while let Some(time) = self.next(offset).filter(|time| *time <= now || is_far(*time)) {
            let packet = self.waiting.pop_front()?;
            self.bytes -= packet.data.len();
            if time >= self.free_from && !is_far(time) {
                // Times are rounded by some: half a packet is no step back.
                self.free_from = time.saturating_add(packet.duration / 2).saturating_add(1);
                return Some((packet, time));
            }
        }
        None
    }

    pub fn clear(&mut self) {
        self.waiting.clear();
        self.bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unit::AudioCodec;

    const MS: Nanos = 1_000_000;

    #[test]
    fn a_packet_of_a_clock_that_was_set_back_holds_nobody_up() {
        let mut line = Line::default();
        for theirs in [100_000, 20] {
            assert!(line.push(packet(theirs)));
        }
        let (said, time) = line.pop(20 * MS, 0).unwrap();
        assert_eq!((said.theirs, time), (20 * MS, 20 * MS));
    }

    fn packet(theirs: Nanos) -> Packet {
        let (codec, config) = (AudioCodec::Opus, Arc::from([]));
        let format = Arc::new(AudioFormat { codec, rate: 48_000, channels: 2, config });
        let data = Arc::from([theirs as u8]);
        Packet { format, data, theirs: theirs * MS, duration: 20 * MS }
    }

    /// Fills a line with packets of 20 ms and takes out what is due, with the offset of each moment, all in ms.
    fn times(moments: &[(Nanos, Nanos)]) -> Vec<Nanos> {
        let (mut line, mut times, mut pushed) = (Line::default(), Vec::new(), 0);
        for (now, offset) in moments {
            while pushed <= *now {
                assert!(line.push(packet(pushed)));
                pushed += 20;
            }
            while let Some((_, time)) = line.pop(now * MS, offset * MS) {
                times.push(time / MS);
            }
        }
        times
    }

    #[test]
    fn packets_come_out_when_they_are_due_and_not_before() {
        assert_eq!(times(&[(0, 50), (49, 50), (50, 50), (90, 50)]), [50, 70, 90]);
    }

    #[test]
    fn a_growing_delay_is_a_gap() {
        assert_eq!(times(&[(40, 0), (60, 100), (140, 100), (160, 100)]), [0, 20, 40, 160]);
    }

    #[test]
    fn a_shrinking_delay_leaves_packets_out_and_never_goes_back() {
        let times = times(&[(160, 100), (180, 40), (220, 40), (260, 40)]);
        assert_eq!(times, [100, 120, 140, 160, 180, 200, 220, 240, 260]);
    }

    #[test]
    fn times_rounded_to_milliseconds_lose_no_packet() {
        let mut line = Line::default();
        for theirs in [0, 21, 42, 64, 85] {
            line.push(packet(theirs));
        }
        let count = std::iter::from_fn(|| line.pop(1000 * MS, 0)).count();
        assert_eq!(count, 5);
    }

    #[test]
    fn only_so_many_wait() {
        let mut line = Line::default();
        let taken = (0..5000).filter(|theirs| line.push(packet(*theirs))).count();
        assert_eq!(taken, MAX_PACKETS);
        line.clear();
        assert!(line.push(packet(0)) && line.bytes == 1);
    }
}
