//! One stream's task: takes changes and news, moves the lifecycle, performs what it says.
//!
//! Frames do not pass here. While a plugin thinks about a change, the session goes on; further changes wait.

mod wiring;

pub use wiring::{Handle, Parts, spawn};

use crate::agreement::{Agreement, Amended, Desk};
use crate::changed::{self, Applied, Changed, Forecast};
use crate::inbox::{LoadOrder, Order, Params};
use crate::ingress::Presence;
use crate::secret::Secret;
use crate::{ChangeError, Mode, StreamChange, StreamView};
use host_ports::{FieldError, StoredStream};
use host_stream::{Change, Changes, Effect, Event, Lifecycle, LoadId, Phase};
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

#[derive(Clone)]
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
    /// The newest load, under way or done.
    latest: LoadId,
    /// What runs while another pipeline loads beside it.
    running: Option<Running>,
    /// Params that a failed load beside leaves in place, until they are stored again.
    take_back: Option<Agreement>,
    pending: Option<Pending>,
    /// A change that was agreed on against params that are taken back.
    again: Option<Request>,
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
    /// None for what the session does by itself.
    request: Option<Request>,
}

struct Agreed {
    record: StoredStream,
    agreement: Agreement,
    changes: Changes,
    fields: Vec<changed::FieldChange>,
    mode: Mode,
    has_room: bool,
    /// What a pipeline that runs beside its successor's loading shall have meanwhile.
    running: Option<Agreement>,
    suits_running: bool,
}

