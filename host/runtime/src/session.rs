//! One stream's task: takes changes and news, moves the lifecycle, performs what it says.
//!
//! Frames do not pass here. While a plugin thinks about a change, the session goes on; further changes wait.

mod renewal;
mod wiring;

pub use wiring::{Handle, Parts, spawn};

use crate::agreement::{Agreement, Desk};
use crate::inbox::{LoadOrder, Order};
use crate::ingress::Presence;
use crate::secret::Secret;
use crate::{ChangeError, StreamChange, StreamView};
use host_ports::{FieldError, StoredStream};
use host_stream::{Changes, Effect, Event, Lifecycle, LoadId, Phase};
use renewal::{Renewal, Renewed};
use serde_json::{Map, Value};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::{Instrument, info, warn};
use wiring::Wiring;

/// A change on its way to the session.
pub struct Request {
    pub change: StreamChange,
    pub reply: oneshot::Sender<Result<StreamView, ChangeError>>,
}

/// What is told about a stream, and the plugin it runs on.
#[derive(Clone)]
pub struct Told {
    pub view: StreamView,
    pub plugin: Option<String>,
}

struct Session {
    record: StoredStream,
    agreement: Agreement,
    lifecycle: Lifecycle,
    desk: Desk,
    wiring: Wiring,
    told: watch::Sender<Told>,
    pending: Option<Pending>,
    renewal: Renewal,
    /// How often frames had begun to come when last looked.
    beginnings: u64,
    stop_deadline: Duration,
}

/// What reaches the session.
struct Inputs {
    requests: mpsc::Receiver<Request>,
    reports: mpsc::Receiver<Event>,
    presence: watch::Receiver<Presence>,
    stop: watch::Receiver<bool>,
    offers: watch::Receiver<()>,
}

/// A change that is being agreed on.
struct Pending {
    agreed: JoinHandle<Result<Box<Agreed>, ChangeError>>,
    reply: oneshot::Sender<Result<StreamView, ChangeError>>,
}

struct Agreed {
    record: StoredStream,
    agreement: Agreement,
    changes: Changes,
}

/// Whatever woke the session.
enum Input {
    Event(Event),
    Presence(Presence),
    Request(Request),
    Agreed(Result<Box<Agreed>, ChangeError>),
    OffersChanged,
    Renewed(Renewed),
}

impl Session {
    async fn run(mut self, first: Vec<Effect>, mut inputs: Inputs) {
        match self.agreement.is_provisional {
            true => info!("stream restored"),
            false => info!(plugin = %self.agreement.claim.id.plugin, "stream created"),
        }
        self.perform(first);
        while self.lifecycle.phase() != Phase::Stopping {
            match self.next(&mut inputs).await {
                Input::Event(event) => self.on(event),
                Input::Presence(presence) => self.see(presence),
                Input::Request(request) => self.begin(request),
                Input::Agreed(agreed) => self.finish(agreed),
                Input::OffersChanged => self.try_again(),
                Input::Renewed(renewed) => self.settle(renewed),
            }
        }
        // Their senders are told that the stream is gone.
        drop(inputs);
        if let Some(pending) = self.pending.take() {
            pending.agreed.abort();
        }
        self.renewal.abort();
        self.wiring.tear_down(self.stop_deadline).await;
        info!("stream ended");
    }

    async fn next(&mut self, inputs: &mut Inputs) -> Input {
        let deadline = self.lifecycle.deadline();
        let is_agreeing = self.pending.is_some();
        let is_renewing = self.renewal.is_under_way();
        tokio::select! {
            // It changes once. Were the runtime's handle gone, nobody could delete the stream any more.
            _ = inputs.stop.changed() => Input::Event(Event::Deleted),
            Some(event) = inputs.reports.recv() => Input::Event(event),
            Ok(()) = inputs.presence.changed() => {
                Input::Presence(*inputs.presence.borrow_and_update())
            }
            () = until(deadline), if deadline.is_some() => Input::Event(Event::DeadlineReached),
            agreed = outcome(&mut self.pending), if is_agreeing => Input::Agreed(agreed),
            renewed = self.renewal.outcome(), if is_renewing => Input::Renewed(renewed),
            Ok(()) = inputs.offers.changed() => Input::OffersChanged,
            Some(request) = inputs.requests.recv(), if !is_agreeing && !is_renewing => {
                Input::Request(request)
            }
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
            self.on(Event::PublisherGone);
        }
    }

    fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::ShowPipeline => self.wiring.shared.screen.select_pipeline(),
                Effect::ShowFallback => self.wiring.shared.screen.select_fallback(),
                Effect::CancelLoad => self.wiring.shared.canceller.cancel(),
                Effect::Load(load) | Effect::Restart(load) if self.agreement.is_provisional => {
                    self.renew(load);
                }
                Effect::Load(load) => {
                    self.wiring.shared.inbox.order(Order::Load(self.load_order(load)))
                }
                Effect::Restart(load) => {
                    self.wiring.shared.health.note_restart();
                    self.wiring.shared.inbox.order(Order::Restart(self.load_order(load)));
                }
                Effect::ApplyParams => {
                    self.wiring.shared.inbox.put_params(Secret::new(self.agreement.for_plugin()));
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
            params: Secret::new(self.agreement.for_plugin()),
        }
    }

    /// Starts agreeing on a change. The session alone changes params, and one change at a time: what is agreed on now
    /// still holds when it is agreed.
    fn begin(&mut self, request: Request) {
        let Request { change, reply } = request;
        let (desk, record, agreement) =
            (self.desk.clone(), self.record.clone(), self.agreement.clone());
        let agreed = tokio::spawn(agree(desk, record, agreement, change).in_current_span());
        self.pending = Some(Pending { agreed, reply });
    }

    fn finish(&mut self, agreed: Result<Box<Agreed>, ChangeError>) {
        let Some(pending) = self.pending.take() else { return };
        let answer = agreed.map(|agreed| {
            self.apply(*agreed);
            self.told.borrow().view.clone()
        });
        // Who asked may have gone; the change holds all the same.
        let _ = pending.reply.send(answer);
        self.renew_if_due();
    }

    fn apply(&mut self, agreed: Agreed) {
        let Agreed { record, agreement, changes } = agreed;
        self.record = record;
        self.take(agreement);
        if !changes.is_empty() {
            self.wiring.shared.health.note_params_update();
        }
        let needs_reload = !changes.reload.is_empty();
        if needs_reload || !changes.hot.is_empty() {
            self.on(Event::ParamsChanged { needs_reload });
        }
        self.told.send_replace(tell(&self.record, &self.agreement, &self.lifecycle));
    }

    fn take(&mut self, agreement: Agreement) {
        self.agreement = agreement;
        self.wiring.shared.screen.set_fallback(self.agreement.fallback());
        self.wiring.shared.ingress.set_fit(self.agreement.fit());
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
    let patch = with_items(change.params, change.items, &agreement.params)?;
    let (agreement, changes) = desk.amend(&agreement, &patch, change.is_hot_only).await?;
    let expected = record.revision;
    let old = record.clone();
    if !changes.is_empty() {
        record.params = agreement.params.clone();
        record.revision += 1;
    }
    if let Some(url) = change.output_rtmp_url {
        record.output_rtmp_url = Some(url).filter(|url| !url.is_empty());
    }
    if record != old {
        let record = record.clone();
        desk.with_store(move |store| store.update(expected, record)).await?;
    }
    Ok(Box::new(Agreed { record, agreement, changes }))
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
        params: agreement.params.clone(),
        revision: record.revision,
        phase: lifecycle.phase(),
        output_rtmp_url: record.output_rtmp_url.clone(),
        warnings,
    };
    let plugin = (!agreement.is_provisional).then(|| agreement.claim.id.plugin.clone());
    Told { view, plugin }
}
