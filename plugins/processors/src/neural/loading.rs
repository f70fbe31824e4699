//! Networks found, loaded and shared: streams with equal ones have one copy.

use super::error::NeuralError;
use super::ports::PictureInput;
use super::sources::Source;
use plugin_api::{FrameFormat, Host, LogLevel};
use plugins_diffusion::engine::{Backend, Engine, EngineOptions, Model, Report};
use plugins_diffusion::nets::Hed;
use plugins_diffusion::onnx::{Declared, FileError, FileSession, Provider, wants_graphs};
use plugins_diffusion::params::RUNTIME;
use plugins_diffusion::resolve::ModelRoots;
use plugins_diffusion::shared::Shared;
use plugins_diffusion::tensor::Tensor;
use std::path::{Path, PathBuf};
use std::sync::Arc;

static FILES: Shared<Key, FileSession> = Shared::new();
static HEDS: Shared<Key, Model<Hed>> = Shared::new();

/// All that a loaded network depends on.
#[derive(Clone, PartialEq)]
struct Key {
    path: PathBuf,
    providers: Vec<Provider>,
    sizes: Vec<Vec<usize>>,
}

/// Loads what one processor needs.
pub struct Loader<'a> {
    pub host: &'a Host,
    /// The size of the pictures that will come.
    pub input: FrameFormat,
    /// Where to compute, best first.
    pub providers: &'a [Provider],
}

/// Of processors that are named after TensorRT.
pub const COMPILED: &[Provider] = &[Provider::TensorRt, Provider::Cuda, Provider::Cpu];
pub const PLAIN: &[Provider] = &[Provider::Cuda, Provider::Cpu];

/// A network in a file of others.
pub struct Network(Arc<FileSession>);

impl Network {
    pub fn path(&self) -> &Path {
        &self.0.declared().path
    }

    /// The sizes of its inputs.
    pub fn sizes(&self) -> &[Vec<usize>] {
        self.0.sizes()
    }

    /// All outputs, which need not be finite.
    pub fn run(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>, NeuralError> {
        Ok(self.0.run(inputs)?)
    }
}

impl Loader<'_> {
    pub fn size(&self) -> (usize, usize) {
        (self.input.width as usize, self.input.height as usize)
    }

    /// The network of a file, for inputs of the sizes that `sizes` says when it knows what the file takes.
    pub fn load<T>(
        &self,
        source: &Source,
        sizes: impl FnOnce(&Declared) -> Result<(T, Vec<Vec<usize>>), FileError>,
    ) -> Result<(T, Network), NeuralError> {
        let path = find(self.host, source)?;
        let declared = Declared::read(&path)?;
        let (ports, sizes) = sizes(&declared)?;
        let key = Key { path, providers: self.providers()?, sizes: sizes.clone() };
        let load = || {
            let engine = self.engine(Backend::Onnx)?;
            let session = engine.load_file(declared, sizes, &mut self.goes_on(source))?;
            self.tell(source, &engine.report());
            Ok::<_, NeuralError>(session)
        };
        let shared = FILES.get(key, &mut self.goes_on(source), load);
        Ok((ports, Network(shared.ok_or(NeuralError::Cancelled)??)))
    }

    /// One that takes a picture alone, of the wanted size where the file leaves that open.
    pub fn load_for_picture(
        &self,
        source: &Source,
        wanted: (usize, usize),
    ) -> Result<(PictureInput, (usize, usize), Network), NeuralError> {
        let ((input, size), network) = self.load(source, |declared| {
            let input = PictureInput::of(declared, 0)?;
            let size = input.size(wanted);
            Ok(((input, size), vec![input.shape(size)]))
        })?;
        Ok((input, size, network))
    }

    /// The one network that we write ourselves.
    pub fn load_hed(&self, source: &Source) -> Result<Arc<Model<Hed>>, NeuralError> {
        let path = find(self.host, source)?;
        let key = Key { path: path.clone(), providers: self.providers()?, sizes: vec![] };
        let load = || {
            let engine = self.engine(Backend::Any)?;
            let model = engine.load(Hed, path.as_path(), &mut self.goes_on(source))?;
            self.tell(source, &engine.report());
            Ok::<_, NeuralError>(model)
        };
        let shared = HEDS.get(key, &mut self.goes_on(source), load);
        shared.ok_or(NeuralError::Cancelled)?
    }

    fn engine(&self, backend: Backend) -> Result<Engine, NeuralError> {
        let environment = self.host.environment();
        Ok(Engine::start(&EngineOptions {
            backend,
            providers: self.providers()?,
            runtime: environment.engines_dir.join(RUNTIME),
            engines: environment.engines_dir.clone(),
            has_cuda_graphs: false,
            threads: environment.threads.max(1) as usize,
        })?)
    }

    /// A pipeline that captures CUDA's graphs puts that off for what its own library does on the card, and does not know of
    /// ours, which would break them.
    fn providers(&self) -> Result<Vec<Provider>, NeuralError> {
        let has_graphs = wants_graphs()?;
        Ok(if has_graphs { vec![Provider::Cpu] } else { self.providers.to_vec() })
    }

    fn goes_on(&self, source: &Source) -> impl FnMut() -> bool + use<'_> {
        let what = format!("loading {}", source.model);
        move || {
            self.host.progress(0.0, &what);
            !self.host.is_cancelled()
        }
    }

    fn tell(&self, source: &Source, report: &Report) {
        let Report { backend, provider, refused } = report;
        let text = format!("{} runs on {backend}, {provider}", source.model);
        self.host.log(LogLevel::Info, &text);
        for refusal in refused {
            let text = format!("not on {}: {}", refusal.provider, refusal.reason);
            self.host.log(LogLevel::Info, &text);
        }
    }
}

/// The file, where it is on this machine.
pub fn find(host: &Host, source: &Source) -> Result<PathBuf, NeuralError> {
    let roots = ModelRoots::from_environment(host.environment().models_dir.clone());
    Ok(roots.resolve_file(source.model, source.file)?)
}
