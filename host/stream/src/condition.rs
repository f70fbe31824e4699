//! How a stream does, by Daydream's thresholds.

use crate::Phase;
use std::time::Duration;

/// Longest silence on either side that still counts as flowing.
const SILENCE: Duration = Duration::from_secs(2);
/// An error or restart counts as recent for so long.
const RECENT: Duration = Duration::from_secs(10);
/// Fewer frames per second than this is a poor input.
const INPUT_FPS_MIN: f64 = 15.0;
/// An output below this, or below four fifths of a slower input, lags behind.
const OUTPUT_FPS_MIN: f64 = 10.0;

/// What a stream's condition is judged by. Ages are none where there was no such thing yet.
#[derive(Clone, Debug)]
pub struct Vitals {
    pub phase: Phase,
    pub is_publishing: bool,
    pub input_fps: f64,
    pub output_fps: f64,
    pub input_age: Option<Duration>,
    pub output_age: Option<Duration>,
    pub error_age: Option<Duration>,
    pub restart_age: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    Loading,
    Online,
    /// The publisher's frames come too slowly or not at all.
    DegradedInput,
    /// The pipeline does not keep up, or had trouble lately.
    DegradedInference,
    Error,
    /// Nobody publishes, or the stream ends.
    Offline,
}

impl Condition {
    pub fn of(vitals: &Vitals) -> Self {
        match vitals.phase {
            Phase::Starting | Phase::Reloading => Self::Loading,
            Phase::Error => Self::Error,
            Phase::Stopping => Self::Offline,
            Phase::Running if !vitals.is_publishing => Self::Offline,
            Phase::Running if vitals.has_poor_input() => Self::DegradedInput,
            Phase::Running if vitals.is_lagging() => Self::DegradedInference,
            Phase::Running => Self::Online,
        }
    }

    /// Daydream's word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Loading => "LOADING",
            Self::Online => "ONLINE",
            Self::DegradedInput => "DEGRADED_INPUT",
            Self::DegradedInference => "DEGRADED_INFERENCE",
            Self::Error => "ERROR",
            Self::Offline => "OFFLINE",
        }
    }

    pub const fn is_degraded(self) -> bool {
        matches!(self, Self::DegradedInput | Self::DegradedInference)
    }
}

impl Vitals {
    fn has_poor_input(&self) -> bool {
        is_silent(self.input_age) || self.input_fps < INPUT_FPS_MIN
    }

    fn is_lagging(&self) -> bool {
        let wanted = OUTPUT_FPS_MIN.min(0.8 * self.input_fps);
        let mut troubles = [self.error_age, self.restart_age].into_iter().flatten();
        is_silent(self.output_age) || self.output_fps < wanted || troubles.any(|age| age <= RECENT)
    }
}

fn is_silent(age: Option<Duration>) -> bool {
    age.is_none_or(|age| age > SILENCE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(change: impl FnOnce(&mut Vitals)) -> &'static str {
        let second = Some(Duration::from_secs(1));
        let mut vitals = Vitals {
            phase: Phase::Running,
            is_publishing: true,
            input_fps: 30.0,
            output_fps: 30.0,
            input_age: second,
            output_age: second,
            error_age: None,
            restart_age: None,
        };
        change(&mut vitals);
        Condition::of(&vitals).name()
    }

    #[test]
    fn a_phase_other_than_running_says_it_all() {
        assert_eq!(judged(|_| {}), "ONLINE");
        assert_eq!(judged(|vitals| vitals.phase = Phase::Starting), "LOADING");
        assert_eq!(judged(|vitals| vitals.phase = Phase::Reloading), "LOADING");
        assert_eq!(judged(|vitals| vitals.phase = Phase::Error), "ERROR");
        assert_eq!(judged(|vitals| vitals.phase = Phase::Stopping), "OFFLINE");
        assert_eq!(judged(|vitals| vitals.is_publishing = false), "OFFLINE");
    }

    #[test]
    fn input_is_poor_below_15_fps_or_after_2_silent_seconds() {
        let late = Some(Duration::from_millis(2001));
        assert_eq!(judged(|vitals| vitals.input_fps = 15.0), "ONLINE");
        assert_eq!(judged(|vitals| vitals.input_fps = 14.9), "DEGRADED_INPUT");
        assert_eq!(judged(|vitals| vitals.input_age = late), "DEGRADED_INPUT");
        assert_eq!(judged(|vitals| vitals.input_age = None), "DEGRADED_INPUT");
    }

    #[test]
    fn output_lags_below_10_fps_or_after_2_silent_seconds() {
        let late = Some(Duration::from_millis(2001));
        assert_eq!(judged(|vitals| vitals.output_fps = 10.0), "ONLINE");
        assert_eq!(judged(|vitals| vitals.output_fps = 9.9), "DEGRADED_INFERENCE");
        assert_eq!(judged(|vitals| vitals.output_age = late), "DEGRADED_INFERENCE");
        assert_eq!(judged(|vitals| vitals.output_age = None), "DEGRADED_INFERENCE");
    }

    #[test]
    fn trouble_counts_for_10_seconds() {
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(judged(|vitals| vitals.error_age = seconds(10)), "DEGRADED_INFERENCE");
        assert_eq!(judged(|vitals| vitals.restart_age = seconds(10)), "DEGRADED_INFERENCE");
        assert_eq!(judged(|vitals| vitals.error_age = seconds(11)), "ONLINE");
    }
}
