//! Requests that wait for the first frame made with their params, and telling them.

use crate::Applied;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

#[derive(Default)]
pub struct Waiting {
    waiters: Mutex<Vec<Waiter>>,
}

struct Waiter {
    edition: u64,
    tell: oneshot::Sender<Applied>,
}

impl Waiting {
    /// Is told of the first frame made with the params of `edition`, or with newer ones.
    pub fn join(&self, edition: u64) -> oneshot::Receiver<Applied> {
        let (tell, told) = oneshot::channel();
        self.join_with(edition, tell);
        told
    }

    /// The same for who waited for something else before.
    pub fn join_with(&self, edition: u64, tell: oneshot::Sender<Applied>) {
        let mut waiters = self.waiters();
        // Those that lost patience: so there are never more than requests under way.
        waiters.retain(|waiter| !waiter.tell.is_closed());
        waiters.push(Waiter { edition, tell });
    }

    /// A frame was made with the params of `edition`. Called at every frame.
    pub fn note_frame(&self, edition: u64, frame: u64) {
        self.tell(edition, || Applied::AtFrame(frame));
    }

    /// What was asked up to `edition` will not be seen soon.
    pub fn give_up(&self, edition: u64, reason: &str) {
        self.tell(edition, || Applied::NotYet { reason: reason.to_owned() });
    }

    fn tell(&self, edition: u64, news: impl Fn() -> Applied) {
        for waiter in self.waiters().extract_if(.., |waiter| waiter.edition <= edition) {
            // Who waited may have gone.
            let _ = waiter.tell.send(news());
        }
    }

    fn waiters(&self) -> MutexGuard<'_, Vec<Waiter>> {
        // Waiters are put in and taken out whole: a panic elsewhere leaves none half done.
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
