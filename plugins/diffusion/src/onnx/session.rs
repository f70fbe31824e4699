//! One network in ONNX Runtime, on the first provider that takes it.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use ort::ep::ExecutionProviderDispatch;
use ort::memory::{AllocationDevice, AllocatorType, MemoryInfo, MemoryType};
use ort::session::builder::SessionBuilder;
use ort::session::{RunOptions, Session as OrtSession, SessionInputValue};
use ort::value::{DynValue, Tensor as OrtTensor, TensorRef};
use prost::Message;

use super::captures::{CAPTURES, LetGo};
use super::cuda;
use super::fixed::{self, Fixed};
use super::graph::{self, Dialect};
use super::operators;
use super::runtime::Runtime;
use super::tensorrt::Build;
use crate::engine::{LoadError, RunError};
use crate::engines::Engines;
use crate::lora::Fused;
use crate::nets::Network;
use crate::ops::OpError;
use crate::sizes::Sizes;
use crate::tensor::Tensor;
use crate::weights::{Weights, WeightsError};

/// What a refusal calls the graphs of CUDA.
const GRAPHS: &str = "cuda graphs";
const NO_BOUNDS: &str = "TensorRT needs bounds for all sizes, and cached attention has none";

/// How often the caller is asked while a session is being made.
const BEAT: Duration = Duration::from_millis(200);

/// Where ONNX Runtime computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provider {
    TensorRt,
    Cuda,
    Cpu,
}

impl Provider {
    pub const fn name(self) -> &'static str {
        match self {
            Self::TensorRt => "tensorrt",
            Self::Cuda => "cuda",
            Self::Cpu => "cpu",
        }
    }

    fn dialect(self) -> Dialect {
        // TensorRT chooses the number format of every layer itself.
        match self {
            Self::TensorRt => Dialect::PLAIN,
            Self::Cuda => Dialect::CUDA,
            Self::Cpu => Dialect::CPU,
        }
    }

    /// Where it computes, with the number among those of its kind.
    pub(super) fn device(self) -> (AllocationDevice<'static>, i32) {
        match self {
            Self::Cpu => (AllocationDevice::CPU, 0),
            Self::Cuda | Self::TensorRt => (AllocationDevice::CUDA, 0),
        }
    }

    pub(super) fn memory(self) -> ort::Result<MemoryInfo<'static>> {
        let kind = match self {
            Self::Cpu => MemoryType::CPUOutput,
            Self::Cuda | Self::TensorRt => MemoryType::Default,
        };
        let (device, number) = self.device();
        MemoryInfo::new(device, number, AllocatorType::Device, kind)
    }
}

/// A provider, or a part of what it can do, that was tried and why it is not used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub provider: &'static str,
    pub reason: String,
}

/// What sessions are made with.
pub struct Opener<'a> {
    pub runtime: &'a Runtime,
    /// The providers to try, best first.
    pub providers: &'a [Provider],
    /// Where what providers build is kept.
    pub engines: &'a Engines,
    /// Whether CUDA may replay runs as graphs.
    pub has_graphs: bool,
}

/// The parameters of a network: a file, and those that are in memory instead of what the file has.
pub struct Merged<'a> {
    pub weights: &'a Weights,
    pub fused: BTreeMap<String, Fused>,
    /// Tells what is in memory apart from what other patches would have made.
    pub digest: u64,
    /// What the network will be given, where that is known.
    pub sizes: Option<Sizes>,
}

/// A parameter in memory. The session keeps it alive: the library goes on reading from there.
type Held = (String, Arc<DynValue>);

/// An open session, where it runs, and the better providers that refused it.
pub type Opened = (Session, Provider, Vec<Refusal>);

