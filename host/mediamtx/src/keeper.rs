//! Keeps the paths of a MediaMTX in step with the host's streams: looked at again and again, so that nobody need notice that
//! it started anew or that somebody else changed them.

use crate::client::{CallError, Client, GlobalConfig};
use crate::figures::PathFigures;
use crate::paths::{OUTPUT_SUFFIX, Step, Wanted, steps, wanted};
use crate::version::Version;
use crate::{Report, Stream};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// How old what is known of it may be.
pub const INTERVAL: Duration = Duration::from_secs(2);

/// The host, as MediaMTX meets it.
pub struct Host {
    pub url: String,
    pub hook_path: Option<String>,
    pub list: Box<dyn Fn() -> Vec<Stream> + Send + Sync>,
}

/// Of one MediaMTX, from when it first answered until it does not.
#[derive(Clone)]
pub struct Keeper {
    client: Client,
    host: Arc<Host>,
    pub version: Option<Version>,
    /// It was the host who told it whom to ask.
    is_ours: bool,
}

/// Whether streams can be published to there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inputs {
    Taken,
    TooOld,
    /// It would let in anyone.
    HostIsNotAsked,
}

/// What was found and done.
pub struct Round {
    pub inputs: Inputs,
    publishers: usize,
    readers: usize,
    /// What it did not take.
    problems: Vec<String>,
}

impl Keeper {
    /// Waits for its first answer. `version` is what its program says of itself, where the host runs it.
    pub async fn meet(
        client: &Client,
        host: &Arc<Host>,
        version: Option<Version>,
    ) -> Result<Self, CallError> {
        let (client, host) = (client.clone(), host.clone());
        let asked = client.clone();
        let told = blocking(move || asked.version()).await?;
        Ok(Self { client, host, version: told.or(version), is_ours: version.is_some() })
    }

    /// Looks at its paths and changes what is not as it should be.
    pub async fn round(&self) -> Result<Round, CallError> {
        let keeper = self.clone();
        blocking(move || keeper.go_round()).await
    }

    /// Takes our paths away.
    pub async fn clear(&self) -> Result<(), CallError> {
        let keeper = self.clone();
        blocking(move || keeper.make(&[]).map(drop)).await
    }

    pub fn report(&self, round: Round) -> Report {
        Report {
            is_connected: true,
            version: self.version,
            publishers: round.publishers,
            readers: round.readers,
            error: (!round.problems.is_empty()).then(|| round.problems.join("; ")),
            ..Report::default()
        }
    }

    fn go_round(&self) -> Result<Round, CallError> {
        let streams = (self.host.list)();
        let inputs = self.inputs()?;
        let paths = wanted(&streams, &self.host.url, inputs == Inputs::Taken);
        let problems = self.make(&paths)?;
        let ids: BTreeSet<_> = streams.iter().map(|stream| stream.id.as_str()).collect();
        let (mut publishers, mut readers) = (0, 0);
        for path in self.client.paths()? {
            tracing::trace!(?path, "path");
            if path.name.strip_suffix(OUTPUT_SUFFIX).is_some_and(|id| ids.contains(id)) {
                readers += path.readers;
            } else if ids.contains(path.name.as_str()) {
                publishers += usize::from(has_publisher(&path));
            }
        }
        Ok(Round { inputs, publishers, readers, problems })
    }

    fn inputs(&self) -> Result<Inputs, CallError> {
        if !self.version.is_some_and(Version::has_forward) {
            return Ok(Inputs::TooOld);
        }
        // Asked each time: whoever runs it may change his mind, and from then on anyone could publish.
        let asks = self.is_ours || self.asks_the_host(&self.client.global_config()?);
        Ok(if asks { Inputs::Taken } else { Inputs::HostIsNotAsked })
    }

    fn asks_the_host(&self, config: &GlobalConfig) -> bool {
        let Some(path) = &self.host.hook_path else { return false };
        let exempt = config.auth_http_exclude.as_deref().unwrap_or_default();
        config.auth_method == "http"
            && config.auth_http_address == format!("{}{path}", self.host.url)
            && exempt.iter().all(|exempt| exempt.action != "publish")
    }

    /// Goes on where one path is refused: the others are as good as without it.
    fn make(&self, paths: &[Wanted]) -> Result<Vec<String>, CallError> {
        let there = self.client.path_configs()?;
        let mut problems = Vec::new();
        for step in steps(paths, &there, &self.host.url) {
            let done = match &step {
                Step::Add(wanted) => self.client.add_path(wanted.name(), &wanted.to_json()),
                Step::Replace(wanted) => self.client.replace_path(wanted.name(), &wanted.to_json()),
                Step::Delete(name) => self.client.delete_path(name),
                Step::Foreign(name) => {
                    problems.push(format!("it has a path `{name}` that is not this host's"));
                    Ok(())
                }
            };
            match done {
                Ok(()) => tracing::debug!(%step, "path"),
                Err(error @ CallError::Refused { .. }) => problems.push(error.to_string()),
                Err(error) => return Err(error),
            }
        }
        Ok(problems)
    }
}

fn has_publisher(path: &PathFigures) -> bool {
    path.is_available && path.inbound_bytes > 0
}

impl Inputs {
    /// Tells once how it is; `before` is what was told last.
    pub fn tell(self, before: &mut Option<Self>, version: Option<Version>) {
        if before.replace(self) == Some(self) {
            return;
        }
        match self {
            Self::Taken => tracing::info!("streams can be published to through MediaMTX"),
            Self::TooOld => tracing::warn!(
                version = version.map(tracing::field::display),
                "streams can be watched through this MediaMTX and not published to, which takes version 1.20"
            ),
            Self::HostIsNotAsked => tracing::warn!(
                "streams can be watched through this MediaMTX and not published to, as it does not ask this host whom to let \
                 in; `mediamtx.hook_secret` in the settings says how it would"
            ),
        }
    }
}

/// For calls that block.
pub async fn blocking<T: Send + 'static>(
    call: impl FnOnce() -> Result<T, CallError> + Send + 'static,
) -> Result<T, CallError> {
    match tokio::task::spawn_blocking(call).await {
        Ok(answer) => answer,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(CallError::Stopping),
    }
}
