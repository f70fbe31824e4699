//! The life of a stream: when its pipeline is loaded, loaded again or given a rest, and what viewers see meanwhile.
//!
//! Events and time go in, effects come out; the runtime performs the effects and reports back. Reasons, params and
//! frames stay outside: only their order matters here.

use std::time::{Duration, Instant};

/// Numbers the loads of a stream, so that news of one that was given up is told from news of the present one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LoadId(pub u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The first frame of a publisher reached the host.
    FrameArrived,
    PublisherGone,
    Loaded(LoadId),
    /// Loading failed in a way that may pass: the plugin died, hung or lacked something.
    LoadFailed(LoadId),
    /// The plugin cannot load with these params.
    LoadRefused(LoadId),
    /// A loaded pipeline must be loaded again before it can be used.
    PipelineFailed(LoadId),
    ParamsChanged(Change),
    DeadlineReached,
    Deleted,
}

/// What a change of params asks of the pipeline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// The latest load, under way or done, was for params that differ in more than hot ones.
    pub needs_reload: bool,
    /// While a pipeline loads beside the running one: the running one needs no reload for them.
    pub suits_running: bool,
    /// There is memory for a second pipeline while the first one runs.
    pub has_room: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// End the load that is under way; its outcome no longer matters.
    CancelLoad,
    /// Drop the pipeline, if there is one, then open and load a new one for the params as they are now.
    Load(LoadId),
    /// Load a pipeline for the params as they are now while the present one runs on, and change over between two frames.
    /// Ends an earlier such load.
    LoadBeside(LoadId),
    /// End the load beside the running pipeline, which stays.
    EndBeside,
    /// The load beside the running pipeline failed: the params go back to those that it runs with.
    TakeBack,
    /// Load the same pipeline again, with the params as they are now.
    Restart(LoadId),
    /// Give the params to the pipeline before its next frame, or as soon as it is loaded.
    ApplyParams,
    /// Viewers see what the pipeline makes.
    ShowPipeline,
    /// Viewers see the stream's fallback.
    ShowFallback,
    /// End ingress, pipeline and egress.
    Stop,
}

/// Where a stream is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The pipeline loads for the first time.
    Starting,
    Running,
    /// The pipeline loads again, for new params or after a crash.
    Reloading,
    Error,
    Stopping,
}

/// Pauses between a failure and the next try: `first`, then doubled with each failure in a row, up to `max`. A pipeline
/// that fails for ever is tried for ever, at `max`.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    pub first: Duration,
    pub max: Duration,
}

impl Backoff {
    fn pause(self, failures: u32) -> Duration {
        let factor = 2u32.saturating_pow(failures);
        self.first.saturating_mul(factor).min(self.max)
    }
}

/// One stream's state.
#[derive(Debug)]
pub struct Lifecycle {
    state: State,
    input: Input,
    backoff: Backoff,
    /// Failures in a row, which stretch the next pause.
    failures: u32,
    last_load: LoadId,
    was_loaded: bool,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Loading,
    Running {
        load: LoadId,
        since: Instant,
        beside: Option<LoadId>,
    },
    Waiting {
        until: Instant,
    },
    /// Only new params can help.
    Refused,
    Stopping,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Input {
    NoneYet,
    Flowing,
    Gone,
}

impl Lifecycle {
    /// A new stream, and what the runtime must do first.
    pub fn start(backoff: Backoff) -> (Self, Vec<Effect>) {
        let last_load = LoadId(1);
        let stream = Self {
            state: State::Loading,
            input: Input::NoneYet,
            backoff,
            failures: 0,
            last_load,
            was_loaded: false,
        };
        (stream, vec![Effect::Load(last_load)])
    }

    /// Moves the stream forward and returns what the runtime must now do, in this order.
    pub fn on(&mut self, now: Instant, event: Event) -> Vec<Effect> {
        let shown = self.shown();
        let work = self.step(now, event);
        let picture = self.shown().filter(|picture| Some(*picture) != shown);
        picture.into_iter().chain(work).collect()
    }

    pub fn phase(&self) -> Phase {
        match self.state {
            State::Loading if self.was_loaded => Phase::Reloading,
            State::Loading => Phase::Starting,
            State::Running { .. } => Phase::Running,
            State::Waiting { .. } | State::Refused => Phase::Error,
            State::Stopping => Phase::Stopping,
        }
    }

