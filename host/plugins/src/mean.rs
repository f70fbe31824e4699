//! How long frames take, and so how long the next one may.

use crate::config::Limits;
use std::time::Duration;

/// How long frames take, newer ones weighing more.
#[derive(Default)]
pub(crate) struct RunningMean(Option<Duration>);

impl RunningMean {
    pub(crate) fn add(&mut self, took: Duration) {
        self.0 = Some(self.0.map_or(took, |mean| mean * 7 / 8 + took / 8));
    }

    pub(crate) fn limit(&self, limits: &Limits) -> Duration {
        // The first frame is part of loading: it fills a batch, and some engines are built by it.
        let expected = self.0.map_or(limits.load, |mean| mean.saturating_mul(limits.frame_factor));
        limits.frame.max(expected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_pipelines_get_a_longer_limit() {
        let limits = Limits::default();
        let mut mean = RunningMean::default();
        assert_eq!(mean.limit(&limits), Duration::from_secs(60));
        mean.add(Duration::from_millis(400));
        assert_eq!(mean.limit(&limits), Duration::from_secs(10));
        mean.add(Duration::from_millis(2000));
        assert_eq!(mean.limit(&limits), Duration::from_secs(12));
    }
}
