//! The frames that a worker was sent lately, by which its answers are known.

use host_ports::FrameStamp;
use std::collections::VecDeque;

/// How many frames back a pipeline may say its picture is from: a stream batch has fewer steps than this.
const REMEMBERED_STAMPS: usize = 64;

/// The frames that were sent lately.
#[derive(Default)]
pub(crate) struct Stamps(VecDeque<FrameStamp>);

impl Stamps {
    pub(crate) fn remember(&mut self, stamp: FrameStamp) {
        if self.0.len() == REMEMBERED_STAMPS {
            self.0.pop_front();
        }
        self.0.push_back(stamp);
    }

    pub(crate) fn find(&self, id: u64) -> Option<FrameStamp> {
        self.0.iter().rev().find(|stamp| stamp.id == id).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn only_frames_that_were_sent_lately_are_known() {
        let mut stamps = Stamps::default();
        let stamp = |id| FrameStamp { id, captured_at: Instant::now() };
        (1..=100).for_each(|id| stamps.remember(stamp(id)));
        assert_eq!(stamps.find(100).map(|stamp| stamp.id), Some(100));
        assert_eq!(stamps.find(37).map(|stamp| stamp.id), Some(37));
        assert!(stamps.find(36).is_none());
        assert!(stamps.find(101).is_none());
    }
}
