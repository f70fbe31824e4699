//! What must be here before a pipeline can be loaded: its models are fetched first, and a change that makes them needless
//! gives the fetch up. What runs beside goes on; otherwise viewers see the fallback, as while a pipeline loads.

use super::{Session, tell};
use crate::agreement::Amended;
use crate::inbox::Order;
use crate::plain::PlainPool;
use crate::supply::{SupplyError, supply};
use host_stream::{Change, Event, LoadId};
use std::sync::Arc;
use tokio::task::JoinHandle;
use tracing::{Instrument, warn};

/// How a pipeline is to be loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// In place of the present one.
    Anew,
    /// The present one once more.
    Again,
    /// While the present one runs on.
    Beside,
}

/// The fetch for the newest load.
#[derive(Default)]
pub struct Fetching {
    under_way: Option<UnderWay>,
}

struct UnderWay {
    load: LoadId,
    way: Way,
    task: JoinHandle<Result<Box<Amended>, SupplyError>>,
}

/// A load that lacks nothing any more, or will not be.
pub struct Supplied {
    load: LoadId,
    way: Way,
    amended: Result<Box<Amended>, SupplyError>,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Fetching {
    pub fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    /// Tells for what it was.
    pub fn give_up(&mut self) -> Option<Way> {
        self.under_way.take().map(|under_way| under_way.way)
    }

    pub async fn outcome(&mut self) -> Supplied {
        let Some(UnderWay { load, way, task }) = &mut self.under_way else {
            return std::future::pending().await;
        };
        let (load, way) = (*load, *way);
        let amended = task.await.unwrap_or_else(|error| {
            warn!(%error, "fetching models failed");
            let message = "the host failed at fetching models".to_owned();
            Err(SupplyError { message, may_pass: true })
        });
        self.under_way = None;
        Supplied { load, way, amended }
    }
}

impl Session {
    /// Loads a pipeline for the params as they are when its models are here.
    pub fn fetch_and_load(&mut self, load: LoadId, way: Way) {
        self.fetching.give_up();
        self.succession.latest = load;
        if self.agreement.artefacts.is_empty() {
            self.load(load, way);
        } else {
            self.fetch(load, way);
        }
    }

    fn fetch(&mut self, load: LoadId, way: Way) {
        if way != Way::Beside {
            self.wiring.shared.inbox.order(Order::Unload);
            // Viewers see the fallback although no pipeline brings memory.
            let pool = PlainPool::new(self.agreement.formats.input);
            self.wiring.shared.ingress.set_pool(Arc::new(pool));
        }
        let running = self.succession.running.as_ref().filter(|_| way == Way::Beside);
        let replaced = running.map(|running| running.agreement.memory.clone());
        let (desk, agreement) = (self.desk.clone(), self.agreement.clone());
        let supplying = supply(desk, agreement, replaced, self.wiring.shared.clone());
        let task = tokio::spawn(supplying.in_current_span());
        self.fetching.under_way = Some(UnderWay { load, way, task });
    }

    pub fn load_supplied(&mut self, supplied: Supplied) {
        let Supplied { load, way, amended } = supplied;
        let Amended { agreement, has_room, .. } = match amended {
            Ok(amended) => *amended,
            Err(error) => return self.fail_load(load, &error),
        };
        if agreement.params != self.agreement.params {
            // Hot ones changed meanwhile, so that the plugin is asked about these. What was sought is not sought again.
            self.agreement.sought = agreement.sought;
            return self.fetch(load, way);
        }
        self.take(agreement);
        let told = tell(&self.record, &self.agreement, &self.lifecycle, &self.pictures);
        self.told.send_replace(told);
        if way == Way::Beside && !has_room {
            // That shows only now that the model is here.
            let in_place = Change { needs_reload: true, ..Change::default() };
            return self.on(Event::ParamsChanged(in_place));
        }
        self.load(load, way);
    }

    fn load(&mut self, load: LoadId, way: Way) {
        let order = match way {
            Way::Anew => Order::Load(self.load_order(load)),
            Way::Again => Order::Restart(self.load_order(load)),
            Way::Beside => return self.load_beside(load),
        };
        self.wiring.shared.inbox.order(order);
    }

    fn fail_load(&mut self, load: LoadId, error: &SupplyError) {
        let message = error.to_string();
        let shared = &self.wiring.shared;
        shared.waiting.give_up(self.edition, &message);
        shared.chronicle.fetch_failed(&message);
        shared.health.note_error(message);
        self.on(match error.may_pass {
            true => Event::LoadFailed(load),
            false => Event::LoadRefused(load),
        });
    }
}
