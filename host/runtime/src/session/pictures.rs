//! The pictures that params point to: fetched beside the stream, which goes on meanwhile. The pipeline is told when one is
//! here, as of any hot param; until then, and where it cannot be had, it keeps the one before or has none.

use super::agreed::Agreed;
use super::{NO_INPUT, Session, tell};
use crate::agreement::Agreement;
use crate::changed::Applied;
use crate::{PictureReport, PictureState};
use host_ports::{Picture, PictureError, PictureStore};
use host_stream::{Change, Event};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::oneshot;
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tracing::{info, warn};

/// Of one stream.
pub struct Pictures {
    store: Option<Arc<dyn PictureStore>>,
    /// By JSON pointer into params.
    places: BTreeMap<String, Place>,
    /// The newest of each place; those before it are given up.
    fetches: JoinSet<Result<Picture, PictureError>>,
    waiters: Vec<Waiter>,
}

/// A param that names a picture.
struct Place {
    /// What the pipeline has.
    picture: Option<Picture>,
    state: State,
}

enum State {
    Fetching(AbortHandle),
    Here,
    Failed(String),
}

/// Who is told of the first frame made with some pictures.
struct Waiter {
    /// Those that are not here yet.
    fetches: Vec<Id>,
    tell: oneshot::Sender<Applied>,
}

/// A fetch that has ended.
pub struct Fetched {
    id: Id,
    result: Result<Picture, PictureError>,
}

/// What a change wants.
struct Wish<'w> {
    before: &'w Agreement,
    after: &'w Agreement,
    /// Params that a client named, even with the same value.
    named: Vec<&'w str>,
    /// What the same source gave before will do.
    recall: bool,
}

impl Pictures {
    pub fn new(store: Option<Arc<dyn PictureStore>>) -> Self {
        Self { store, places: BTreeMap::new(), fetches: JoinSet::new(), waiters: Vec::new() }
    }

    pub fn is_under_way(&self) -> bool {
        !self.fetches.is_empty()
    }

    /// The picture that a param's pipeline is to have.
    pub fn path(&self, pointer: &str) -> Option<String> {
        Some(self.places.get(pointer)?.picture.as_ref()?.path().to_owned())
    }

    pub fn reports(&self) -> Vec<PictureReport> {
        let report = |(pointer, place): (&String, &Place)| PictureReport {
            field: field(pointer),
            state: match &place.state {
                State::Fetching(_) => PictureState::Fetching,
                State::Here => PictureState::Ready,
                State::Failed(reason) => PictureState::Failed { reason: reason.clone() },
            },
        };
        self.places.iter().map(report).collect()
    }

    /// Of those that could not be had.
    pub fn warnings(&self) -> Vec<String> {
        let failed = self.places.iter().filter_map(|(pointer, place)| match &place.state {
            State::Failed(reason) => Some(complaint(pointer, reason, place.picture.is_some())),
            State::Fetching(_) | State::Here => None,
        });
        failed.collect()
    }

    pub async fn outcome(&mut self) -> Fetched {
        loop {
            match self.fetches.join_next_with_id().await {
                Some(Ok((id, result))) => return Fetched { id, result },
                Some(Err(error)) if error.is_cancelled() => {}
                Some(Err(error)) => return failed(&error),
                None => return std::future::pending().await,
            }
        }
    }

    /// Begins the fetches that a change needs, and ends those that it makes needless.
    fn want(&mut self, wish: &Wish<'_>) -> Vec<Id> {
        let Wish { before, after, .. } = wish;
        let is_wanted =
            |pointer: &str| after.schema.picture_source(&after.params, pointer).is_some();
        let needless: Vec<_> =
            self.places.keys().filter(|pointer| !is_wanted(pointer)).cloned().collect();
        for pointer in needless {
            self.give_up(&pointer);
            self.places.remove(&pointer);
        }
        let mut begun = Vec::new();
        for pointer in after.schema.pictures() {
            let Some(source) = after.schema.picture_source(&after.params, pointer) else {
                continue;
            };
            let is_same = before.schema.picture_source(&before.params, pointer) == Some(source);
            if !is_same || self.is_due(pointer, wish) {
                begun.push(self.begin(pointer, source.into(), wish.recall));
            }
        }
        begun
    }

    /// Whether a picture is to be fetched though its source is the same as before.
    fn is_due(&self, pointer: &str, wish: &Wish<'_>) -> bool {
        match self.places.get(pointer) {
            None => true,
            Some(Place { state: State::Failed(_), .. }) => {
                let name = pointer.split('/').nth(1);
                name.is_some_and(|name| wish.named.contains(&name))
            }
            Some(_) => false,
        }
    }

    fn begin(&mut self, pointer: &str, source: Arc<str>, recall: bool) -> Id {
        self.give_up(pointer);
        let fetch = self.store.as_ref().map(|store| store.fetch(source, recall));
        let fetch = self.fetches.spawn(async move {
            match fetch {
                Some(fetch) => fetch.await,
                None => Err(PictureError { message: "this server fetches no pictures".to_owned() }),
            }
        });
        let id = fetch.id();
        let state = State::Fetching(fetch);
        match self.places.get_mut(pointer) {
            Some(place) => place.state = state,
            None => {
                self.places.insert(pointer.to_owned(), Place { picture: None, state });
            }
        }
        id
    }

