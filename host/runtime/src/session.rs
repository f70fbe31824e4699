//! One stream's task: takes changes and news, moves the lifecycle, performs what it says.
//!
//! Frames do not pass here. While a plugin thinks about a change, the session goes on; further changes wait.

mod wiring;

pub use wiring::{Handle, Parts, spawn};

use crate::agreement::{Agreement, Desk};
use crate::changed::{self, Applied, Changed, Forecast};
use crate::inbox::{LoadOrder, Order, Params};
use crate::ingress::Presence;
use crate::secret::Secret;
use crate::{ChangeError, Mode, StreamChange, StreamView};
use host_ports::{FieldError, StoredStream};
use host_stream::{Changes, Effect, Event, Lifecycle, LoadId, Phase};
use serde_json::{Map, Value};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::{Instrument, info, warn};
use wiring::Wiring;

/// What is asked of a session.
pub struct Request {
    pub ask: Ask,
    pub reply: oneshot::Sender<Result<Reply, ChangeError>>,
}

pub enum Ask {
    Change(StreamChange),
    /// Take the stream out of the store, if it is at one of these revisions. Ending it is left to who asked.
    Forget {
        revisions: Vec<u64>,
    },
}

pub struct Reply {
    pub changed: Changed,
    /// For a change that waits: where the first frame made with it will be told.
    pub applied: Option<oneshot::Receiver<Applied>>,
}

/// Why no frame is waited for.
const NO_INPUT: &str =
    "no publisher sends frames; the params are kept, and used from the first frame on";

/// What is told about a stream, and the plugin it runs on.
#[derive(Clone)]
pub struct Told {
    pub view: StreamView,
    pub plugin: String,
}

struct Session {
    record: StoredStream,
    agreement: Agreement,
    lifecycle: Lifecycle,
    desk: Desk,
    wiring: Wiring,
    told: watch::Sender<Told>,
    pending: Option<Pending>,
    /// How often frames had begun to come when last looked.
    beginnings: u64,
    /// Of the params that the pipeline was last told to take.
    told_revision: u64,
    stop_deadline: Duration,
}

/// What reaches the session.
struct Inputs {
    requests: mpsc::Receiver<Request>,
    reports: mpsc::Receiver<Event>,
    presence: watch::Receiver<Presence>,
    stop: watch::Receiver<bool>,
}

/// A change that is being agreed on.
struct Pending {
    agreed: JoinHandle<Result<Box<Agreed>, ChangeError>>,
    reply: oneshot::Sender<Result<Reply, ChangeError>>,
}

struct Agreed {
    record: StoredStream,
    agreement: Agreement,
    changes: Changes,
    fields: Vec<changed::FieldChange>,
    mode: Mode,
}

/// Whatever woke the session.
enum Input {
    Event(Event),
    Presence(Presence),
    Request(Request),
    Agreed(Result<Box<Agreed>, ChangeError>),
}

impl Session {
    async fn run(mut self, first: Vec<Effect>, mut inputs: Inputs) {
        info!(plugin = %self.agreement.claim.id.plugin, "stream created");
        self.perform(first);
        while self.lifecycle.phase() != Phase::Stopping {
            match self.next(&mut inputs).await {
                Input::Event(event) => self.on(event),
                Input::Presence(presence) => self.see(presence),
                Input::Request(request) => self.begin(request),
                Input::Agreed(agreed) => self.finish(agreed),
            }
        }
        // Their senders are told that the stream is gone.
        drop(inputs);
        if let Some(pending) = self.pending.take() {
            pending.agreed.abort();
        }
        self.wiring.tear_down(self.stop_deadline).await;
        info!("stream ended");
    }

    async fn next(&mut self, inputs: &mut Inputs) -> Input {
        let deadline = self.lifecycle.deadline();
        let is_idle = self.pending.is_none();
        tokio::select! {
            // It changes once. Were the runtime's handle gone, nobody could delete the stream any more.
            _ = inputs.stop.changed() => Input::Event(Event::Deleted),
            Some(event) = inputs.reports.recv() => Input::Event(event),
            Ok(()) = inputs.presence.changed() => {
                Input::Presence(*inputs.presence.borrow_and_update())
            }
            () = until(deadline), if deadline.is_some() => Input::Event(Event::DeadlineReached),
            agreed = outcome(&mut self.pending), if !is_idle => Input::Agreed(agreed),
            Some(request) = inputs.requests.recv(), if is_idle => Input::Request(request),
        }
    }

