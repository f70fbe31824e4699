//! Has fetched what a pipeline needs of the hub, one artefact after the other. After each the plugin is asked again: of a
//! model that is here it may need something else, or less, and knows how much memory it takes.

use crate::ChangeError;
use crate::agreement::{Agreement, Amended, Desk};
use crate::budget::Hold;
use crate::shared::Shared;
use host_ports::{Artefact, FetchError, FetchNews, FetchProgress, ModelStore, Plan, Size};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, watch};
use tracing::{info, warn};

/// A plugin that asks for more for one pipeline will never have enough.
const MOST_ARTEFACTS: usize = 64;
/// How long a question may wait for the hub's answer, and how many artefacts are asked of.
const MEASURE_LIMIT: Duration = Duration::from_secs(3);
const MOST_MEASURED: usize = 8;
/// Of all requests together: each takes a thread while the hub is silent.
static MEASURING: Semaphore = Semaphore::const_new(8);

/// What was fetched, or could not be.
#[derive(Clone)]
pub struct Sought {
    artefact: Artefact,
    failure: Option<String>,
}

impl Sought {
    /// What was not fetched while it could be done without is sought once more when it is needed.
    fn has_answered(&self, artefact: &Artefact) -> bool {
        self.artefact.is_same(artefact) && (self.failure.is_none() || artefact.is_optional)
    }
}

/// Why a pipeline is not loaded.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct SupplyError {
    pub message: String,
    /// Whether the same may go well later.
    pub may_pass: bool,
}

/// Fetches until the plugin finds what it needs; gives the agreement that the pipeline is then loaded for. `replaced` is
/// the memory of what runs until then. Dropping the future gives the fetch up.
pub async fn supply(
    desk: Desk,
    agreement: Agreement,
    replaced: Option<Arc<Hold>>,
    shared: Shared,
) -> Result<Box<Amended>, SupplyError> {
    let mut sought = agreement.sought.clone();
    loop {
        let amended = desk.agree_again(&agreement, &sought, replaced.as_deref()).await?;
        let (Some(models), Some(artefact)) = (&desk.models, amended.agreement.artefacts.first())
        else {
            return Ok(Box::new(amended));
        };
        if sought.len() == MOST_ARTEFACTS {
            let message = format!("the plugin asks for more than {MOST_ARTEFACTS} models");
            return Err(SupplyError { message, may_pass: false });
        }
        let artefact = artefact.clone();
        let failure = match fetch(&**models, &artefact, &shared).await {
            Ok(()) => {
                info!(%artefact, "model fetched");
                shared.chronicle.fetched(&artefact.to_string());
                None
            }
            Err(error) if artefact.is_optional => {
                warn!(%artefact, %error, "model not fetched; the pipeline is loaded without it");
                Some(error.message)
            }
            Err(error) => return Err(SupplyError::of(&artefact, &error)),
        };
        sought.push(Sought { artefact, failure });
    }
}

async fn fetch(
    models: &dyn ModelStore,
    artefact: &Artefact,
    shared: &Shared,
) -> Result<(), FetchError> {
    shared.chronicle.fetching_begins();
    let (news_in, mut news) = watch::channel(None);
    let told = move |latest: FetchNews| drop(news_in.send_replace(Some(latest)));
    let _fetch = models.fetch(artefact, Box::new(told));
    let _shown = Shown(shared);
    // Only what comes is worth a line: a hub that is away is tried again and again.
    let mut is_logged = false;
    while news.changed().await.is_ok() {
        match news.borrow_and_update().clone() {
            Some(FetchNews::Progress(progress)) => {
                let bytes = progress.bytes_total;
                if bytes > 0 && !std::mem::replace(&mut is_logged, true) {
                    info!(%artefact, bytes, hub = models.hub(), "fetching a model");
                }
                tell(shared, progress);
            }
            Some(FetchNews::Ended(result)) => return result,
            None => {}
        }
    }
    let message = "the fetch ended without a word".to_owned();
    Err(FetchError { message, may_pass: true })
}

fn tell(shared: &Shared, progress: FetchProgress) {
    shared.chronicle.fetching(&progress, Instant::now());
    shared.health.set_fetching(Some(progress));
}

/// However a fetch ends, its progress is shown no longer.
struct Shown<'s>(&'s Shared);

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        self.0.health.set_fetching(None);
    }
}

