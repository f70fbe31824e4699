//! How long is waited for the hub, and how often it is asked again.

use crate::cancel::Cancel;
use crate::error::{PullError, TransferError};
use crate::pull::Event;
use std::time::Duration;

const LONGEST_BACKOFF: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// A transfer without a byte for so long has stalled.
    pub stall: Duration,
    /// The longest that one request may take, with its answer; none: as long as bytes come.
    pub request: Option<Duration>,
    /// Between the first failure and the second try; doubled each time.
    pub backoff: Duration,
    /// Tries that bring nothing new, before it is given up.
    pub tries: u32,
    /// The longest wait that a server may ask for.
    pub longest_wait: Duration,
}

/// How one try failed.
#[derive(Debug)]
pub enum Trouble {
    /// The next one may go well.
    Passing { source: TransferError, wait: Option<Duration> },
    /// No other try would go better.
    Lasting(PullError),
}

/// Counts the tries for one address.
pub struct Patience<'a> {
    pub timing: Timing,
    pub cancel: &'a Cancel,
    pub url: &'a str,
    failures: u32,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            stall: Duration::from_secs(30),
            request: None,
            backoff: Duration::from_millis(500),
            tries: 5,
            longest_wait: Duration::from_secs(120),
        }
    }
}

impl From<TransferError> for Trouble {
    fn from(source: TransferError) -> Self {
        Self::Passing { source, wait: None }
    }
}

impl From<PullError> for Trouble {
    fn from(error: PullError) -> Self {
        Self::Lasting(error)
    }
}

impl<'a> Patience<'a> {
    pub fn new(timing: Timing, cancel: &'a Cancel, url: &'a str) -> Self {
        Self { timing, cancel, url, failures: 0 }
    }

    /// Tries until it goes well or no more can be hoped for.
    pub fn hold<T>(
        mut self,
        report: &mut dyn FnMut(Event<'_>),
        mut attempt: impl FnMut() -> Result<T, Trouble>,
    ) -> Result<T, PullError> {
        loop {
            match attempt() {
                Ok(value) => return Ok(value),
                Err(trouble) => self.wait(trouble, report)?,
            }
        }
    }

    /// Something new came, so that the tries count anew.
    pub fn renew(&mut self) {
        self.failures = 0;
    }

    /// Returns when it is time for the next try.
    pub fn wait(
        &mut self,
        trouble: Trouble,
        report: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), PullError> {
        let (source, asked) = match trouble {
            Trouble::Lasting(error) => return Err(error),
            Trouble::Passing { source, wait } => (source, wait),
        };
        self.failures += 1;
        let url = || self.url.to_owned();
        if let Some(wait) = asked.filter(|wait| *wait > self.timing.longest_wait) {
            return Err(PullError::RateLimited { url: url(), wait });
        }
        if self.failures >= self.timing.tries {
            return Err(PullError::GaveUp { url: url(), tries: self.failures, source });
        }
        let backoff = self.timing.backoff.saturating_mul(1 << (self.failures - 1).min(10));
        let wait = asked.unwrap_or(backoff.min(LONGEST_BACKOFF));
        report(Event::Retrying { error: &source, wait });
        if self.cancel.wait(wait) { Err(PullError::Cancelled) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(wait: Option<u64>) -> Trouble {
        Trouble::Passing {
            source: TransferError::Status(429),
            wait: wait.map(Duration::from_millis),
        }
    }

    #[test]
    fn waits_grow_unless_the_server_names_one_and_tries_are_bounded() {
        let timing = Timing {
            backoff: Duration::from_millis(1),
            longest_wait: Duration::from_millis(9),
            ..Timing::default()
        };
        let cancel = Cancel::default();
        let mut patience = Patience::new(timing, &cancel, "http://hub");
        let mut waits = Vec::new();
        let mut report = |event: Event<'_>| match event {
            Event::Retrying { wait, .. } => waits.push(wait.as_millis()),
            other => panic!("{other:?}"),
        };
        patience.wait(failure(None), &mut report).expect("the second try");
        patience.wait(failure(None), &mut report).expect("the third try");
        patience.wait(failure(Some(7)), &mut report).expect("the fourth try");
        patience.renew();
        patience.wait(failure(None), &mut report).expect("the second try again");
        let error = patience.wait(failure(Some(10)), &mut report).expect_err("too long");
        assert!(matches!(error, PullError::RateLimited { .. }), "{error}");
        assert_eq!(waits, [1, 2, 7, 1]);

        let mut count = 0;
        let error = Patience::new(timing, &cancel, "http://hub").hold(&mut |_| (), || {
            count += 1;
            Err::<(), _>(failure(Some(0)))
        });
        assert!(matches!(error, Err(PullError::GaveUp { tries: 5, .. })), "{error:?}");
        assert_eq!(count, 5);
    }

    #[test]
    fn a_wait_ends_when_it_is_cancelled() {
        let timing = Timing { backoff: Duration::from_secs(3600), ..Timing::default() };
        let cancel = Cancel::default();
        // From the report, which comes before the wait: without the flag the wait would take an hour.
        let mut report = |_: Event<'_>| cancel.cancel();
        let error = Patience::new(timing, &cancel, "http://hub").wait(failure(None), &mut report);
        assert!(matches!(error, Err(PullError::Cancelled)), "{error:?}");
    }
}
