//! What the pipeline's thread waits on: orders, then params, then frames. Of each kind the newest wins.

use crate::figures::{DropCause, Figures};
use crate::secret::Secret;
use host_ports::{ClaimRef, Formats, Frame};
use host_stream::LoadId;
use serde_json::{Map, Value};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Params as the plugin gets them.
pub type Params = Secret<Map<String, Value>>;

/// Room for one of each.
pub struct Inbox {
    state: Mutex<State>,
    changed: Condvar,
    figures: Arc<Figures>,
}

struct State {
    order: Option<Order>,
    params: Option<Params>,
    frame: Option<Frame>,
    /// Frames captured from then on are taken; none while no pipeline is loaded.
    open_since: Option<Instant>,
}

pub enum Order {
    /// Drop the pipeline, open and load another.
    Load(LoadOrder),
    /// Load the same pipeline again.
    Restart(LoadOrder),
    /// Drop the pipeline and end.
    Stop,
}

pub struct LoadOrder {
    pub load: LoadId,
    pub claim: ClaimRef,
    pub formats: Formats,
    pub params: Params,
}

/// What to do next.
pub enum Job {
    Order(Order),
    Update(Params),
    Process(Frame),
}

impl Inbox {
    pub fn new(figures: Arc<Figures>) -> Self {
        let state = State { order: None, params: None, frame: None, open_since: None };
        Self { state: Mutex::new(state), changed: Condvar::new(), figures }
    }

    /// Waits for the next thing to do.
    pub fn next(&self) -> Job {
        let mut state = self.state();
        loop {
            if let Some(order) = state.order.take() {
                return Job::Order(order);
            }
            let is_loaded = state.open_since.is_some();
            if let Some(params) = state.params.take_if(|_| is_loaded) {
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
        if !matches!(state.order, Some(Order::Stop)) {
            state.order = Some(order);
        }
        // The order brings newer ones.
        state.params = None;
        self.shut(&mut state);
        drop(state);
        self.changed.notify_one();
    }

    /// Params for the pipeline that is loaded or being loaded.
    pub fn put_params(&self, params: Params) {
        self.state().params = Some(params);
        self.changed.notify_one();
    }

    /// Takes a frame for the pipeline, or gives it back.
    pub fn put_frame(&self, frame: Frame) -> Result<(), Frame> {
        let mut state = self.state();
        if state.open_since.is_none_or(|since| frame.stamp.captured_at < since) {
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

    /// Takes frames captured from `since` on, unless an order waits: then false.
    pub fn open(&self, since: Instant) -> bool {
        let mut state = self.state();
        if state.order.is_none() {
            state.open_since = Some(since);
        }
        state.order.is_none()
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
        state.open_since = None;
        if state.frame.take().is_some() {
            self.figures.count_dropped(DropCause::Displaced);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Values are moved in and out in one step: a panic elsewhere leaves nothing half done here.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