    /// When to send `DeadlineReached`; none while nothing is waited for.
    pub fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Waiting { until } => Some(until),
            _ => None,
        }
    }

    fn step(&mut self, now: Instant, event: Event) -> Vec<Effect> {
        match (self.state, event) {
            // Late events change nothing: frames race a delete, and deleting twice is fine.
            (State::Stopping, _) => vec![],
            (_, Event::Deleted) => {
                self.state = State::Stopping;
                vec![Effect::Stop]
            }
            (_, Event::FrameArrived) => {
                self.input = Input::Flowing;
                vec![]
            }
            (_, Event::PublisherGone) => {
                if self.input == Input::Flowing {
                    self.input = Input::Gone;
                }
                vec![]
            }
            (_, Event::ParamsChanged(change)) => self.on_params(change),
            (State::Loading | State::Running { beside: Some(_), .. }, Event::Loaded(load))
                if load == self.last_load =>
            {
                self.state = State::Running { load, since: now, beside: None };
                self.was_loaded = true;
                vec![]
            }
            (
                State::Running { load, since, beside: Some(beside) },
                Event::LoadFailed(failed) | Event::LoadRefused(failed),
            ) if failed == beside => {
                self.state = State::Running { load, since, beside: None };
                vec![Effect::TakeBack]
            }
            (State::Loading, Event::LoadFailed(load)) if load == self.last_load => {
                self.wait(now);
                vec![]
            }
            (State::Loading, Event::LoadRefused(load)) if load == self.last_load => {
                self.state = State::Refused;
                vec![]
            }
            (State::Running { load, since, beside }, Event::PipelineFailed(failed))
                if failed == load =>
            {
                // Having run for longer than the longest pause, it is not the same failure over and over.
                if now.saturating_duration_since(since) >= self.backoff.max {
                    self.failures = 0;
                }
                self.wait(now);
                // The next try is for the newest params anyway.
                beside.map(|_| Effect::EndBeside).into_iter().collect()
            }
            (State::Waiting { until }, Event::DeadlineReached) if until <= now => {
                vec![Effect::Restart(self.next_load())]
            }
            // News of a load that was given up, or a timer that fired early.
            (_, _) => vec![],
        }
    }

    fn on_params(&mut self, change: Change) -> Vec<Effect> {
        let Change { needs_reload, suits_running, has_room } = change;
        match self.state {
            State::Stopping => vec![],
            State::Loading if needs_reload => vec![Effect::CancelLoad, self.load()],
            State::Loading => vec![Effect::ApplyParams],
            State::Running { load, since, beside: Some(_) } if suits_running => {
                self.state = State::Running { load, since, beside: None };
                vec![Effect::EndBeside, Effect::ApplyParams]
            }
            State::Running { .. } if !needs_reload => vec![Effect::ApplyParams],
            State::Running { load, since, .. } if has_room => {
                let beside = self.next_id();
                self.state = State::Running { load, since, beside: Some(beside) };
                vec![Effect::LoadBeside(beside)]
            }
            State::Running { beside, .. } => {
                let end = beside.map(|_| Effect::EndBeside);
                end.into_iter().chain([self.load()]).collect()
            }
            // The next try takes the params as they are then.
            State::Waiting { .. } if !needs_reload => vec![],
            State::Waiting { .. } | State::Refused => vec![self.load()],
        }
    }

    fn load(&mut self) -> Effect {
        self.failures = 0;
        Effect::Load(self.next_load())
    }

    fn next_load(&mut self) -> LoadId {
        self.state = State::Loading;
        self.next_id()
    }

    fn next_id(&mut self) -> LoadId {
        self.last_load.0 += 1;
        self.last_load
    }

    fn wait(&mut self, now: Instant) {
        self.state = State::Waiting { until: now + self.backoff.pause(self.failures) };
        self.failures = self.failures.saturating_add(1);
    }

    /// What viewers see; none before the first published frame.
    fn shown(&self) -> Option<Effect> {
        match (self.state, self.input) {
            (State::Stopping, _) | (_, Input::NoneYet) => None,
            (State::Running { .. }, Input::Flowing) => Some(Effect::ShowPipeline),
            _ => Some(Effect::ShowFallback),
        }
    }
}

#[cfg(test)]
mod tests;
