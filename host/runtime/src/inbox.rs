//! What the pipeline's thread waits on: orders, then params, then frames. Of each kind the newest wins.

use crate::beside::Loaded;
use crate::figures::{DropCause, Figures};
use crate::secret::Secret;
use host_ports::{ClaimRef, Formats, Frame};
use host_stream::LoadId;
use serde_json::{Map, Value};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Params for a plugin.
pub struct Params {
    /// The higher, the newer.
    pub edition: u64,
    pub values: Secret<Map<String, Value>>,
}

/// Room for one of each, and for params of a pipeline that is still being loaded beside the present one.
pub struct Inbox {
    state: Mutex<State>,
    changed: Condvar,
    figures: Arc<Figures>,
}

struct State {
    order: Option<Order>,
    /// The newest of each load.
    params: Vec<(LoadId, Params)>,
    frame: Option<Frame>,
    /// None while no pipeline is loaded.
    open: Option<Opening>,
    /// Pipelines that are not wanted any more; they are dropped on the pipeline's thread.
    replaced: Vec<Loaded>,
    /// The order to stop was carried out.
    is_over: bool,
}

/// Which pipeline takes frames.
#[derive(Clone, Copy)]
struct Opening {
    load: LoadId,
    /// Frames captured from then on are taken.
    since: Instant,
}

pub enum Order {
    /// Drop the pipeline, open and load another.
    Load(LoadOrder),
    /// Load the same pipeline again.
    Restart(LoadOrder),
    /// Go on with another pipeline that is loaded already.
    ChangeOver(Loaded),
    /// Drop the pipeline; the order to load another comes once its models are here.
    Unload,
    /// Drop the pipeline and end.
    Stop,
}

pub struct LoadOrder {
    pub load: LoadId,
    pub claim: ClaimRef,
    pub formats: Formats,
    pub params: Params,
    /// Frames between an input and its output.
    pub latency_frames: u32,
}

/// What to do next.
pub enum Job {
    Order(Order),
    Discard(Vec<Loaded>),
    Update(Params),
    Process(Frame),
}

impl Inbox {
    pub fn new(figures: Arc<Figures>) -> Self {
        let state = State {
            order: None,
            params: Vec::new(),
            frame: None,
            open: None,
            replaced: Vec::new(),
            is_over: false,
        };
        Self { state: Mutex::new(state), changed: Condvar::new(), figures }
    }

    /// Waits for the next thing to do.
    pub fn next(&self) -> Job {
        let mut state = self.state();
        loop {
            if !state.replaced.is_empty() {
                return Job::Discard(std::mem::take(&mut state.replaced));
            }
            if let Some(order) = state.order.take() {
                state.is_over |= matches!(order, Order::Stop);
                return Job::Order(order);
            }
            if let Some(params) = state.take_params() {
                return Job::Update(params);
            }
            if let Some(frame) = state.frame.take() {
                return Job::Process(frame);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Replaces an order that was not begun yet, but never the one to stop. No frame is taken until it is carried out.
    pub fn order(&self, order: Order) {
        let mut state = self.state();
        // The order brings newer ones.
        state.params.clear();
        self.shut(&mut state);
        state.replace(order);
        drop(state);
        self.changed.notify_one();
    }

    /// Orders a change to another pipeline, unless something else is wanted already. Frames are taken meanwhile.
    pub fn change_over(&self, to: Loaded) {
        let mut state = self.state();
        match state.order {
            // Nobody would take it out again.
            _ if state.is_over => return,
            None => state.order = Some(Order::ChangeOver(to)),
            Some(_) => state.replaced.push(to),
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Params for the pipeline of a load, done or under way.
    pub fn put_params(&self, load: LoadId, params: Params) {
        let mut state = self.state();
        state.put_params(load, params);
        drop(state);
        self.changed.notify_one();
    }

    /// Takes a frame for the pipeline, or gives it back.
    pub fn put_frame(&self, frame: Frame) -> Result<(), Frame> {
        let mut state = self.state();
        if state.open.is_none_or(|open| frame.stamp.captured_at < open.since) {
            return Err(frame);
        }
        let displaced = state.frame.replace(frame);
        drop(state);
        self.changed.notify_one();
        if displaced.is_some() {
            self.figures.count_dropped(DropCause::Displaced);
        }
        Ok(())
    }

    /// Takes frames captured from `since` on for the pipeline of `load`, unless an order waits: then false.
    pub fn open(&self, load: LoadId, since: Instant) -> bool {
        let mut state = self.state();
        if state.order.is_some() {
            return false;
        }
        let displaced = state.frame.take_if(|frame| frame.stamp.captured_at < since);
        state.open = Some(Opening { load, since });
        drop(state);
        if displaced.is_some() {
            self.figures.count_dropped(DropCause::Displaced);
        }
        true
    }

    /// Takes no more frames.
    pub fn close(&self) {
        self.shut(&mut self.state());
    }

    /// Whether something else is wanted than what is under way.
    pub fn has_order(&self) -> bool {
        self.state().order.is_some()
    }

    fn shut(&self, state: &mut State) {
        state.open = None;
        if state.frame.take().is_some() {
            self.figures.count_dropped(DropCause::Displaced);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Values are moved in and out in one step: a panic elsewhere leaves nothing half done here.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn replace(&mut self, order: Order) {
        let (wins, loses) = match self.order.take() {
            Some(Order::Stop) => (Order::Stop, Some(order)),
            older => (order, older),
        };
        self.order = Some(wins);
        if let Some(Order::ChangeOver(to)) = loses {
            self.replaced.push(to);
        }
    }

    /// Kept for the present pipeline and for the newest load.
    fn put_params(&mut self, load: LoadId, params: Params) {
        self.params.retain(|(other, _)| *other != load);
        self.params.push((load, params));
        let present = self.open.map(|open| open.load);
        let newest = self.params.iter().map(|(load, _)| *load).max();
        self.params.retain(|(load, _)| Some(*load) == newest || Some(*load) == present);
    }

    /// For the pipeline that takes frames. Those of pipelines before it are nobody's any more.
    fn take_params(&mut self) -> Option<Params> {
        let present = self.open?.load;
        self.params.retain(|(load, _)| *load >= present);
        let place = self.params.iter().position(|(load, _)| *load == present)?;
        Some(self.params.remove(place).1)
    }
}