    /// Ends a fetch that is under way, and tells who waits for it.
    fn give_up(&mut self, pointer: &str) {
        let Some(Place { state: State::Fetching(fetch), .. }) = self.places.get(pointer) else {
            return;
        };
        fetch.abort();
        let id = fetch.id();
        self.disappoint(
            |waiter| waiter.fetches.contains(&id),
            "a newer change names another picture",
        );
    }

    /// Takes in what a fetch gave; none where nobody wants it any more.
    fn settle(&mut self, fetched: Fetched) -> Option<(String, Result<(), String>)> {
        let Fetched { id, result } = fetched;
        let is_it =
            |place: &Place| matches!(&place.state, State::Fetching(fetch) if fetch.id() == id);
        let (pointer, place) = self.places.iter_mut().find(|(_, place)| is_it(place))?;
        let pointer = pointer.clone();
        match result {
            Ok(picture) => {
                *place = Place { picture: Some(picture), state: State::Here };
                Some((pointer, Ok(())))
            }
            Err(error) => {
                let told = complaint(&pointer, &error.message, place.picture.is_some());
                place.state = State::Failed(error.message);
                self.disappoint(|waiter| waiter.fetches.contains(&id), &told);
                Some((pointer, Err(told)))
            }
        }
    }

    /// Those who wait for nothing else than this one.
    fn release(&mut self, id: Id) -> Vec<oneshot::Sender<Applied>> {
        self.waiters.iter_mut().for_each(|waiter| waiter.fetches.retain(|other| *other != id));
        let ready = self.waiters.extract_if(.., |waiter| waiter.fetches.is_empty());
        ready.map(|waiter| waiter.tell).collect()
    }

    /// Is told of the first frame that was made with what these fetches give.
    fn join(&mut self, fetches: Vec<Id>) -> oneshot::Receiver<Applied> {
        let (tell, told) = oneshot::channel();
        // Those that lost patience: so there are never more than requests under way.
        self.waiters.retain(|waiter| !waiter.tell.is_closed());
        self.waiters.push(Waiter { fetches, tell });
        told
    }

    fn disappoint(&mut self, is_it: impl Fn(&Waiter) -> bool, reason: &str) {
        for waiter in self.waiters.extract_if(.., |waiter| is_it(waiter)) {
            // Who waited may have gone.
            let _ = waiter.tell.send(Applied::NotYet { reason: reason.to_owned() });
        }
    }
}

impl Session {
    /// Begins what the agreement needs that a session starts with.
    pub fn want_first_pictures(&mut self, recall: bool) {
        let wish =
            Wish { before: &self.agreement, after: &self.agreement, named: Vec::new(), recall };
        self.pictures.want(&wish);
        self.show_pictures();
    }

    /// Begins what a change needs, before it is taken up.
    pub fn want_pictures(&mut self, agreed: &Agreed) -> Vec<Id> {
        let named = agreed.fields.iter().map(|field| field.name.as_str()).collect();
        let recall = agreed.is_taken_back || self.agreement.is_provisional;
        let wish = Wish { before: &self.agreement, after: &agreed.agreement, named, recall };
        let begun = self.pictures.want(&wish);
        self.show_pictures();
        begun
    }

    pub fn wait_for_pictures(&mut self, fetches: Vec<Id>) -> oneshot::Receiver<Applied> {
        let applied = self.pictures.join(fetches);
        if !self.wiring.shared.ingress.is_flowing() {
            self.stop_waiting_for_pictures();
        }
        applied
    }

    pub fn stop_waiting_for_pictures(&mut self) {
        self.pictures.disappoint(|_| true, NO_INPUT);
    }

    pub fn take_picture(&mut self, fetched: Fetched) {
        let id = fetched.id;
        let Some((pointer, result)) = self.pictures.settle(fetched) else { return };
        self.show_pictures();
        match result {
            Ok(()) => {
                let field = field(&pointer);
                info!(field, "picture fetched");
                self.wiring.shared.chronicle.picture_fetched(&field);
                self.edition += 1;
                for waiter in self.pictures.release(id) {
                    self.wiring.shared.waiting.join_with(self.edition, waiter);
                }
                self.on(Event::ParamsChanged(Change::default()));
            }
            Err(complaint) => {
                warn!("{complaint}");
                self.wiring.shared.chronicle.picture_failed(&complaint);
            }
        }
        let told = tell(&self.record, &self.agreement, &self.lifecycle, &self.pictures);
        self.told.send_replace(told);
    }

    fn show_pictures(&self) {
        self.wiring.shared.health.set_pictures(self.pictures.reports());
    }
}

fn failed(error: &JoinError) -> Fetched {
    warn!(%error, "fetching a picture failed");
    let message = "the host failed at fetching it".to_owned();
    Fetched { id: error.id(), result: Err(PictureError { message }) }
}

fn complaint(pointer: &str, reason: &str, has_other: bool) -> String {
    let rest = if has_other { "the one before stays" } else { "there is none" };
    format!("the picture of `{}` was not fetched, {rest}: {reason}", field(pointer))
}

/// As clients know it.
fn field(pointer: &str) -> String {
    pointer.trim_start_matches('/').replace('/', ".").replace("~1", "/").replace("~0", "~")
}
