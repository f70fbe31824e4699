//! Chooses a back end for the process, loads networks into it and runs them.
//!
//! Wanted is ONNX Runtime, on TensorRT, else CUDA, else the CPU, each tried strictly; without the library candle takes
//! over. What was chosen, and why the better ones were not, is data for the status report.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::candle::Params;
use crate::engines::{Engines, EnginesError};
use crate::files::Stored;
use crate::lora::{Fused, LoraError, Patches};
use crate::nets::Network;
use crate::onnx::{
    self, Declared, FileError, FileSession, Merged, Opener, Provider, Refusal, Runtime,
    RuntimeError, Session,
};
use crate::ops::OpError;
use crate::original::OriginalError;
use crate::resident::Resident;
use crate::sizes::Sizes;
use crate::tensor::Tensor;
use crate::weights::{Place, Weights, WeightsError};

/// The back end an operator or a test insists on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// ONNX Runtime when it is there, else candle.
    Any,
    Onnx,
    Candle,
}

/// How networks may be run.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    pub backend: Backend,
    /// Providers of ONNX Runtime to try, best first. Without the CPU among them, a GPU that does not work is an error.
    pub providers: Vec<Provider>,
    /// Where ONNX Runtime's library lies, unless `ORT_DYLIB_PATH` names one.
    pub runtime: PathBuf,
    /// Where what providers build is kept.
    pub engines: PathBuf,
    /// Whether CUDA may replay runs as graphs.
    pub has_cuda_graphs: bool,
    /// Threads for all networks of the process together; the first engine's count.
    pub threads: usize,
}

/// Why no engine could be started.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    #[error("cannot start {threads} threads for candle")]
    Threads { threads: usize, source: rayon::ThreadPoolBuildError },
}

/// Why a network could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error(transparent)]
    Weights(#[from] WeightsError),
    #[error(transparent)]
    Network(#[from] OpError),
    #[error(transparent)]
    Original(#[from] OriginalError),
    #[error(transparent)]
    Lora(#[from] LoraError),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Engines(#[from] EnginesError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error("the network of {} needs ONNX Runtime, which is not there; `./dev setup` puts it there", path.display())]
    NeedsRuntime { path: PathBuf },
    #[error("no provider of ONNX Runtime takes the network of {}: {}", path.display(), list(refused))]
    Refused { path: PathBuf, refused: Vec<Refusal> },
    #[error("loading was cancelled")]
    Cancelled,
}

/// Weights to load, what is changed in them on the way, and for what inputs.
#[derive(Clone, Debug)]
pub struct Source<'a> {
    pub weights: Stored,
    pub patches: &'a Patches,
    /// Only a provider that compiles needs to know.
    pub sizes: Option<Sizes>,
}

impl Source<'_> {
    fn plain(weights: Stored) -> Self {
        static NONE: Patches = Patches::NONE;
        Self { weights, patches: &NONE, sizes: None }
    }
}

impl<'a> From<&'a Stored> for Source<'a> {
    fn from(weights: &'a Stored) -> Self {
        Self::plain(weights.clone())
    }
}

impl<'a> From<&'a Path> for Source<'a> {
    fn from(weights: &'a Path) -> Self {
        Self::plain(Stored::file(weights))
    }
}

impl<'a> From<&'a PathBuf> for Source<'a> {
    fn from(weights: &'a PathBuf) -> Self {
        weights.as_path().into()
    }
}

/// Why a network could not be run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Network(#[from] OpError),
    #[error("the back end could not run the network")]
    Backend(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("input `{name}` has shape {found:?}, the network takes {wanted}")]
    Input { name: Cow<'static, str>, wanted: String, found: Vec<usize> },
    #[error("a tensor that lies in {lies} was given to a network in {wanted}")]
    Foreign { lies: &'static str, wanted: &'static str },
    #[error(
        "the network of {} made numbers that are not finite of ones that are; its weights are damaged or too large for half precision: get the file again, or in full precision",
        path.display()
    )]
    NotFinite { path: PathBuf },
    #[error("input `{name}` of the network of {} is not finite; a weaker `guidance_scale` or `delta` may help", path.display())]
    InputNotFinite { name: Cow<'static, str>, path: PathBuf },
}

fn list(refused: &[Refusal]) -> String {
    let entries: Vec<String> =
        refused.iter().map(|one| format!("{}: {}", one.provider, one.reason)).collect();
    entries.join("; ")
}

/// What networks run on, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// `onnx` or `candle`.
    pub backend: &'static str,
    /// `tensorrt`, `cuda` or `cpu`.
    pub provider: &'static str,
    /// What would have been preferred, and why it is not used.
    pub refused: Vec<Refusal>,
}

