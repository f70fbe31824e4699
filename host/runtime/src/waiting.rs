//! Requests that wait for the first frame made with their params, and telling them.

use crate::Applied;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

#[derive(Default)]
pub struct Waiting {
    waiters: Mutex<Vec<Waiter>>,
}

struct Waiter {
    revision: u64,
    tell: oneshot::Sender<Applied>,
}

impl Waiting {
    /// Is told of the first frame made with the params of `revision`, or with newer ones.
    pub fn join(&self, revision: u64) -> oneshot::Receiver<Applied> {
        let (tell, told) = oneshot::channel();
        let mut waiters = self.waiters();
        // Those that lost patience: so there are never more than requests under way.
        waiters.retain(|waiter| !waiter.tell.is_closed());
        waiters.push(Waiter { revision, tell });
        told
    }

    /// A frame was made with the params of `revision`. Called at every frame.
    pub fn note_frame(&self, revision: u64, frame: u64) {
        self.tell(revision, || Applied::AtFrame(frame));
    }

    /// What was asked up to `revision` will not be seen soon.
    pub fn give_up(&self, revision: u64, reason: &str) {
        self.tell(revision, || Applied::NotYet { reason: reason.to_owned() });
    }

    fn tell(&self, revision: u64, news: impl Fn() -> Applied) {
        for waiter in self.waiters().extract_if(.., |waiter| waiter.revision <= revision) {
            // Who waited may have gone.
            let _ = waiter.tell.send(news());
        }
    }

    fn waiters(&self) -> MutexGuard<'_, Vec<Waiter>> {
        // Waiters are put in and taken out whole: a panic elsewhere leaves none half done.
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
