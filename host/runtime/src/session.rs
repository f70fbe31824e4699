//! One stream's task: takes changes and news, moves the lifecycle, performs what it says.
//!
//! Frames do not pass here. While a plugin thinks about a change, the session goes on; further changes wait.

mod agreed;
mod fetching;
mod pictures;
mod renewal;
mod succession;
mod wiring;

use agreed::{Agreed, agree, forget};
pub use wiring::{Handle, Parts, spawn};

use crate::agreement::{Agreement, Desk};
use crate::changed::{Applied, Changed, Forecast};
use crate::inbox::{LoadOrder, Params};
use crate::ingress::Presence;
use crate::secret::Secret;
use crate::{ChangeError, Mode, StreamChange, StreamView};
use fetching::{Fetching, Supplied, Way};
use host_ports::{Artefact, StoredStream};
use host_stream::{Change, Condition, Effect, Event, Lifecycle, LoadId, Phase};
use pictures::{Fetched, Pictures};
use renewal::{Renewal, Renewed};
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};
use succession::{Running, Succession};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, Interval};
use tracing::{Instrument, info, warn};
use wiring::{Wiring, status};

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
    /// What is fetched for it.
    pub artefacts: Vec<Artefact>,
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
    pub plugin: Option<String>,
    /// By the plugin's plan, and how much of it is whose.
    pub memory_bytes: u64,
    pub parts_bytes: BTreeMap<String, u64>,
}

struct Session {
    record: StoredStream,
    agreement: Agreement,
    lifecycle: Lifecycle,
    desk: Desk,
    wiring: Wiring,
    told: watch::Sender<Told>,
    succession: Succession,
    /// Grows whenever the pipeline is told other params.
    edition: u64,
    pending: Option<Pending>,
    renewal: Renewal,
    fetching: Fetching,
    pictures: Pictures,
    /// How often frames had begun to come when last looked.
    beginnings: u64,
    /// When the stream's condition is looked at, while frames should come and go.
    looks: Interval,
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
    /// None for what the session does by itself.
    request: Option<Request>,
}

/// Whatever woke the session.
enum Input {
    Event(Event),
    Presence(Presence),
    Look,
    Request(Request),
    Agreed(Result<Box<Agreed>, ChangeError>),
    OffersChanged,
    Renewed(Renewed),
    Supplied(Supplied),
    Picture(Fetched),
}