impl SupplyError {
    fn of(artefact: &Artefact, error: &FetchError) -> Self {
        let mut message = format!("{artefact} is not on this machine and was not fetched: {error}");
        if !artefact.without.is_empty() {
            message += &format!(". {}", artefact.without.trim_end_matches('.'));
        }
        Self { message, may_pass: error.may_pass }
    }
}

impl From<ChangeError> for SupplyError {
    fn from(error: ChangeError) -> Self {
        // The plugin crashed or hung.
        let may_pass = matches!(error, ChangeError::Internal(_));
        Self { message: error.to_string(), may_pass }
    }
}

impl Desk {
    /// What will be fetched is told as such, and what it will cure is not told. Where nothing is fetched the plan stands.
    pub fn promise(&self, mut plan: Plan, sought: &[Sought]) -> Plan {
        let Some(models) = &self.models else { return Plan { artefacts: Vec::new(), ..plan } };
        let is_sought = |artefact: &Artefact| sought.iter().any(|each| each.has_answered(artefact));
        plan.artefacts.retain(|artefact| !is_sought(artefact));
        let Plan { artefacts, warnings, unsupported, .. } = &mut plan;
        let is_cured = |text: &str| artefacts.iter().any(|artefact| artefact.without == text);
        warnings.retain(|warning| !is_cured(warning));
        unsupported.retain(|each| !is_cured(&each.reason));
        let hub = models.hub();
        let promised = artefacts.iter().map(|artefact| {
            let end = if artefact.is_optional { ", which can do without it" } else { "" };
            format!("{artefact} is not on this machine; it is fetched from {hub} before the pipeline is loaded{end}")
        });
        let failed = sought.iter().filter_map(|Sought { artefact, failure }| {
            Some(format!("{artefact} was not fetched: {}", failure.as_ref()?))
        });
        warnings.extend(promised.chain(failed));
        plan
    }

    /// How many bytes would be fetched, and what there is to say of each artefact. Bounded in time: what the hub does not
    /// tell soon is not told.
    pub async fn measure(&self, artefacts: &[Artefact]) -> (Option<u64>, Vec<String>) {
        let Some(models) = &self.models else { return (Some(0), Vec::new()) };
        let asked = artefacts.iter().take(MOST_MEASURED).map(|artefact| {
            let (models, artefact) = (models.clone(), artefact.clone());
            tokio::spawn(async move { ask(models, artefact).await })
        });
        let mut told = Vec::new();
        let mut total = Some(0u64).filter(|_| artefacts.len() <= MOST_MEASURED);
        for (artefact, size) in artefacts.iter().zip(asked.collect::<Vec<_>>()) {
            let size = size.await.ok().flatten();
            let bytes = size.as_ref().and_then(|size| bytes_to_come(artefact, size));
            total = total.zip(bytes).map(|(total, bytes)| total.saturating_add(bytes));
            told.extend(size.map(|size| said(artefact, &size)));
        }
        (total, told)
    }
}

/// None when that is not known.
fn bytes_to_come(artefact: &Artefact, size: &Result<Size, FetchError>) -> Option<u64> {
    match size {
        Ok(size) => size.bytes,
        // The pipeline is loaded without it.
        Err(error) if artefact.is_optional && !error.may_pass => Some(0),
        Err(_) => None,
    }
}

/// None when the answer does not come in time.
async fn ask(models: Arc<dyn ModelStore>, artefact: Artefact) -> Option<Result<Size, FetchError>> {
    let answer = async {
        let permit = MEASURING.acquire().await.ok()?;
        let measure = move || {
            let _permit = permit;
            models.measure(&artefact, MEASURE_LIMIT)
        };
        tokio::task::spawn_blocking(measure).await.ok()
    };
    tokio::time::timeout(MEASURE_LIMIT, answer).await.ok().flatten()
}

fn said(artefact: &Artefact, size: &Result<Size, FetchError>) -> String {
    match size {
        Ok(Size { files, bytes: Some(bytes) }) => {
            format!("{artefact} is {} in {files} files", in_words(*bytes))
        }
        Ok(Size { files, bytes: None }) => format!("{artefact} is {files} files of unknown size"),
        Err(error) => format!("{artefact} cannot be fetched now: {error}"),
    }
}

fn in_words(bytes: u64) -> String {
    match bytes {
        0..1_000_000 => format!("{} kB", bytes.div_ceil(1000)),
        1_000_000..1_000_000_000 => format!("{} MB", bytes.div_ceil(1_000_000)),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}
