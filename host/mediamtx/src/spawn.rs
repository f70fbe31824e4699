//! A MediaMTX that the host runs: started, waited for, kept in step, and started anew when it ends or no longer answers.

use crate::backoff::Backoff;
use crate::binary::{BinaryError, installed_version};
use crate::child::Child;
use crate::client::{Access, CallError, Client};
use crate::keeper::{Host, INTERVAL, Keeper};
use crate::lines::Chain;
use crate::listeners::Ports;
use crate::version::Version;
use crate::written::{WriteError, Written};
use crate::{Report, Urls, Wake};
use std::ffi::OsString;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

/// As whom the host calls the API of its own MediaMTX.
pub const API_USER: &str = "host";
/// How long it may take from its start to its first answer.
const LONGEST_START: Duration = Duration::from_secs(15);
/// How often a new one is asked whether it is there.
const START_INTERVAL: Duration = Duration::from_millis(100);
/// How long it may not answer before it is ended.
const LONGEST_SILENCE: Duration = Duration::from_secs(10);

pub struct Spawn {
    /// A path, or a name that `PATH` leads to.
    pub binary: PathBuf,
    /// What stands before it on the command line, so that it ends with the host; may be empty.
    pub launcher: Vec<OsString>,
    /// For the file of its settings.
    pub folder: PathBuf,
    /// Where it listens, but for its API, which is on loopback.
    pub address: IpAddr,
    pub public_addresses: Vec<IpAddr>,
    pub ports: Ports,
    /// Of [`API_USER`]; the host lets him in.
    pub api_password: String,
}

/// Why one ended that should not have.
#[derive(Debug, thiserror::Error)]
enum LifeError {
    #[error(transparent)]
    Binary(#[from] BinaryError),
    #[error(
        "MediaMTX {found} is older than {}, the oldest that is known to work; `mediamtx.binary` names the program",
        Version::OLDEST
    )]
    TooOld { found: Version },
    #[error(
        "no port is free for MediaMTX on {address}; `[mediamtx]` in the settings names its ports"
    )]
    Ports {
        address: IpAddr,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error("MediaMTX cannot be started")]
    Start(#[source] io::Error),
    #[error("MediaMTX {how}{words}")]
    Ended { how: String, words: String },
    #[error("MediaMTX did not answer within {} s of its start", LONGEST_START.as_secs())]
    Silent(#[source] Option<CallError>),
    #[error("MediaMTX does not answer any more")]
    Hangs(#[source] CallError),
}

pub async fn run(spawn: Spawn, host: Arc<Host>, mut wake: Wake, told: watch::Sender<Report>) {
    let mut backoff = Backoff::new();
    while !wake.is_stopping() {
        let began = Instant::now();
        let Err(error) = live(&spawn, &host, &mut wake, &told).await else { return };
        let error = Chain(&error).to_string();
        backoff.ran_for(began.elapsed());
        let pause = backoff.next();
        tracing::warn!(error, again_in = ?pause, "MediaMTX");
        told.send_replace(Report { error: Some(error), ..Report::default() });
        // Streams that come or go make it no likelier to start.
        let _ = timeout(pause, wake.stop()).await;
    }
}

/// From a start to an end: the wished one, or why.
async fn live(
    spawn: &Spawn,
    host: &Arc<Host>,
    wake: &mut Wake,
    told: &watch::Sender<Report>,
) -> Result<(), LifeError> {
    let binary = spawn.binary.clone();
    let version = tokio::task::spawn_blocking(move || installed_version(&binary)).await;
    let version = version.map_err(|error| LifeError::Start(io::Error::other(error)))??;
    if version < Version::OLDEST {
        return Err(LifeError::TooOld { found: version });
    }
    let no_port = |source| LifeError::Ports { address: spawn.address, source };
    let ports = spawn.ports.with_free_ones(spawn.address).map_err(no_port)?;
    let written = Written::new(spawn, &ports, version, host)?;
    let secrets = host.hook_path.iter().chain([&spawn.api_password]).cloned().collect();
    let mut child =
        Child::start(command(spawn, &written), secrets).await.map_err(LifeError::Start)?;
    let client = Client::new(&Access {
        url: format!("http://127.0.0.1:{}", ports.api),
        user: API_USER.to_owned(),
        password: spawn.api_password.clone(),
    });
    let urls = ports.urls(spawn.address);
    let lived = tokio::select! {
        how = child.ended() => Err(LifeError::Ended { how, words: child.last_words() }),
        lived = keep(&client, host, (version, &urls), wake, told) => lived,
    };
    child.end().await;
    lived
}

fn command(spawn: &Spawn, written: &Written) -> std::process::Command {
    let mut words = spawn.launcher.iter().map(OsString::as_os_str);
    let binary = spawn.binary.as_os_str();
    let first = words.next().unwrap_or(binary);
    let mut command = std::process::Command::new(first);
    command.args(words);
    if first != binary {
        command.arg(binary);
    }
    command.arg(written.path());
    command
}

/// Waits until it is there, then keeps it in step until it should end or does not answer.
async fn keep(
    client: &Client,
    host: &Arc<Host>,
    (version, urls): (Version, &Urls),
    wake: &mut Wake,
    told: &watch::Sender<Report>,
) -> Result<(), LifeError> {
    let keeper = tokio::select! {
        met = meet(client, host, version) => met?,
        () = wake.stop() => return Ok(()),
    };
    tracing::info!(%version, ?urls, "MediaMTX runs");
    let (mut inputs, mut answered_at, mut problems) = (None, Instant::now(), None);
    while !wake.is_stopping() {
        let round = tokio::select! {
            round = keeper.round() => round,
            () = wake.stop() => break,
        };
        match round {
            Ok(round) => {
                answered_at = Instant::now();
                round.inputs.tell(&mut inputs, keeper.version);
                let report = Report { urls: urls.clone(), ..keeper.report(round) };
                if report.error != problems {
                    problems.clone_from(&report.error);
                    tracing::warn!(problems, "MediaMTX does not take all that it should");
                }
                told.send_replace(report);
            }
            Err(error) if answered_at.elapsed() > LONGEST_SILENCE => {
                return Err(LifeError::Hangs(error));
            }
            Err(error) => {
                let error = Some(Chain(&error).to_string());
                told.send_modify(|report| {
                    report.is_connected = false;
                    report.error = error;
                });
            }
        }
        wake.rest(INTERVAL).await;
    }
    Ok(())
}

async fn meet(client: &Client, host: &Arc<Host>, version: Version) -> Result<Keeper, LifeError> {
    let mut last = None;
    let met = async {
        loop {
            match Keeper::meet(client, host, Some(version)).await {
                Ok(keeper) => return keeper,
                Err(error) => last = Some(error),
            }
            sleep(START_INTERVAL).await;
        }
    };
    match timeout(LONGEST_START, met).await {
        Ok(keeper) => Ok(keeper),
        Err(_) => Err(LifeError::Silent(last)),
    }
}