struct Running {
    load: LoadId,
    agreement: Agreement,
    /// Of the last params that were as a whole for it.
    revision: u64,
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
            if self.pending.is_none() {
                self.begin_waiting();
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
        if event == Event::Loaded(self.latest) {
            self.running = None;
        }
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
                    self.running = None;
                    let order = Order::Load(self.load_order(load));
                    self.wiring.shared.inbox.order(order);
                }
                Effect::Restart(load) => {
                    self.wiring.shared.health.note_restart();
                    let order = Order::Restart(self.load_order(load));
                    self.wiring.shared.inbox.order(order);
                }
                Effect::LoadBeside(load) => self.load_beside(load),
                Effect::EndBeside => {
                    self.wiring.beside.give_up();
                    self.leave_beside();
                }
                Effect::TakeBack => self.take_back = self.leave_beside(),
                Effect::ApplyParams => self.apply_params(),
                Effect::Stop => self.wiring.stop(),
            }
        }
    }

    fn load_order(&mut self, load: LoadId) -> LoadOrder {
        self.latest = load;
        LoadOrder {
            load,
            claim: self.agreement.claim.id.clone(),
            formats: self.agreement.formats,
            params: self.params(),
            latency_frames: self.agreement.latency_frames,
        }
    }

    fn load_beside(&mut self, load: LoadId) {
        let order = self.load_order(load);
        if let Err(error) = self.wiring.load_beside(order) {
            let message = format!("no thread could be started: {error}");
            self.wiring.shared.health.note_error(message);
            self.on(Event::LoadFailed(load));
        }
    }

    /// What runs is the newest load again.
    fn leave_beside(&mut self) -> Option<Agreement> {
        let Running { load, agreement, .. } = self.running.take()?;
        self.latest = load;
        Some(agreement)
    }

    fn apply_params(&self) {
        let inbox = &self.wiring.shared.inbox;
        if let Some(Running { load, agreement, revision }) = &self.running {
            let values = Secret::new(agreement.for_plugin());
            inbox.put_params(*load, Params { revision: *revision, values });
        }
        inbox.put_params(self.latest, self.params());
    }

    fn params(&self) -> Params {
        let values = Secret::new(self.agreement.for_plugin());
        Params { revision: self.told_revision, values }
    }

    /// What could not be begun while something else was being agreed on.
    fn begin_waiting(&mut self) {
        if let Some(agreement) = self.take_back.take() {
            self.begin_taking_back(agreement);
        } else if let Some(request) = self.again.take() {
            self.begin(request);
        }
    }

    /// Goes back to the params that the pipeline runs with, since no pipeline could be loaded for the newer ones.
    fn begin_taking_back(&mut self, mut agreement: Agreement) {
        let changes = agreement.schema.changes(&self.agreement.params, &agreement.params);
        let reason = self.wiring.shared.health.snapshot().last_error;
        let reason = reason.map_or_else(String::new, |error| format!(": {}", error.message));
        agreement.request_warnings = vec![format!(
            "the change of {} was taken back, as no pipeline could be loaded for it{reason}",
            changes.reload.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "),
        )];
        let expected = self.record.revision;
        let params = agreement.params.clone();
        let record = StoredStream { params, revision: expected + 1, ..self.record.clone() };
        let desk = self.desk.clone();
        let stored = async move {
            let stored = record.clone();
            desk.with_store(move |store| store.update(expected, stored)).await?;
            let taken_back = Agreed::of(record, agreement, Changes::default());
            Ok(Box::new(Agreed { suits_running: true, ..taken_back }))
        };
        let agreed = tokio::spawn(stored.in_current_span());
        self.pending = Some(Pending { agreed, request: None });
    }

    /// Starts agreeing on a change. The session alone changes params, and one change at a time: what is agreed on now
    /// still holds when it is agreed.
    fn begin(&mut self, request: Request) {
        let (desk, record, agreement) =
            (self.desk.clone(), self.record.clone(), self.agreement.clone());
        let running = self.running.as_ref().map(|running| running.agreement.clone());
        let ask = request.ask.clone();
        let agreed = async {
            match ask {
                Ask::Change(change) => agree(desk, record, agreement, running, change).await,
                Ask::Forget { revisions } => forget(desk, record, agreement, &revisions).await,
            }
        };
        let agreed = tokio::spawn(agreed.in_current_span());
        self.pending = Some(Pending { agreed, request: Some(request) });
    }

    fn finish(&mut self, agreed: Result<Box<Agreed>, ChangeError>) {
        let Some(Pending { request, .. }) = self.pending.take() else { return };
        let Some(request) = request else {
            return match agreed {
                Ok(agreed) => drop(self.conclude(*agreed)),
                Err(error) => warn!(%error, "params not taken back"),
            };
        };
        let answer = match agreed {
            // The params that it was agreed on against are taken back first.
            Ok(agreed) if self.take_back.is_some() && agreed.mode != Mode::Plan => {
                self.record = agreed.record;
                self.again = Some(request.for_any_revision());
                return;
            }
            Ok(agreed) => Ok(self.conclude(*agreed)),
            Err(error) => Err(error),
        };
        // Who asked may have gone; the change holds all the same.
        let _ = request.reply.send(answer);
    }

    fn conclude(&mut self, agreed: Agreed) -> Reply {
        let forecast = Forecast {
            needs_reload: !agreed.changes.reload.is_empty(),
            memory_bytes: agreed.agreement.memory_bytes,
        };
        let fields = agreed.fields.clone();
        let mut applied = None;
        let view = if agreed.mode == Mode::Plan {
            tell(&agreed.record, &agreed.agreement, &self.lifecycle).view
        } else {
            let told_before = self.told_revision;
            if agreed.reaches_the_pipeline() {
                self.told_revision = agreed.record.revision;
            }
            if matches!(agreed.mode, Mode::ApplyAndWait(_)) {
                applied = Some(self.wait());
            }
            self.apply(agreed, told_before);
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

    /// `told_before`: the revision of the params that the present pipeline has.
    fn apply(&mut self, agreed: Agreed, told_before: u64) {
        let needs_reload = !agreed.changes.reload.is_empty();
        let is_unwanted = needs_reload || agreed.suits_running;
        if self.running.is_some() && is_unwanted && !self.wiring.beside.give_up() {
            // It has taken over; the news of it is on its way.
            self.on(Event::Loaded(self.latest));
        }
        let reaches_the_pipeline = agreed.reaches_the_pipeline();
        let Agreed { record, agreement, changes, has_room, running, suits_running, .. } = agreed;
        let before = std::mem::replace(&mut self.agreement, agreement);
        match (&mut self.running, running) {
            (Some(running), Some(agreement)) => running.agreement = agreement,
            (None, _) if needs_reload && has_room => {
                let (load, revision) = (self.latest, told_before);
                self.running = Some(Running { load, agreement: before, revision });
            }
            _ => {}
        }
        self.record = record;
        self.wiring.shared.screen.set_fallback(self.agreement.fallback());
        self.wiring.shared.ingress.set_fit(self.agreement.fit());
        if !changes.is_empty() {
            self.wiring.shared.health.note_params_update();
        }
        if reaches_the_pipeline {
            self.on(Event::ParamsChanged(Change { needs_reload, suits_running, has_room }));
        }
        self.told.send_replace(tell(&self.record, &self.agreement, &self.lifecycle));
    }
}

async fn agree(
    desk: Desk,
    mut record: StoredStream,
    agreement: Agreement,
    running: Option<Agreement>,
    change: StreamChange,
) -> Result<Box<Agreed>, ChangeError> {
    if let Some(requested) = change.pipeline.filter(|requested| *requested != record.pipeline) {
        return Err(ChangeError::PipelineMismatch { requested, actual: record.pipeline });
    }
    expect_revision(&record, change.revisions.as_deref())?;
    let patch = with_items(change.params, change.items, &agreement.params)?;
    let Amended { agreement, changes, has_room } =
        desk.amend(&agreement, &patch, change.is_hot_only).await?;
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
    let mode = change.mode;
    let mut agreed = Agreed { fields, mode, has_room, ..Agreed::of(record, agreement, changes) };
    if let Some(running) = running {
        agreed.suits_running =
            !agreed.changes.reload.is_empty() && desk.suits(&running, &agreed.agreement).await;
        agreed.running = Some(match agreed.changes.reload.is_empty() {
            true => desk.follow(running, &agreed.agreement, &agreed.changes.hot).await,
            false => running,
        });
    }
    Ok(Box::new(agreed))
}

impl Request {
    /// The change that it asks for has counted the revision up once already.
    fn for_any_revision(mut self) -> Self {
        if let Ask::Change(change) = &mut self.ask {
            change.revisions = None;
        }
        self
    }
}

impl Agreed {
    fn of(record: StoredStream, agreement: Agreement, changes: Changes) -> Self {
        Self {
            record,
            agreement,
            changes,
            fields: Vec::new(),
            mode: Mode::Apply,
            has_room: true,
            running: None,
            suits_running: false,
        }
    }

    fn reaches_the_pipeline(&self) -> bool {
        self.suits_running || !(self.changes.reload.is_empty() && self.changes.hot.is_empty())
    }
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
    let forgotten = Agreed::of(record, agreement, Changes::default());
    Ok(Box::new(Agreed { mode: Mode::Plan, ..forgotten }))
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
