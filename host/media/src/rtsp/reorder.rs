//! Puts packets back into the order they were sent in. One that is missing is waited for a little, and then given up.

use bytes::Bytes;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// More than come while one is waited for.
const MAX_WAITING: usize = 512;
/// A step back that is no late packet: the sender numbers anew.
const MAX_LATE: i16 = -500;

#[derive(Debug)]
pub struct Reorder {
    /// How long a missing packet is waited for.
    patience: Duration,
    next: Option<u64>,
    /// Whether what was waited for is given up since the sender numbers anew.
    is_renumbered: bool,
    waiting: BTreeMap<u64, (Instant, Bytes)>,
}

/// A packet whose turn it is.
#[derive(Debug, PartialEq, Eq)]
pub struct Turn {
    pub number: u64,
    pub bytes: Bytes,
    /// Packets before it that are given up.
    pub missing: u64,
    /// Whether the sender numbers anew from it on.
    pub is_renumbered: bool,
}

impl Reorder {
    pub fn new(patience: Duration) -> Self {
        Self { patience, next: None, is_renumbered: false, waiting: BTreeMap::new() }
    }

    pub fn push(&mut self, sequence: u16, bytes: Bytes, now: Instant) {
        // Room for steps back from the first packet.
        let next = *self.next.get_or_insert(1 << 32 | u64::from(sequence));
        let step = sequence.wrapping_sub(next as u16).cast_signed();
        if step < MAX_LATE {
            self.waiting.clear();
            self.is_renumbered = true;
            let renumbered = (next & !0xffff) + (1 << 16) + u64::from(sequence);
            self.next = Some(renumbered);
            self.waiting.insert(renumbered, (now, bytes));
            return;
        }
        if let Some(number) = next.checked_add_signed(step.into()).filter(|number| *number >= next)
        {
            self.waiting.insert(number, (now, bytes));
        }
    }

    /// The next packet, if it is there or what comes before it is given up.
    pub fn pop(&mut self, now: Instant) -> Option<Turn> {
        let next = self.next?;
        let (number, (came_at, _)) = self.waiting.first_key_value()?;
        let is_due = *number == next
            || now.saturating_duration_since(*came_at) >= self.patience
            || self.waiting.len() > MAX_WAITING;
        if !is_due {
            return None;
        }
        let (number, (_, bytes)) = self.waiting.pop_first()?;
        self.next = Some(number + 1);
        let is_renumbered = std::mem::take(&mut self.is_renumbered);
        let missing = number - next + u64::from(is_renumbered);
        Some(Turn { number, bytes, missing, is_renumbered })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_millis(50);

    /// What comes out, with how many are missing, for packets pushed at these milliseconds.
    fn order(pushed: &[(u64, u16)]) -> Vec<(u16, u64)> {
        let (start, mut reorder, mut turns) = (Instant::now(), Reorder::new(PATIENCE), Vec::new());
        for (at, sequence) in pushed {
            let now = start + Duration::from_millis(*at);
            reorder.push(*sequence, Bytes::new(), now);
            while let Some(turn) = reorder.pop(now) {
                turns.push((turn.number as u16, turn.missing));
            }
        }
        turns
    }

    #[test]
    fn a_late_packet_finds_its_place_and_a_lost_one_is_told() {
        assert_eq!(
            order(&[(0, 65534), (0, 0), (1, 65535), (2, 1)]),
            [(65534, 0), (65535, 0), (0, 0), (1, 0)]
        );
        assert_eq!(order(&[(0, 5), (0, 7), (30, 8)]), [(5, 0)]);
        assert_eq!(order(&[(0, 5), (0, 7), (30, 8), (60, 9)]), [(5, 0), (7, 1), (8, 0), (9, 0)]);
        // Doubles and what comes too late are left out.
        assert_eq!(order(&[(0, 5), (0, 5), (0, 4), (0, 6)]), [(5, 0), (6, 0)]);
    }

    #[test]
    fn a_sender_may_number_anew() {
        let turns = order(&[(0, 5000), (0, 5001), (1, 10), (2, 11), (3, 12)]);
        assert_eq!(turns, [(5000, 0), (5001, 0), (10, 1), (11, 0), (12, 0)]);
    }
}
