//! Decides, frame by frame, what viewers see: the pipeline's frames or the stream's fallback.
//!
//! Called on the threads that move frames, so that none waits for the session. The session says which of the two is
//! to be seen; until it has spoken, whatever comes is shown.

use crate::Fallback;
use crate::plain::PlainSlot;
use host_ports::{Frame, FrameSize, FrameStamp, MediaPath};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Instant;

pub struct Screen {
    /// Set once, right after both are made. Weak, for the path owns the ingress, which owns this.
    path: OnceLock<Weak<dyn MediaPath>>,
    state: Mutex<State>,
}

struct State {
    picture: Picture,
    fallback: Fallback,
    /// Of the pipeline's frames, and so of a black one.
    size: FrameSize,
    has_shown: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Picture {
    Undecided,
    Pipeline,
    Fallback,
}

impl Screen {
    pub fn new(fallback: Fallback, size: FrameSize) -> Self {
        let state = State { picture: Picture::Undecided, fallback, size, has_shown: false };
        Self { path: OnceLock::new(), state: Mutex::new(state) }
    }

    pub fn connect(&self, path: Weak<dyn MediaPath>) {
        // The first connection stays; there is only one.
        let _ = self.path.set(path);
    }

    /// A frame that the pipeline made.
    pub fn show_output(&self, frame: Frame) {
        let mut state = self.state();
        if state.picture != Picture::Fallback {
            self.show(&mut state, frame);
        }
    }

    /// A publisher's frame that the pipeline could not take.
    pub fn show_input(&self, frame: Frame) {
        let mut state = self.state();
        match (state.picture, state.fallback) {
            (Picture::Pipeline, _) => {}
            (_, Fallback::Input) => self.show(&mut state, frame),
            (_, Fallback::LastFrame | Fallback::Black) if !state.has_shown => {
                self.show_black(&mut state);
            }
            (_, Fallback::LastFrame | Fallback::Black) => {}
        }
    }

    /// A publisher's frame at which the pipeline failed, though it goes on.
    pub fn show_instead(&self, frame: Frame) {
        let mut state = self.state();
        if state.fallback == Fallback::Input {
            self.show(&mut state, frame);
        }
    }

    /// A publisher is there again: what comes of its frames may be shown.
    pub fn expect_frames(&self) {
        self.state().picture = Picture::Undecided;
    }

    pub fn select_pipeline(&self) {
        self.state().picture = Picture::Pipeline;
    }

    /// Once the first frame was published.
    pub fn select_fallback(&self) {
        let mut state = self.state();
        state.picture = Picture::Fallback;
        let has_nothing = state.fallback == Fallback::LastFrame && !state.has_shown;
        if state.fallback == Fallback::Black || has_nothing {
            self.show_black(&mut state);
        }
    }

    pub fn set_fallback(&self, fallback: Fallback) {
        let mut state = self.state();
        state.fallback = fallback;
        let is_seen = state.picture != Picture::Pipeline && state.has_shown;
        if is_seen && fallback == Fallback::Black {
            self.show_black(&mut state);
        }
    }

    /// Whether viewers have something to see.
    pub fn has_shown(&self) -> bool {
        self.state().has_shown
    }

    pub fn set_size(&self, size: FrameSize) {
        self.state().size = size;
    }

    fn show_black(&self, state: &mut State) {
        let stamp = FrameStamp { id: 0, captured_at: Instant::now() };
        let frame = Frame::new(stamp, Box::new(PlainSlot::black(state.size)));
        self.show(state, frame);
    }

    /// Under the lock, so that no frame decided on earlier is shown later; showing does not wait.
    fn show(&self, state: &mut State, frame: Frame) {
        if let Some(path) = self.path.get().and_then(Weak::upgrade) {
            path.show(frame);
            state.has_shown = true;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The fields are independent of each other: a panic leaves none wrong.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