impl Opener<'_> {
    /// Opens the network on the first provider that works. `goes_on` is asked now and then, and cancels by answering
    /// false.
    pub fn open<N: Network>(
        &self,
        network: &N,
        merged: Merged<'_>,
        goes_on: &mut dyn FnMut() -> bool,
    ) -> Result<Opened, LoadError> {
        let Merged { weights, fused, digest, sizes } = merged;
        let mut refused = Vec::new();
        let held = hold(network, weights, fused)?;
        for &provider in self.providers {
            let model = graph::write(network, weights, provider.dialect())?.encode_to_vec();
            let work = Work { model: &model, weights, held: &held };
            let outcome = match provider {
                Provider::TensorRt => {
                    let has_half = !network.needs_full_precision();
                    match Build::new(&network.inputs(), sizes, has_half) {
                        Some(build) => self.compile(&build, work, digest, goes_on)?.map(plain),
                        None => Err(ort::Error::new(NO_BOUNDS)),
                    }
                }
                Provider::Cuda => self.open_cuda(network, work, &mut refused, goes_on)?,
                Provider::Cpu => self.commit(work, None, goes_on)?.map(plain),
            };
            match outcome {
                Ok((session, fixed)) => {
                    let inputs = network.inputs().into_iter().map(|port| port.name).collect();
                    let outputs = network.outputs().into_iter().map(|port| port.name).collect();
                    let session = Mutex::new(session);
                    let session = Session { session, fixed, provider, inputs, outputs };
                    return Ok((session, provider, refused));
                }
                Err(error) => {
                    refused.push(Refusal { provider: provider.name(), reason: error.to_string() })
                }
            }
        }
        Err(LoadError::Refused { path: weights.path().to_owned(), refused })
    }

    /// Opens the network in CUDA, with graphs where that works; where not, `refused` is told why.
    fn open_cuda<N: Network>(
        &self,
        network: &N,
        work: Work<'_>,
        refused: &mut Vec<Refusal>,
        goes_on: &mut dyn FnMut() -> bool,
    ) -> Result<ort::Result<Made>, LoadError> {
        let is_half = graph::is_half(network, work.weights)?;
        let mut open = |has_graphs| {
            let dispatch = cuda::options(is_half, has_graphs).build().error_on_failure();
            self.commit(work, Some(dispatch), goes_on)
        };
        if !self.has_graphs {
            return Ok(open(false)?.map(plain));
        }
        let opened = fixed::open(fixed::refusal(&network.inputs(), &CAPTURES), open)?;
        Ok(opened.and_then(|(session, reason)| match reason {
            None => Ok((session, Some(Fixed::new(&CAPTURES)?))),
            Some(reason) => {
                let reason = format!("{reason} ({})", work.weights.path().display());
                refused.push(Refusal { provider: GRAPHS, reason });
                Ok(plain(session))
            }
        }))
    }

    /// Opens the network in TensorRT, with the engine that is kept, or builds that.
    fn compile(
        &self,
        build: &Build,
        work: Work<'_>,
        changes: u64,
        goes_on: &mut dyn FnMut() -> bool,
    ) -> Result<ort::Result<LetGo<OrtSession>>, LoadError> {
        let dispatch = |entry: Option<&Path>| build.dispatch(self.engines.folder(), entry);
        // Where there is no TensorRT, its refusal comes before the weights are read for the key.
        let is_there = SessionBuilder::new(&self.runtime.environment)
            .and_then(|builder| Ok(builder.with_execution_providers([dispatch(None)])?));
        if let Err(error) = is_there {
            return Ok(Err(error));
        }
        if !build.is_kept() {
            return self.commit(work, Some(dispatch(None)), goes_on);
        }
        let goes_on = RefCell::new(goes_on);
        let mut is_wanted = || (goes_on.borrow_mut())();
        let weights: Vec<&Path> = work.weights.paths().collect();
        let key = build.key(work.model, &weights, changes, &self.runtime.library, &mut is_wanted);
        let key = key.map_err(|source| match source.kind() {
            io::ErrorKind::Interrupted => LoadError::Cancelled,
            _ => WeightsError::Read { path: work.weights.path().to_owned(), source }.into(),
        })?;
        self.engines.open(
            &key,
            |entry| self.commit(work, Some(dispatch(entry)), *goes_on.borrow_mut()),
            &mut is_wanted,
        )
    }

    fn commit(
        &self,
        work: Work<'_>,
        dispatch: Option<ExecutionProviderDispatch>,
        goes_on: &mut dyn FnMut() -> bool,
    ) -> Result<ort::Result<LetGo<OrtSession>>, LoadError> {
        let runtime = self.runtime.clone();
        let build = move || builder(&runtime, work, dispatch);
        make(build, |builder| builder.commit_from_memory(work.model), goes_on)
    }
}

/// Makes a session, which `goes_on` can end.
pub(super) fn make(
    build: impl FnOnce() -> ort::Result<SessionBuilder> + Send,
    commit: impl FnOnce(&mut SessionBuilder) -> ort::Result<OrtSession> + Send,
    goes_on: &mut dyn FnMut() -> bool,
) -> Result<ort::Result<LetGo<OrtSession>>, LoadError> {
    let mut is_cancelled = false;
    let session = watched(
        move |canceler| {
            let _making = CAPTURES.making();
            let mut builder = build()?;
            // The receiver waits for this thread, so the canceler arrives.
            let _ = canceler.send(builder.canceler());
            commit(&mut builder).map(LetGo::new)
        },
        |canceler| {
            is_cancelled |= !goes_on();
            // Where the library cannot stop, its session is thrown away once it is made.
            let _ = canceler.filter(|_| is_cancelled).map(|canceler| canceler.cancel());
        },
    );
    if is_cancelled { Err(LoadError::Cancelled) } else { Ok(session) }
}

