//! What a receiver counts of a track, for its reports (RFC 3550, appendix A).

use super::rtp::{ReceiverReport, SenderReport};
use std::time::Instant;

#[derive(Debug)]
pub struct Statistics {
    rate: f64,
    begun: Instant,
    source: u32,
    first: Option<u64>,
    next: u64,
    received: u64,
    /// What was expected and received at the last report.
    told: (u64, u64),
    jitter: f64,
    /// Of the last packet: how much later it came than its time says, in ticks.
    transit: Option<f64>,
    last_report: Option<(u32, Instant)>,
}

impl Statistics {
    pub fn new(rate: u32) -> Self {
        Self {
            rate: rate.into(),
            begun: Instant::now(),
            source: 0,
            first: None,
            next: 0,
            received: 0,
            told: (0, 0),
            jitter: 0.0,
            transit: None,
            last_report: None,
        }
    }

    /// What was counted has nothing to do with the numbers that come now.
    pub fn begin_anew(&mut self) {
        (self.first, self.next, self.received, self.told) = (None, 0, 0, (0, 0));
        self.transit = None;
    }

    /// Notes a packet in its turn.
    pub fn note(&mut self, number: u64, timestamp: u32, source: u32, now: Instant) {
        self.source = source;
        self.first.get_or_insert(number);
        self.next = number + 1;
        self.received += 1;
        let arrived = now.saturating_duration_since(self.begun).as_secs_f64() * self.rate;
        let transit = arrived - f64::from(timestamp);
        if let Some(last) = self.transit.replace(transit) {
            // A clock that turned over tells nothing.
            let step = Some((transit - last).abs()).filter(|step| *step < self.rate * 60.0);
            self.jitter += (step.unwrap_or(self.jitter) - self.jitter) / 16.0;
        }
    }

    pub fn take(&mut self, report: &SenderReport, now: Instant) {
        self.last_report = Some(((report.ntp >> 16) as u32, now));
    }

    pub fn report(&mut self, own_source: u32, now: Instant) -> ReceiverReport {
        let expected = self.next - self.first.unwrap_or(self.next);
        let (expected_now, received_now) = (expected - self.told.0, self.received - self.told.1);
        self.told = (expected, self.received);
        let lost_now = expected_now.saturating_sub(received_now);
        let since = |(_, came_at)| now.saturating_duration_since(came_at).as_secs_f64() * 65536.0;
        ReceiverReport {
            own_source,
            source: self.source,
            fraction_lost: (lost_now * 256).checked_div(expected_now).unwrap_or(0).min(255) as u8,
            lost: u32::try_from(expected.saturating_sub(self.received)).unwrap_or(u32::MAX),
            highest_sequence: self.next.saturating_sub(1) as u32,
            jitter: self.jitter as u32,
            last_report: self.last_report.map_or(0, |(middle, _)| middle),
            since_last_report: self.last_report.map_or(0.0, since) as u32,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn losses_and_jitter_are_told_as_they_were_since_the_last_report() {
        let mut statistics = Statistics::new(90_000);
        let start = Instant::now();
        for (number, at) in [(10, 0), (11, 33), (13, 101)] {
            let now = start + Duration::from_millis(at);
            statistics.note(number, (number - 10) as u32 * 3000, 5, now);
        }
        let ntp = 0x0001_0002_0003_0004;
        statistics.take(&SenderReport { ntp, ..SenderReport::default() }, start);
        let report = statistics.report(9, start + Duration::from_millis(500));
        assert_eq!((report.source, report.own_source, report.highest_sequence), (5, 9, 13));
        assert_eq!((report.fraction_lost, report.lost), (64, 1));
        assert_eq!((report.last_report, report.since_last_report), (0x0002_0003, 32768));
        assert!((1..40).contains(&report.jitter), "{}", report.jitter);
        assert_eq!(statistics.report(9, start).fraction_lost, 0);
    }
}