    fn on(&mut self, event: Event) {
        let before = self.lifecycle.phase();
        let effects = self.lifecycle.on(Instant::now().into_std(), event);
        self.perform(effects);
        let phase = self.lifecycle.phase();
        if phase != before {
            info!(?phase, "stream moved");
            self.told.send_modify(|told| told.view.phase = phase);
        }
    }

    fn see(&mut self, presence: Presence) {
        if presence.beginnings != self.beginnings {
            self.beginnings = presence.beginnings;
            self.on(Event::FrameArrived);
        }
        if !presence.is_flowing {
            self.wiring.shared.waiting.give_up(u64::MAX, NO_INPUT);
            self.on(Event::PublisherGone);
        }
    }

    fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::ShowPipeline => self.wiring.shared.screen.select_pipeline(),
                Effect::ShowFallback => self.wiring.shared.screen.select_fallback(),
                Effect::CancelLoad => self.wiring.shared.canceller.cancel(),
                Effect::Load(load) => {
                    self.wiring.shared.inbox.order(Order::Load(self.load_order(load)))
                }
                Effect::Restart(load) => {
                    self.wiring.shared.health.note_restart();
                    self.wiring.shared.inbox.order(Order::Restart(self.load_order(load)));
                }
                Effect::ApplyParams => {
                    self.wiring.shared.inbox.put_params(self.params());
                }
                Effect::Stop => self.wiring.stop(),
            }
        }
    }

    fn load_order(&self, load: LoadId) -> LoadOrder {
        LoadOrder {
            load,
            claim: self.agreement.claim.id.clone(),
            formats: self.agreement.formats,
            params: self.params(),
        }
    }

    fn params(&self) -> Params {
        let values = Secret::new(self.agreement.for_plugin());
        Params { revision: self.told_revision, values }
    }

    /// Starts agreeing on a change. The session alone changes params, and one change at a time: what is agreed on now
    /// still holds when it is agreed.
    fn begin(&mut self, request: Request) {
        let Request { ask, reply } = request;
        let (desk, record, agreement) =
            (self.desk.clone(), self.record.clone(), self.agreement.clone());
        let agreed = async {
            match ask {
                Ask::Change(change) => agree(desk, record, agreement, change).await,
                Ask::Forget { revisions } => forget(desk, record, agreement, &revisions).await,
            }
        };
        let agreed = tokio::spawn(agreed.in_current_span());
        self.pending = Some(Pending { agreed, reply });
    }

    fn finish(&mut self, agreed: Result<Box<Agreed>, ChangeError>) {
        let Some(pending) = self.pending.take() else { return };
        let answer = agreed.map(|agreed| self.conclude(*agreed));
        // Who asked may have gone; the change holds all the same.
        let _ = pending.reply.send(answer);
    }

    fn conclude(&mut self, agreed: Agreed) -> Reply {
        let Agreed { record, agreement, changes, fields, mode } = agreed;
        let forecast = Forecast {
            needs_reload: !changes.reload.is_empty(),
            memory_bytes: agreement.memory_bytes,
        };
        let mut applied = None;
        let view = if mode == Mode::Plan {
            tell(&record, &agreement, &self.lifecycle).view
        } else {
            if !(changes.reload.is_empty() && changes.hot.is_empty()) {
                self.told_revision = record.revision;
            }
            if matches!(mode, Mode::ApplyAndWait(_)) {
                applied = Some(self.wait());
            }
            self.apply(record, agreement, &changes);
            self.told.borrow().view.clone()
        };
        Reply { changed: Changed { view, fields, forecast, applied: None }, applied }
    }

    /// Before the pipeline is told: no frame can come in between unseen.
    fn wait(&self) -> oneshot::Receiver<Applied> {
        let waiting = &self.wiring.shared.waiting;
        let applied = waiting.join(self.told_revision);
        if !self.wiring.shared.ingress.is_flowing() {
            waiting.give_up(u64::MAX, NO_INPUT);
        }
        applied
    }

    fn apply(&mut self, record: StoredStream, agreement: Agreement, changes: &Changes) {
        self.record = record;
        self.agreement = agreement;
        self.wiring.shared.screen.set_fallback(self.agreement.fallback());
        self.wiring.shared.ingress.set_fit(self.agreement.fit());
        if !changes.is_empty() {
            self.wiring.shared.health.note_params_update();
        }
        let needs_reload = !changes.reload.is_empty();
        if needs_reload || !changes.hot.is_empty() {
            self.on(Event::ParamsChanged { needs_reload });
        }
        self.told.send_replace(tell(&self.record, &self.agreement, &self.lifecycle));
    }
}