/// The back end of a process, shared by all its networks.
#[derive(Clone)]
pub struct Engine {
    kind: Kind,
    /// Providers still worth trying; shrinks to what the first network ran on.
    providers: Arc<Mutex<Vec<Provider>>>,
    report: Arc<Mutex<Report>>,
    engines: Engines,
    has_cuda_graphs: bool,
    threads: usize,
}

#[derive(Clone)]
enum Kind {
    Onnx(Runtime),
    Candle(Arc<rayon::ThreadPool>),
}

impl Engine {
    pub fn start(options: &EngineOptions) -> Result<Self, EngineError> {
        let mut report =
            Report { backend: "onnx", provider: Provider::Cpu.name(), refused: Vec::new() };
        let kind = match start_runtime(options) {
            Ok(Some(runtime)) => Kind::Onnx(runtime),
            Ok(None) => Kind::Candle(start_pool(options.threads)?),
            Err(error) if options.backend == Backend::Any => {
                tracing::warn!(%error, "onnx runtime is not available, running on candle");
                report.refused.push(Refusal { provider: "onnx", reason: error.to_string() });
                Kind::Candle(start_pool(options.threads)?)
            }
            Err(error) => return Err(error.into()),
        };
        if matches!(kind, Kind::Candle(_)) {
            report.backend = "candle";
        }
        Ok(Self {
            kind,
            providers: Arc::new(Mutex::new(options.providers.clone())),
            report: Arc::new(Mutex::new(report)),
            engines: Engines::new(&options.engines),
            has_cuda_graphs: options.has_cuda_graphs,
            threads: options.threads,
        })
    }

    /// What networks run on; complete once the first one is loaded.
    pub fn report(&self) -> Report {
        lock(&self.report).clone()
    }

    /// Opens a weights file and loads the network with it. `goes_on` is asked again and again meanwhile, and cancels by
    /// answering false.
    pub fn load<'a, N: Network>(
        &self,
        network: N,
        source: impl Into<Source<'a>>,
        goes_on: &mut dyn FnMut() -> bool,
    ) -> Result<Model<N>, LoadError> {
        let Source { weights: stored, patches, sizes } = source.into();
        let weights = stored.open()?;
        let fused = self.fuse(&network, &weights, patches, goes_on)?;
        let body = match &self.kind {
            Kind::Onnx(runtime) => {
                let merged = Merged { weights: &weights, fused, digest: patches.digest(), sizes };
                Body::Onnx(self.open_session(runtime, &network, merged, goes_on)?)
            }
            Kind::Candle(pool) => {
                Body::Candle(Params::load(&network, &weights, fused, goes_on)?, pool.clone())
            }
        };
        Ok(Model { network, body, path: stored.name() })
    }

    /// Opens a network in an ONNX file of others, for inputs of these sizes. `goes_on` as in [`Engine::load`].
    pub fn load_file(
        &self,
        declared: Declared,
        sizes: Vec<Vec<usize>>,
        goes_on: &mut dyn FnMut() -> bool,
    ) -> Result<FileSession, LoadError> {
        let Kind::Onnx(runtime) = &self.kind else {
            return Err(LoadError::NeedsRuntime { path: declared.path });
        };
        let providers = lock(&self.providers).clone();
        let (session, provider, refused) =
            self.opener(runtime, &providers).open_file(declared, sizes, goes_on)?;
        self.note(provider, refused);
        Ok(session)
    }

    fn opener<'a>(&'a self, runtime: &'a Runtime, providers: &'a [Provider]) -> Opener<'a> {
        let (engines, has_graphs) = (&self.engines, self.has_cuda_graphs);
        Opener { runtime, providers, engines, has_graphs }
    }

    /// The parameters that are not as they lie in the file, by name: those that the patches change, and matrices that are
    /// stored column by column. All others stay in the file.
    fn fuse<N: Network>(
        &self,
        network: &N,
        weights: &Weights,
        patches: &Patches,
        goes_on: &mut dyn FnMut() -> bool,
    ) -> Result<BTreeMap<String, Fused>, LoadError> {
        let mut fused = BTreeMap::new();
        if patches.is_empty() && !weights.has_transposed() {
            return Ok(fused);
        }
        let params = onnx::check(network, weights)?;
        let pool = match &self.kind {
            Kind::Candle(pool) => pool.clone(),
            Kind::Onnx(_) => start_pool(self.threads)?,
        };
        let is_other =
            |param: &str, place: &Place| patches.has(param) || place.transposed.is_some();
        for (param, (_, place)) in
            params.into_iter().filter(|(param, (_, place))| is_other(param, place))
        {
            if !goes_on() {
                return Err(LoadError::Cancelled);
            }
            let values = pool.install(|| patches.fuse(&param, weights, place))?;
            fused.insert(param, values);
        }
        Ok(fused)
    }

    fn open_session<N: Network>(
        &self,
        runtime: &Runtime,
        network: &N,
        weights: Merged<'_>,
        goes_on: &mut dyn FnMut() -> bool,
    ) -> Result<Session, LoadError> {
        let providers = lock(&self.providers).clone();
        let (session, provider, refused) =
            self.opener(runtime, &providers).open(network, weights, goes_on)?;
        self.note(provider, refused);
        Ok(session)
    }

    fn note(&self, provider: Provider, refused: Vec<Refusal>) {
        // What a provider refuses once it refuses again: the next network starts at the one that worked.
        lock(&self.providers)
            .retain(|&other| refused.iter().all(|one| one.provider != other.name()));
        let mut report = lock(&self.report);
        report.provider = provider.name();
        for refusal in refused {
            // Graphs are refused network by network, and some networks are loaded again and again.
            if !report.refused.contains(&refusal) {
                report.refused.push(refusal);
            }
        }
    }
}

