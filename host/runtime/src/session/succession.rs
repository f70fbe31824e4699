//! One pipeline after another: which load is the newest, what runs until its pipeline takes over, and which params each
//! of the two is given.
//!
//! When the load fails, what runs stays, and the stream's params go back to those that it runs with.

use super::agreed::Agreed;
use super::{Pending, Request, Session, Way};
use crate::agreement::Agreement;
use host_ports::StoredStream;
use host_stream::{Changes, Event, LoadId};
use tracing::Instrument;

pub struct Succession {
    /// The newest load, under way or done.
    pub latest: LoadId,
    /// What runs while another pipeline loads beside it.
    pub running: Option<Running>,
    /// Params that a failed load beside leaves in place, until they are stored again.
    pub take_back: Option<Agreement>,
    /// A change that was agreed on against params that are taken back.
    pub again: Option<Request>,
}

pub struct Running {
    pub load: LoadId,
    pub agreement: Agreement,
    /// Up to which it has all params.
    pub edition: u64,
}

impl Default for Succession {
    fn default() -> Self {
        Self { latest: LoadId(0), running: None, take_back: None, again: None }
    }
}

impl Session {
    /// Ends what loads beside the running pipeline. False if it has taken over already.
    pub fn give_up_beside(&mut self) -> bool {
        // While models are fetched for it nothing loads yet; an earlier load may have taken over.
        self.fetching.give_up() == Some(Way::Beside) || self.wiring.beside.give_up()
    }

    pub fn load_beside(&mut self, load: LoadId) {
        let order = self.load_order(load);
        if let Err(error) = self.wiring.load_beside(order) {
            let message = format!("no thread could be started: {error}");
            self.wiring.shared.health.note_error(message);
            self.on(Event::LoadFailed(load));
        }
    }

    /// What runs is the newest load again.
    pub fn leave_beside(&mut self) -> Option<Agreement> {
        let Running { load, agreement, .. } = self.succession.running.take()?;
        self.succession.latest = load;
        Some(agreement)
    }

    pub fn apply_params(&self) {
        let inbox = &self.wiring.shared.inbox;
        if let Some(Running { load, agreement, edition }) = &self.succession.running {
            inbox.put_params(*load, self.params(agreement, *edition));
        }
        inbox.put_params(self.succession.latest, self.params(&self.agreement, self.edition));
    }

    /// What could not be begun while something else was being agreed on.
    pub fn begin_waiting(&mut self) {
        if let Some(agreement) = self.succession.take_back.take() {
            self.begin_taking_back(agreement);
        } else if let Some(request) = self.succession.again.take() {
            self.begin(request);
        }
    }

    /// Goes back to the params that the pipeline runs with, since no pipeline could be loaded for the newer ones.
    pub fn begin_taking_back(&mut self, mut agreement: Agreement) {
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
            Ok(Box::new(Agreed { suits_running: true, is_taken_back: true, ..taken_back }))
        };
        let agreed = tokio::spawn(stored.in_current_span());
        self.pending = Some(Pending { agreed, request: None });
    }
}
