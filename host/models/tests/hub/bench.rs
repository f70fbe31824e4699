//! What the tests have in common: a small model, a cache of its own and how it is pulled.

use host_models::{Cancel, Event, Hub, ModelId, PullError, Pulled, Timing, Wish};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;
use test_hub::{Reply, Repo, Seen, StandIn};

pub const ID: &str = "org/name";

/// Long enough for a busy machine.
const PATIENT: Duration = Duration::from_secs(20);

/// A hub and an empty cache.
pub struct Bench {
    pub hub: StandIn,
    pub cache: TempDir,
    pub stall: Duration,
}

/// Bytes that repeat nowhere near.
pub fn weights() -> Vec<u8> {
    (0..300_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

/// An autoencoder: a small file and a large one.
pub fn autoencoder() -> Repo {
    let files = [
        ("README.md", b"read me".to_vec()),
        ("config.json", b"{}".to_vec()),
        ("diffusion_pytorch_model.safetensors", weights()),
    ];
    let files = files.map(|(name, bytes)| (name.to_owned(), bytes)).into();
    Repo { id: ID.to_owned(), files }
}

pub fn wish() -> Wish {
    Wish::new(ModelId::parse(ID).expect("an id"))
}

impl Bench {
    pub fn of(repo: Repo) -> Self {
        Self::with(repo, |_, right| right)
    }

    pub fn with(repo: Repo, hook: impl Fn(&Seen, Reply) -> Reply + Send + Sync + 'static) -> Self {
        Self::over(StandIn::start(repo, hook))
    }

    pub fn over(hub: StandIn) -> Self {
        Self { hub, cache: tempfile::tempdir().expect("a folder"), stall: PATIENT }
    }

    pub fn client(&self, more: &[(&str, &str)]) -> Hub {
        let cache = self.cache.path().as_os_str().to_owned();
        let mut variables: Vec<(OsString, OsString)> = vec![
            ("HF_ENDPOINT".into(), self.hub.endpoint().into()),
            ("HF_HUB_CACHE".into(), cache),
        ];
        variables.extend(more.iter().map(|(name, value)| (name.into(), value.into())));
        let mut hub = Hub::from_environment(variables).expect("good settings");
        let backoff = Duration::from_millis(1);
        hub.timing = Timing { stall: self.stall, backoff, ..Timing::default() };
        hub
    }

    pub fn pull(&self) -> Result<Pulled, PullError> {
        self.pull_with(&wish(), &mut |_| ())
    }

    pub fn pull_with(
        &self,
        wish: &Wish,
        report: &mut dyn FnMut(Event<'_>),
    ) -> Result<Pulled, PullError> {
        self.client(&[]).pull(wish, &Cancel::default(), report)
    }

    pub fn folder(&self) -> PathBuf {
        self.cache.path().join("models--org--name")
    }

    /// Names of what is in `blobs`.
    pub fn blobs(&self) -> Vec<String> {
        names(&self.folder().join("blobs"))
    }

    /// Nothing of the model may be found by who looks for it.
    pub fn assert_unseen(&self) {
        assert_eq!(names(&self.folder().join("snapshots")), [""; 0]);
        assert_eq!(names(&self.folder().join("refs")), [""; 0]);
    }

    /// All of it must be there, by the paths that plugins take.
    pub fn assert_whole(&self, pulled: &Pulled) {
        let commit = fs::read_to_string(self.folder().join("refs/main")).expect("a ref");
        assert_eq!(pulled.folder, self.folder().join("snapshots").join(commit));
        let read = |name: &str| fs::read(pulled.folder.join(name)).expect(name);
        assert_eq!(read("config.json"), b"{}");
        assert!(read("diffusion_pytorch_model.safetensors") == weights());
        assert!(self.blobs().iter().all(|name| !name.contains("incomplete")));
    }
}

pub fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<_> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}