async fn agree(
    desk: Desk,
    mut record: StoredStream,
    agreement: Agreement,
    change: StreamChange,
) -> Result<Box<Agreed>, ChangeError> {
    if let Some(requested) = change.pipeline.filter(|requested| *requested != record.pipeline) {
        return Err(ChangeError::PipelineMismatch { requested, actual: record.pipeline });
    }
    expect_revision(&record, change.revisions.as_deref())?;
    let patch = with_items(change.params, change.items, &agreement.params)?;
    let (agreement, changes) = desk.amend(&agreement, &patch, change.is_hot_only).await?;
    let expected = record.revision;
    let old = record.clone();
    if !changes.is_empty() {
        record.params = agreement.params.clone();
    }
    if let Some(url) = change.output_rtmp_url {
        record.output_rtmp_url = Some(url).filter(|url| !url.is_empty());
    }
    if change.mode != Mode::Plan && record != old {
        record.revision += 1;
        let record = record.clone();
        desk.with_store(move |store| store.update(expected, record)).await?;
    }
    let fields = changed::fields(&patch, &agreement, &changes);
    Ok(Box::new(Agreed { record, agreement, changes, fields, mode: change.mode }))
}

/// While it is under way no change is agreed on, and none after it, as the store no longer has the stream.
async fn forget(
    desk: Desk,
    record: StoredStream,
    agreement: Agreement,
    revisions: &[u64],
) -> Result<Box<Agreed>, ChangeError> {
    expect_revision(&record, Some(revisions))?;
    let id = record.id.clone();
    if !desk.with_store(move |store| store.delete(&id)).await? {
        return Err(ChangeError::not_found(&record.id));
    }
    let (changes, fields) = (Changes::default(), Vec::new());
    Ok(Box::new(Agreed { record, agreement, changes, fields, mode: Mode::Plan }))
}

fn expect_revision(record: &StoredStream, wanted: Option<&[u64]>) -> Result<(), ChangeError> {
    match wanted {
        Some(wanted) if !wanted.contains(&record.revision) => {
            Err(ChangeError::Stale { revision: record.revision, wanted: wanted.to_vec() })
        }
        _ => Ok(()),
    }
}

/// Changes single items of lists. Here, where no other change can come between, for a list is replaced as a whole.
fn with_items(
    mut patch: Map<String, Value>,
    items: Vec<(String, Value)>,
    current: &Map<String, Value>,
) -> Result<Map<String, Value>, ChangeError> {
    for (pointer, value) in items {
        let name = pointer.split('/').nth(1).unwrap_or_default();
        if patch.get(name).is_none_or(Value::is_null) {
            let list = current.get(name).cloned().unwrap_or_default();
            patch.insert(name.to_owned(), list);
        }
        let inside = pointer.get(name.len() + 1..).unwrap_or_default();
        match patch.get_mut(name).and_then(|list| list.pointer_mut(inside)) {
            Some(item) => *item = value,
            None => {
                let message = "there is no such item; they are counted from 0".to_owned();
                return Err(ChangeError::Params(vec![FieldError { pointer, message }]));
            }
        }
    }
    Ok(patch)
}

async fn until(deadline: Option<std::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

async fn outcome(pending: &mut Option<Pending>) -> Result<Box<Agreed>, ChangeError> {
    match pending {
        Some(pending) => match (&mut pending.agreed).await {
            Ok(agreed) => agreed,
            Err(error) => {
                warn!(%error, "agreeing on a change failed");
                Err(ChangeError::Internal("the change could not be checked".to_owned()))
            }
        },
        None => std::future::pending().await,
    }
}

fn tell(record: &StoredStream, agreement: &Agreement, lifecycle: &Lifecycle) -> Told {
    let mut warnings = agreement.warnings();
    if record.output_rtmp_url.is_some() {
        warnings.push("`output_rtmp_url` has no effect: this server does not restream".to_owned());
    }
    let view = StreamView {
        id: record.id.clone(),
        name: record.name.clone(),
        stream_key: record.stream_key.clone(),
        playback_id: record.playback_id.clone(),
        created_at: record.created_at.clone(),
        pipeline: record.pipeline.clone(),
        params: record.params.clone(),
        revision: record.revision,
        phase: lifecycle.phase(),
        output_rtmp_url: record.output_rtmp_url.clone(),
        warnings,
    };
    Told { view, plugin: agreement.claim.id.plugin.clone() }
}
