//! Pauses between attempts, each twice as long as the one before.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(30);

pub struct Backoff(Duration);

impl Backoff {
    pub const fn new() -> Self {
        Self(FIRST)
    }

    pub fn next(&mut self) -> Duration {
        let pause = self.0;
        self.0 = (pause * 2).min(LONGEST);
        pause
    }

    /// What ran for longer than any pause starts again as if it had never failed.
    pub fn ran_for(&mut self, time: Duration) {
        if time > LONGEST {
            self.0 = FIRST;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_limit_and_start_anew_after_a_long_run() {
        let mut backoff = Backoff::new();
        let pauses: Vec<_> = (0..8).map(|_| backoff.next().as_millis()).collect();
        assert_eq!(pauses, [500, 1000, 2000, 4000, 8000, 16000, 30000, 30000]);
        backoff.ran_for(LONGEST);
        assert_eq!(backoff.next(), LONGEST);
        backoff.ran_for(LONGEST * 2);
        assert_eq!(backoff.next(), FIRST);
    }
}