impl Session {
    async fn run(mut self, first: Vec<Effect>, mut inputs: Inputs) {
        let plugin = &self.agreement.claim.id.plugin;
        if self.agreement.is_provisional {
            info!("stream restored");
        } else {
            info!(%plugin, "stream created");
            self.wiring.shared.chronicle.created(plugin);
        }
        self.want_first_pictures(false);
        self.perform(first);
        while self.lifecycle.phase() != Phase::Stopping {
            match self.next(&mut inputs).await {
                Input::Event(event) => self.on(event),
                Input::Presence(presence) => self.see(presence),
                Input::Look => self.wiring.shared.chronicle.judge(self.condition()),
                Input::Request(request) => self.begin(request),
                Input::Agreed(agreed) => self.finish(agreed),
                Input::OffersChanged => self.try_again(),
                Input::Renewed(renewed) => self.settle(renewed),
                Input::Supplied(supplied) => self.load_supplied(supplied),
                Input::Picture(fetched) => self.take_picture(fetched),
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
        self.renewal.abort();
        self.fetching.give_up();
        self.wiring.tear_down(self.stop_deadline).await;
        info!("stream ended");
    }

    async fn next(&mut self, inputs: &mut Inputs) -> Input {
        let deadline = self.lifecycle.deadline();
        let is_agreeing = self.pending.is_some();
        let is_renewing = self.renewal.is_under_way();
        let is_fetching = self.fetching.is_under_way();
        let is_picturing = self.pictures.is_under_way();
        let is_watched =
            self.lifecycle.phase() == Phase::Running && inputs.presence.borrow().is_flowing;
        tokio::select! {
            // It changes once. Were the runtime's handle gone, nobody could delete the stream any more.
            _ = inputs.stop.changed() => Input::Event(Event::Deleted),
            Some(event) = inputs.reports.recv() => Input::Event(event),
            Ok(()) = inputs.presence.changed() => {
                Input::Presence(*inputs.presence.borrow_and_update())
            }
            _ = self.looks.tick(), if is_watched => Input::Look,
            () = until(deadline), if deadline.is_some() => Input::Event(Event::DeadlineReached),
            agreed = outcome(&mut self.pending), if is_agreeing => Input::Agreed(agreed),
            renewed = self.renewal.outcome(), if is_renewing => Input::Renewed(renewed),
            // Not beside a change, which was begun with what was agreed before.
            supplied = self.fetching.outcome(), if is_fetching && !is_agreeing => {
                Input::Supplied(supplied)
            }
            fetched = self.pictures.outcome(), if is_picturing => Input::Picture(fetched),
            Ok(()) = inputs.offers.changed() => Input::OffersChanged,
            Some(request) = inputs.requests.recv(), if !is_agreeing && !is_renewing => {
                Input::Request(request)
            }
        }
    }

    fn on(&mut self, event: Event) {
        let before = self.lifecycle.phase();
        let effects = self.lifecycle.on(Instant::now().into_std(), event);
        let has_taken_over = event == Event::Loaded(self.succession.latest)
            && self.succession.running.take().is_some();
        self.tell_reload(before, has_taken_over, &effects);
        self.perform(effects);
        let phase = self.lifecycle.phase();
        if phase != before {
            info!(?phase, "stream moved");
            self.told.send_modify(|told| told.view.phase = phase);
        }
        if phase == Phase::Running && phase != before {
            self.wiring.shared.chronicle.running();
            self.looks.reset();
        }
    }

    /// Tells where a reload begins and where it ends. The first load is none, and no restart of the same pipeline is.
    fn tell_reload(&self, before: Phase, has_taken_over: bool, effects: &[Effect]) {
        let has = |is_such: fn(&Effect) -> bool| effects.iter().any(is_such);
        let is_running = self.lifecycle.phase() == Phase::Running;
        let is_left = has(|effect| matches!(effect, Effect::EndBeside | Effect::TakeBack));
        if has_taken_over || is_running && (is_left || before != Phase::Running) {
            self.wiring.shared.chronicle.reload_ends();
        }
        let is_load = has(|effect| matches!(effect, Effect::Load(_) | Effect::LoadBeside(_)));
        if is_load && before != Phase::Starting {
            self.wiring.shared.chronicle.reload_begins();
        }
    }

    fn condition(&self) -> Condition {
        let told = self.told.borrow();
        status(&told, &self.wiring.shared, &*self.wiring.path).condition(SystemTime::now())
    }

    fn see(&mut self, presence: Presence) {
        if presence.beginnings != self.beginnings {
            self.beginnings = presence.beginnings;
            self.wiring.shared.chronicle.input_comes();
            self.looks.reset();
            self.on(Event::FrameArrived);
        }
        if !presence.is_flowing {
            self.wiring.shared.waiting.give_up(u64::MAX, NO_INPUT);
            self.stop_waiting_for_pictures();
            self.wiring.shared.chronicle.input_lost();
            self.on(Event::PublisherGone);
        }
    }

    fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::ShowPipeline => self.wiring.shared.screen.select_pipeline(),
                Effect::ShowFallback => self.wiring.shared.screen.select_fallback(),
                Effect::CancelLoad => {
                    self.fetching.give_up();
                    self.wiring.shared.canceller.cancel();
                }
                Effect::Load(load) | Effect::Restart(load) if self.agreement.is_provisional => {
                    self.renew(load);
                }
                Effect::Load(load) => {
                    self.succession.running = None;
                    self.fetch_and_load(load, Way::Anew);
                }
                Effect::Restart(load) => {
                    self.wiring.shared.health.note_restart();
                    self.fetch_and_load(load, Way::Again);
                }
                Effect::LoadBeside(load) => self.fetch_and_load(load, Way::Beside),
                Effect::EndBeside => {
                    self.give_up_beside();
                    self.leave_beside();
                }
                Effect::TakeBack => self.succession.take_back = self.leave_beside(),
                Effect::ApplyParams => self.apply_params(),
                Effect::Stop => {
                    self.fetching.give_up();
                    self.wiring.stop();
                }
            }
        }
    }

    fn load_order(&self, load: LoadId) -> LoadOrder {
        LoadOrder {
            load,
            claim: self.agreement.claim.id.clone(),
            formats: self.agreement.formats,
            params: self.params(&self.agreement, self.edition),
            latency_frames: self.agreement.latency_frames,
        }
    }

    /// Starts agreeing on a change. The session alone changes params, and one change at a time: what is agreed on now
    /// still holds when it is agreed.
    fn begin(&mut self, request: Request) {
        let (desk, record, agreement) =
            (self.desk.clone(), self.record.clone(), self.agreement.clone());
        let running = self.succession.running.as_ref().map(|running| running.agreement.clone());
        let ask = request.ask.clone();
        let agreed = async move {
            match ask {
                Ask::Change(change) => agree(desk, record, agreement, running, change).await,
                Ask::Forget { revisions } => forget(desk, record, agreement, &revisions).await,
            }
        };
        let agreed = tokio::spawn(agreed.in_current_span());
        self.pending = Some(Pending { agreed, request: Some(request) });
    }

    fn finish(&mut self, agreed: Result<Box<Agreed>, ChangeError>) {
        let Some(Pending { mut request, .. }) = self.pending.take() else { return };
        let answer = match agreed {
            // The params that it was agreed on against are taken back first.
            Ok(agreed)
                if self.succession.take_back.is_some()
                    && let Some(Request { ask: Ask::Change(change), .. }) = &mut request =>
            {
                // It was for the revision that it found.
                change.revisions = None;
                if agreed.mode != Mode::Plan {
                    self.record = agreed.record;
                }
                self.succession.again = request;
                return;
            }
            agreed => agreed.map(|agreed| self.conclude(*agreed)),
        };
        match request {
            // Who asked may have gone; the change holds all the same.
            Some(request) => drop(request.reply.send(answer)),
            None => drop(answer.inspect_err(|error| warn!(%error, "params not taken back"))),
        }
        self.renew_if_due();
    }

    fn conclude(&mut self, agreed: Agreed) -> Reply {
        let Agreed { agreement, changes, fields, mode, .. } = &agreed;
        let (fields, mode) = (fields.clone(), *mode);
        let forecast = Forecast {
            needs_reload: !changes.reload.is_empty(),
            memory_bytes: agreement.memory_bytes,
            fetch_bytes: None,
        };
        let artefacts = agreement.artefacts.clone();
        let mut applied = None;
        let view = if mode == Mode::Plan {
            tell(&agreed.record, agreement, &self.lifecycle, &self.pictures).view
        } else {
            let fetches = self.want_pictures(&agreed);
            if matches!(mode, Mode::ApplyAndWait(_)) {
                applied = Some(match fetches.is_empty() {
                    true => self.wait_for(&agreed),
                    false => self.wait_for_pictures(fetches),
                });
            }
            self.apply(agreed);
            self.told.borrow().view.clone()
        };
        Reply { changed: Changed { view, fields, forecast, applied: None }, artefacts, applied }
    }

    /// Before the pipeline is told: no frame can come in between unseen.
    fn wait_for(&self, agreed: &Agreed) -> oneshot::Receiver<Applied> {
        let waiting = &self.wiring.shared.waiting;
        let applied = waiting.join(self.edition + u64::from(agreed.is_for_the_pipeline()));
        if !self.wiring.shared.ingress.is_flowing() {
            waiting.give_up(u64::MAX, NO_INPUT);
        }
        applied
    }

    fn apply(&mut self, agreed: Agreed) {
        let is_told = agreed.is_for_the_pipeline();
        let needs_reload = !agreed.changes.reload.is_empty();
        let is_unwanted = needs_reload || agreed.suits_running;
        if self.succession.running.is_some() && is_unwanted && !self.give_up_beside() {
            // It has taken over; the news of it is on its way.
            self.on(Event::Loaded(self.succession.latest));
        }
        let Agreed { record, agreement, changes, has_room, running, suits_running, .. } = agreed;
        let before = self.agreement.clone();
        self.take(agreement);
        match (&mut self.succession.running, running) {
            (Some(running), Some(agreement)) => running.agreement = agreement,
            (None, _) if needs_reload && has_room => {
                let edition = self.edition;
                self.succession.running =
                    Some(Running { load: self.succession.latest, agreement: before, edition });
            }
            _ => {}
        }
        self.wiring.shared.chronicle.log.set_revision(record.revision);
        self.record = record;
        self.wiring.restream(self.record.output_rtmp_url.as_deref());
        if !changes.is_empty() {
            self.wiring.shared.health.note_params_update();
        }
        if is_told {
            self.edition += 1;
            self.on(Event::ParamsChanged(Change { needs_reload, suits_running, has_room }));
        }
        let told = tell(&self.record, &self.agreement, &self.lifecycle, &self.pictures);
        self.told.send_replace(told);
    }

    /// What a pipeline is told.
    fn params(&self, agreement: &Agreement, edition: u64) -> Params {
        let values = agreement.for_pipeline(|pointer| self.pictures.path(pointer));
        Params { edition, values: Secret::new(values) }
    }

    fn take(&mut self, agreement: Agreement) {
        self.agreement = agreement;
        self.wiring.shared.screen.set_fallback(self.agreement.fallback());
        self.wiring.shared.ingress.set_fit(self.agreement.fit());
        self.wiring.path.set_video(self.agreement.video());
    }
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

fn tell(
    record: &StoredStream,
    agreement: &Agreement,
    lifecycle: &Lifecycle,
    pictures: &Pictures,
) -> Told {
    let mut warnings = agreement.warnings();
    warnings.extend(pictures.warnings());
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
    let (memory_bytes, parts_bytes) = (agreement.memory_bytes, agreement.parts_bytes.clone());
    Told { view, plugin, memory_bytes, parts_bytes }
}