/// Runs `work` on a thread of its own, as making a session takes minutes for a large network; meanwhile `beat` is called
/// with what the work sent for ending it.
pub(super) fn watched<T: Send, C: Send>(
    work: impl FnOnce(&Sender<C>) -> T + Send,
    mut beat: impl FnMut(Option<&C>),
) -> T {
    let (sender, receiver) = channel();
    std::thread::scope(|scope| {
        let worker = scope.spawn(move || work(&sender));
        let mut canceler = None;
        loop {
            match receiver.recv_timeout(BEAT) {
                Ok(sent) => canceler = Some(sent),
                Err(RecvTimeoutError::Timeout) => beat(canceler.as_ref()),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// A session, and what it needs for graphs if it has them.
type Made = (LetGo<OrtSession>, Option<Fixed>);

fn plain(session: LetGo<OrtSession>) -> Made {
    (session, None)
}

/// What one session is made of.
#[derive(Clone, Copy)]
struct Work<'a> {
    model: &'a [u8],
    weights: &'a Weights,
    held: &'a [Held],
}

fn builder(
    runtime: &Runtime,
    work: Work,
    dispatch: Option<ExecutionProviderDispatch>,
) -> ort::Result<SessionBuilder> {
    let folder = work.weights.folder().to_string_lossy();
    let mut builder = SessionBuilder::new(&runtime.environment)?
        .with_config_entry("session.model_external_initializers_file_folder_path", folder)?;
    for (param, value) in work.held {
        builder = builder.with_external_initializer(param, value.clone())?;
    }
    match dispatch {
        Some(dispatch) => Ok(builder.with_execution_providers([dispatch])?),
        None => Ok(builder.with_operators(operators::domain()?)?),
    }
}

/// The values as the library takes them, in the shape and format that the graph declares.
fn hold<N: Network>(
    network: &N,
    weights: &Weights,
    mut fused: BTreeMap<String, Fused>,
) -> Result<Vec<Held>, LoadError> {
    if fused.is_empty() {
        return Ok(Vec::new());
    }
    let params = graph::check(network, weights)?.into_iter();
    let changed = params.filter_map(|(param, (shape, _))| {
        let values = fused.remove(&param)?;
        Some(to_value(shape, values).map(|value| (param, Arc::new(value))))
    });
    let held = changed.collect::<ort::Result<_>>();
    held.map_err(|error| OpError::Backend(Box::new(error)).into())
}

fn to_value(shape: Vec<usize>, values: Fused) -> ort::Result<DynValue> {
    Ok(match values {
        Fused::F32(values) => OrtTensor::from_array((shape, values))?.into_dyn(),
        Fused::F16(values) => OrtTensor::from_array((shape, values))?.into_dyn(),
        Fused::Bf16(values) => OrtTensor::from_array((shape, values))?.into_dyn(),
    })
}

/// A loaded network and how to call it.
pub struct Session {
    // The library may be called from many threads; the binding wants one caller at a time.
    pub(super) session: Mutex<LetGo<OrtSession>>,
    pub(super) fixed: Option<Fixed>,
    pub(super) provider: Provider,
    pub(super) inputs: Vec<Cow<'static, str>>,
    pub(super) outputs: Vec<Cow<'static, str>>,
}

impl Session {
    pub fn run(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>, RunError> {
        let outputs = match &self.fixed {
            Some(fixed) => fixed.run(self, inputs),
            None => {
                let mut session = self.lock();
                let _running = CAPTURES.running();
                self.run_plain(&mut session, inputs, None)
            }
        };
        outputs.map_err(backend_error)
    }

    /// Runs on inputs as they lie in the host's memory.
    pub(super) fn run_plain(
        &self,
        session: &mut OrtSession,
        inputs: &[&Tensor],
        options: Option<&RunOptions>,
    ) -> ort::Result<Vec<Tensor>> {
        let values = self.inputs.iter().zip(inputs).map(|(name, tensor)| {
            let value = TensorRef::from_array_view((tensor.shape(), tensor.data()))?;
            Ok((name.as_ref(), SessionInputValue::from(value)))
        });
        let values = values.collect::<ort::Result<Vec<_>>>()?;
        let outputs = match options {
            Some(options) => session.run_with_options(values, options)?,
            None => session.run(values)?,
        };
        self.outputs.iter().map(|name| to_host(&outputs[name.as_ref()])).collect()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, LetGo<OrtSession>> {
        // A panic inside the binding leaves the library's own state untouched.
        self.session.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

pub(super) fn to_host(value: &DynValue) -> ort::Result<Tensor> {
    let (shape, data) = value.try_extract_tensor::<f32>()?;
    let shape: Vec<usize> = shape.iter().map(|&dim| dim as usize).collect();
    Ok(Tensor::new(shape, data.to_vec()))
}

pub(super) fn backend_error(error: ort::Error) -> RunError {
    RunError::Backend(Box::new(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_work_is_watched_and_can_be_ended() {
        let mut beats = 0;
        let result = watched(
            |canceler| {
                let (cancel, cancelled) = channel();
                canceler.send(cancel).unwrap();
                cancelled.recv().unwrap()
            },
            |canceler| {
                beats += 1;
                let _ = canceler.filter(|_| beats == 2).map(|canceler| canceler.send("ended"));
            },
        );
        assert_eq!((result, beats >= 2), ("ended", true));
    }
}
