//! A MediaMTX that somebody else runs: reached for, and kept in step while it answers. Nothing there is touched but the
//! paths of our streams.

use crate::backoff::Backoff;
use crate::client::{Access, Client};
use crate::keeper::{Host, INTERVAL, Keeper};
use crate::lines::Chain;
use crate::{Report, Wake};
use std::sync::Arc;
use tokio::sync::watch;

pub async fn run(access: Access, host: Arc<Host>, mut wake: Wake, told: watch::Sender<Report>) {
    let client = Client::new(&access);
    let (mut keeper, mut inputs, mut backoff) = (None::<Keeper>, None, Backoff::new());
    while !wake.is_stopping() {
        let met = match keeper.take() {
            Some(keeper) => Ok(keeper),
            None => Keeper::meet(&client, &host, None).await,
        };
        let round = match met {
            Ok(met) => met.round().await.map(|round| (met, round)),
            Err(error) => Err(error),
        };
        let pause = match round {
            Ok((met, round)) => {
                round.inputs.tell(&mut inputs, met.version);
                tell(&told, met.report(round));
                keeper = Some(met);
                backoff = Backoff::new();
                INTERVAL
            }
            Err(error) => {
                let error = Some(Chain(&error).to_string());
                tell(&told, Report { error, ..Report::default() });
                inputs = None;
                backoff.next()
            }
        };
        wake.rest(pause).await;
    }
    let Some(keeper) = keeper else { return };
    if let Err(error) = keeper.clear().await {
        tracing::warn!(error = %Chain(&error), "paths of this host stay in MediaMTX");
    }
}

/// Logs what changed, and not each time that it stays so.
fn tell(told: &watch::Sender<Report>, report: Report) {
    let before = told.send_replace(report.clone());
    match (&report.error, report.is_connected) {
        (Some(error), _) if before.error.as_ref() != Some(error) => {
            tracing::warn!(error, "MediaMTX");
        }
        (_, true) if !before.is_connected => {
            let version = report.version.map(tracing::field::display);
            tracing::info!(version, "MediaMTX answers");
        }
        _ => {}
    }
}
