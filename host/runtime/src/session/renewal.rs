//! A stream of an earlier run is agreed on anew before it loads: its plugin may be another by now, or gone.
//!
//! While that fails the stream stays, in error with the reason, and its media with the fallback. It is tried again when
//! the catalog or the params change, and where the failure may pass, after a pause.

use super::{Session, Way, tell};
use crate::ChangeError;
use crate::agreement::Agreement;
use host_stream::{Change, Event, LoadId};
use tokio::task::JoinHandle;
use tracing::{Instrument, warn};

/// At most one at a time, and none beside a change, since both start from the record.
#[derive(Default)]
pub struct Renewal {
    /// The load that waits for an agreement nobody works on yet.
    due: Option<LoadId>,
    under_way: Option<(LoadId, JoinHandle<Result<Agreement, ChangeError>>)>,
}

pub struct Renewed {
    load: LoadId,
    agreement: Result<Agreement, ChangeError>,
}

impl Renewal {
    pub fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    pub async fn outcome(&mut self) -> Renewed {
        let Some((load, task)) = &mut self.under_way else { return std::future::pending().await };
        let load = *load;
        let agreement = task.await.unwrap_or_else(|error| {
            warn!(%error, "agreeing on a stream failed");
            Err(ChangeError::Internal("the params could not be checked".to_owned()))
        });
        self.under_way = None;
        Renewed { load, agreement }
    }

    pub fn abort(&mut self) {
        if let Some((_, task)) = self.under_way.take() {
            task.abort();
        }
    }
}

impl Session {
    /// Begins what must come before `load`, at once or when there is room.
    pub fn renew(&mut self, load: LoadId) {
        self.renewal.due = Some(load);
        self.renew_if_due();
    }

    pub fn renew_if_due(&mut self) {
        // A change may have settled it.
        self.renewal.due.take_if(|_| !self.agreement.is_provisional);
        if self.pending.is_some() || self.renewal.is_under_way() {
            return;
        }
        if let Some(load) = self.renewal.due.take() {
            let (desk, record) = (self.desk.clone(), self.record.clone());
            let work = async move { desk.renew(&record).await };
            self.renewal.under_way = Some((load, tokio::spawn(work.in_current_span())));
        }
    }

    pub fn settle(&mut self, renewed: Renewed) {
        let Renewed { load, agreement } = renewed;
        match agreement {
            Ok(agreement) => {
                // A newer load wants nothing else.
                let load = self.renewal.due.take().unwrap_or(load);
                self.take(agreement);
                self.want_first_pictures(true);
                self.fetch_and_load(load, Way::Anew);
                let told = tell(&self.record, &self.agreement, &self.lifecycle, &self.pictures);
                self.told.send_replace(told);
            }
            // The catalog has changed meanwhile: what failed may succeed.
            Err(_) if self.renewal.due.is_some() => self.renew_if_due(),
            Err(error) => {
                self.wiring.shared.health.note_error(error.to_string());
                self.on(match error {
                    // The plugin crashed or hung.
                    ChangeError::Internal(_) => Event::LoadFailed(load),
                    _ => Event::LoadRefused(load),
                });
            }
        }
    }

    /// What is on offer has changed, which concerns a stream that nobody agreed to.
    pub fn try_again(&mut self) {
        if self.agreement.is_provisional {
            self.on(Event::ParamsChanged(Change { needs_reload: true, ..Change::default() }));
        }
    }
}
