//! Keeps a stream going to an RTMP server: waits until there is something to show, connects, and connects again.

use super::outgoing::{Session, SessionError, Surroundings};
use crate::codecs::Codec;
use crate::path::Path;
use crate::unit::AudioCodec;
use host_ports::{Restream, RestreamState, RestreamStats, RestreamTarget};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject};
use rustls::{ClientConfig, RootCertStore};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant, SystemTime};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_rustls::TlsConnector;
use tokio_util::sync::{CancellationToken, DropGuard};

#[derive(Clone, Debug)]
pub struct RestreamConfig {
    /// A file of certificates in PEM that are believed beside the built-in authorities.
    pub authorities: Option<PathBuf>,
    /// How long a server may take until it takes a stream.
    pub connect_timeout: Duration,
    /// How long a server may take nothing.
    pub stall_timeout: Duration,
    /// The first pause before another attempt; doubled with every failure in a row.
    pub backoff_first: Duration,
    pub backoff_max: Duration,
}

impl Default for RestreamConfig {
    fn default() -> Self {
        Self {
            authorities: None,
            connect_timeout: Duration::from_secs(10),
            stall_timeout: Duration::from_secs(10),
            backoff_first: Duration::from_secs(1),
            backoff_max: Duration::from_secs(30),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum AuthoritiesError {
    #[error("`rtmp.authorities`: cannot read the certificates in {}; it must be a file in PEM", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: pem::Error,
    },
    #[error("`rtmp.authorities`: {} has no certificate of an authority that can be used", .0.display())]
    None(PathBuf),
}

/// What all restreams of a server have in common.
pub(crate) struct Restreaming {
    config: RestreamConfig,
    tls: TlsConnector,
}

impl Restreaming {
    pub fn new(config: RestreamConfig) -> Result<Self, AuthoritiesError> {
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        if let Some(path) = &config.authorities {
            let read = |source| AuthoritiesError::Read { path: path.clone(), source };
            let certificates = CertificateDer::pem_file_iter(path).map_err(read)?;
            let certificates = certificates.collect::<Result<Vec<_>, _>>().map_err(read)?;
            if roots.add_parsable_certificates(certificates).0 == 0 {
                return Err(AuthoritiesError::None(path.clone()));
            }
        }
        // Named here, since the program may have another for other purposes.
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring has the suites of the default versions");
        let tls = builder.with_root_certificates(roots).with_no_client_auth();
        Ok(Self { config, tls: TlsConnector::from(Arc::new(tls)) })
    }
}

/// A path's restream, if it has one.
#[derive(Default)]
pub(crate) struct Restreams(Mutex<Option<Running>>);

struct Running {
    url: String,
    state: Arc<State>,
    /// Dropping it ends the task.
    _stop: DropGuard,
}

struct State {
    stats: Mutex<RestreamStats>,
    bytes_sent: AtomicU64,
    told: Box<dyn Fn(&RestreamStats) + Send + Sync>,
}

impl Restreams {
    /// Takes the place of an earlier one, unless that goes to the same server.
    pub fn set(
        &self,
        wanted: Option<Restream>,
        path: &Weak<Path>,
        restreaming: &Arc<Restreaming>,
        runtime: &Handle,
    ) {
        let mut running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(Restream { url, told }) = wanted else {
            *running = None;
            return;
        };
        if running.as_ref().is_some_and(|running| running.url == url) {
            return;
        }
        let state = Arc::new(State::new(told));
        let stop = CancellationToken::new();
        match RestreamTarget::parse(&url) {
            Ok(target) => {
                let task = Task {
                    path: path.clone(),
                    target,
                    restreaming: restreaming.clone(),
                    state: state.clone(),
                    stop: stop.clone(),
                };
                runtime.spawn(task.run());
            }
            // Until it is set to another.
            Err(error) => state.set(RestreamState::Waiting, Some(error.to_string())),
        }
        *running = Some(Running { url, state, _stop: stop.drop_guard() });
    }

    pub fn end(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    pub fn stats(&self) -> Option<RestreamStats> {
        let running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Some(running.as_ref()?.state.read())
    }
}

impl State {
    fn new(told: Box<dyn Fn(&RestreamStats) + Send + Sync>) -> Self {
        let stats = RestreamStats {
            state: RestreamState::Waiting,
            since: SystemTime::now(),
            error: None,
            bytes_sent: 0,
            reconnects: 0,
        };
        Self { stats: Mutex::new(stats), bytes_sent: AtomicU64::new(0), told }
    }

    fn read(&self) -> RestreamStats {
        let stats = self.stats.lock().unwrap_or_else(PoisonError::into_inner).clone();
        RestreamStats { bytes_sent: self.bytes_sent.load(Relaxed), ..stats }
    }

    /// Moves on. The last error stays until the server takes the stream.
    fn set(&self, state: RestreamState, error: Option<String>) {
        let mut stats = self.stats.lock().unwrap_or_else(PoisonError::into_inner);
        if stats.state != state {
            stats.state = state;
            stats.since = SystemTime::now();
        }
        if error.is_some() || state == RestreamState::Live {
            stats.error = error;
        }
        drop(stats);
        (self.told)(&self.read());
    }

    fn count_reconnect(&self) {
        self.stats.lock().unwrap_or_else(PoisonError::into_inner).reconnects += 1;
    }
}

struct Task {
    path: Weak<Path>,
    target: RestreamTarget,
    restreaming: Arc<Restreaming>,
    state: Arc<State>,
    stop: CancellationToken,
}

impl Task {
    async fn run(self) {
        let (config, mut failures) = (&self.restreaming.config, 0);
        let Some(mut shown) = self.path.upgrade().map(|path| path.shown()) else { return };
        loop {
            if !self.wait_for_a_frame(&mut shown).await {
                return;
            }
            let began = Instant::now();
            let error = self.attempt().await;
            if self.stop.is_cancelled() {
                return;
            }
            // A server that took the stream for a while is no worse than at first.
            if began.elapsed() > config.connect_timeout + config.backoff_max {
                failures = 0;
            }
            let error = self.target.redacted(&error.to_string());
            tracing::info!(server = ?self.target, error, "restream interrupted");
            self.state.set(RestreamState::Waiting, Some(error));
            let pause = backoff(config, failures, chance());
            failures += 1;
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.stop.cancelled() => return,
            }
            self.state.count_reconnect();
        }
    }

    /// False if that is no longer wanted.
    async fn wait_for_a_frame(&self, shown: &mut watch::Receiver<bool>) -> bool {
        tokio::select! {
            has_shown = shown.wait_for(|has_shown| *has_shown) => has_shown.is_ok(),
            () = self.stop.cancelled() => false,
        }
    }

    async fn attempt(&self) -> SessionError {
        self.state.set(RestreamState::Connecting, None);
        let config = &self.restreaming.config;
        let opened = tokio::select! {
            opened = Session::open(&self.target, &self.restreaming.tls, config.connect_timeout) => opened,
            () = self.stop.cancelled() => return SessionError::Stopped,
        };
        let session = match opened {
            Ok(session) => session,
            Err(error) => return error,
        };
        let Some(path) = self.path.upgrade() else { return SessionError::Stopped };
        let feed = match path.listen(Codec::H264, Some(AudioCodec::Aac)) {
            Ok(feed) => feed,
            Err(error) => return error.into(),
        };
        drop(path);
        tracing::info!(server = ?self.target, "restream live");
        self.state.set(RestreamState::Live, None);
        let (bytes_sent, stop) = (&self.state.bytes_sent, &self.stop);
        let stall_timeout = config.stall_timeout;
        session.run(Surroundings { feed, bytes_sent, stall_timeout, stop }).await
    }
}

/// The pause after so many failures in a row, by up to a quarter shorter or longer: of many streams to one server not all
/// come back at once.
fn backoff(config: &RestreamConfig, failures: u32, chance: f64) -> Duration {
    let pause = config.backoff_first.saturating_mul(2_u32.saturating_pow(failures));
    pause.min(config.backoff_max).mul_f64(0.75 + chance / 2.0)
}

/// From 0 to 1.
fn chance() -> f64 {
    let (random, _) = uuid::Uuid::new_v4().as_u64_pair();
    // The version's bits are among the lower ones.
    (random >> 32) as f64 / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_limit_and_are_no_two_alike() {
        let config = RestreamConfig::default();
        let pauses: Vec<_> =
            (0..7).map(|failures| backoff(&config, failures, 0.5).as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(backoff(&config, 1, 0.0), Duration::from_millis(1500));
        assert_eq!(backoff(&config, u32::MAX, 1.0), Duration::from_millis(37_500));
        let chances: Vec<f64> = (0..100).map(|_| chance()).collect();
        assert!(chances.iter().all(|chance| (0.0..=1.0).contains(chance)));
        assert!(chances.iter().any(|chance| *chance < 0.4));
        assert!(chances.iter().any(|chance| *chance > 0.6));
    }
}