fn start_runtime(options: &EngineOptions) -> Result<Option<Runtime>, RuntimeError> {
    if options.backend == Backend::Candle {
        return Ok(None);
    }
    Runtime::start(&options.runtime, options.threads).map(Some)
}

fn start_pool(threads: usize) -> Result<Arc<rayon::ThreadPool>, EngineError> {
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .thread_name(|index| format!("candle-{index}"));
    pool.build().map(Arc::new).map_err(|source| EngineError::Threads { threads, source })
}

/// The data behind these locks is whole after every single change, so a panic elsewhere spoils nothing.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// A network with its weights, ready to run; callable from any thread.
pub struct Model<N> {
    network: N,
    body: Body,
    /// Of its weights, to name it by.
    path: PathBuf,
}

enum Body {
    Onnx(Session),
    Candle(Params, Arc<rayon::ThreadPool>),
}

impl<N: Network + Sync> Model<N> {
    pub fn network(&self) -> &N {
        &self.network
    }

    /// Computes the first output, which of most networks is the only one.
    pub fn run(&self, inputs: &[&Tensor]) -> Result<Tensor, RunError> {
        Ok(self.run_all(inputs)?.swap_remove(0))
    }

    /// Computes all outputs, in the order of [`Network::outputs`]; inputs in that of [`Network::inputs`]. They are
    /// finite: what is not would show as black pictures, and stay in whatever it gets into.
    pub fn run_all(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>, RunError> {
        check_inputs(&self.network, inputs, &[])?;
        let outputs = match &self.body {
            Body::Onnx(session) => session.run(inputs)?,
            Body::Candle(params, pool) => pool.install(|| params.run(&self.network, inputs))?,
        };
        if outputs.iter().all(Tensor::is_finite) { Ok(outputs) } else { Err(self.blame(inputs)) }
    }

    /// Whose fault it is that outputs are not finite.
    fn blame(&self, inputs: &[&Tensor]) -> RunError {
        let path = self.path.clone();
        let ports = self.network.inputs().into_iter();
        match ports.zip(inputs).find(|(_, input)| !input.is_finite()) {
            Some((port, _)) => RunError::InputNotFinite { name: port.name, path },
            None => RunError::NotFinite { path },
        }
    }

    /// Computes the first output; the last inputs are those that `resident` holds. With `keeps` the other outputs stay
    /// where they are computed.
    pub fn run_resident(
        &self,
        inputs: &[&Tensor],
        resident: &[&Resident],
        keeps: bool,
    ) -> Result<(Tensor, Vec<Resident>), RunError> {
        check_inputs(&self.network, inputs, resident)?;
        let (first, kept) = match &self.body {
            Body::Onnx(session) => session.run_resident(inputs, resident, keeps)?,
            Body::Candle(params, pool) => {
                pool.install(|| params.run_resident(&self.network, inputs, resident, keeps))?
            }
        };
        if first.is_finite() { Ok((first, kept)) } else { Err(self.blame(inputs)) }
    }

    /// Zeros where the network is computed.
    pub fn zeros(&self, shape: &[usize]) -> Result<Resident, RunError> {
        match &self.body {
            Body::Onnx(session) => session.zeros(shape),
            Body::Candle(..) => Params::zeros(shape),
        }
    }
}

fn check_inputs<N: Network>(
    network: &N,
    inputs: &[&Tensor],
    resident: &[&Resident],
) -> Result<(), RunError> {
    let mut shapes = inputs.iter().map(|tensor| tensor.shape());
    let mut resident = resident.iter().map(|tensor| tensor.shape());
    for port in network.inputs() {
        let found = shapes.next().or_else(|| resident.next()).unwrap_or_default();
        let mut pairs = found.iter().zip(&port.dims);
        if found.len() != port.dims.len() || !pairs.all(|(&size, dim)| dim.takes(size)) {
            let wanted = format!("{:?}", port.dims);
            return Err(RunError::Input { name: port.name, wanted, found: found.to_vec() });
        }
    }
    Ok(())
}
