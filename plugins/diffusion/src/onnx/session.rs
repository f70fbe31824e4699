//! One network in ONNX Runtime, on the first provider that takes it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ort::ep::{ArenaExtendStrategy, CUDA, ExecutionProviderDispatch, TensorRT};
use ort::session::SessionInputValue;
use ort::session::builder::SessionBuilder;
use ort::value::{DynValue, Tensor as OrtTensor, TensorRef};
use prost::Message;

use super::graph::{self, Dialect};
use super::messages::ModelProto;
use super::runtime::Runtime;
use crate::engine::{LoadError, RunError};
use crate::lora::Fused;
use crate::nets::Network;
use crate::ops::OpError;
use crate::tensor::Tensor;
use crate::weights::Weights;

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
            Self::Cuda => Dialect { has_fused_attention: true, has_half: true, merges_runs: false },
            Self::Cpu => Dialect { has_fused_attention: true, has_half: false, merges_runs: true },
        }
    }

    /// What to register; the CPU is always there. Without `has_half` nothing is computed in half precision.
    fn dispatch(self, engines: &Path, has_half: bool) -> Option<ExecutionProviderDispatch> {
        match self {
            Self::TensorRt => {
                let cache = engines.display();
                let options = TensorRT::default().with_fp16(has_half).with_engine_cache(true);
                let options = options.with_engine_cache_path(&cache).with_timing_cache(true);
                Some(options.with_timing_cache_path(&cache).build().error_on_failure())
            }
            Self::Cuda => Some(cuda().build().error_on_failure()),
            Self::Cpu => None,
        }
    }
}

/// Every network has an arena of its own, which grows by what is asked for: doubling would keep memory that no other
/// network can use.
fn cuda() -> CUDA {
    CUDA::default().with_arena_extend_strategy(ArenaExtendStrategy::SameAsRequested)
}

/// A provider that was tried and why it is not used.
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
    /// Where providers keep what they build.
    pub engines: &'a Path,
}

/// The parameters of a network: a file, and those that are in memory instead of what the file has.
pub struct Merged<'a> {
    pub weights: &'a Weights,
    pub fused: BTreeMap<String, Fused>,
    /// Tells what is in memory apart from what other patches would have made.
    pub digest: u64,
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
        let Merged { weights, fused, digest } = merged;
        let mut refused = Vec::new();
        let held = hold(network, weights, fused)?;
        for &provider in self.providers {
            let mut model = graph::write(network, weights, provider.dialect())?;
            name(&mut model, digest);
            let has_half = !network.needs_full_precision();
            let dispatch = provider.dispatch(self.engines, has_half);
            let job = Job { dispatch, model: &model.encode_to_vec(), weights, held: &held };
            match self.commit(job, goes_on)? {
                Ok(session) => {
                    let inputs = network.inputs().into_iter().map(|port| port.name).collect();
                    let outputs = network.outputs().into_iter().map(|port| port.name).collect();
                    let session = Mutex::new(session);
                    let session = Session { session, provider, inputs, outputs };
                    return Ok((session, provider, refused));
                }
                Err(error) => {
                    refused.push(Refusal { provider: provider.name(), reason: error.to_string() })
                }
            }
        }
        Err(LoadError::Refused { path: weights.path().to_owned(), refused })
    }

    fn commit(
        &self,
        job: Job<'_>,
        goes_on: &mut dyn FnMut() -> bool,
    ) -> Result<ort::Result<ort::session::Session>, LoadError> {
        let (runtime, model) = (self.runtime.clone(), job.model);
        let mut is_cancelled = false;
        let session = watched(
            move |canceler| {
                let mut builder = builder(&runtime, job)?;
                // The receiver waits for this thread, so the canceler arrives.
                let _ = canceler.send(builder.canceler());
                builder.commit_from_memory(model)
            },
            |canceler| {
                is_cancelled |= !goes_on();
                // Where the library cannot stop, its session is thrown away once it is made.
                let _ = canceler.filter(|_| is_cancelled).map(|canceler| canceler.cancel());
            },
        );
        if is_cancelled { Err(LoadError::Cancelled) } else { Ok(session) }
    }
}

/// Runs `work` on a thread of its own, as making a session takes minutes for a large network; meanwhile `beat` is called
/// with what the work sent for ending it.
fn watched<T: Send, C: Send>(
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

/// What one session is made of.
struct Job<'a> {
    dispatch: Option<ExecutionProviderDispatch>,
    model: &'a [u8],
    weights: &'a Weights,
    held: &'a [Held],
}

fn builder(runtime: &Runtime, job: Job<'_>) -> ort::Result<SessionBuilder> {
    let folder = job.weights.path().parent().unwrap_or(Path::new("/")).to_string_lossy();
    let mut builder = SessionBuilder::new(&runtime.environment)?
        .with_config_entry("session.model_external_initializers_file_folder_path", folder)?;
    for (param, value) in job.held {
        builder = builder.with_external_initializer(param, value.clone())?;
    }
    match job.dispatch {
        Some(dispatch) => Ok(builder.with_execution_providers([dispatch])?),
        None => Ok(builder),
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

/// Providers keep what they build under the graph's name and structure; weights that are in memory do not show there.
fn name(model: &mut ModelProto, digest: u64) {
    if let Some(graph) = model.graph.as_mut().filter(|_| digest != 0) {
        graph.name = format!("{}_{digest:016x}", graph.name);
    }
}

/// A loaded network and how to call it.
pub struct Session {
    // The library may be called from many threads; the binding wants one caller at a time.
    pub(super) session: Mutex<ort::session::Session>,
    pub(super) provider: Provider,
    pub(super) inputs: Vec<Cow<'static, str>>,
    pub(super) outputs: Vec<Cow<'static, str>>,
}

impl Session {
    pub fn run(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>, RunError> {
        // A panic inside the binding leaves the library's own state untouched.
        let mut session = self.session.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let values = self.inputs.iter().zip(inputs).map(|(name, tensor)| {
            let value = TensorRef::from_array_view((tensor.shape(), tensor.data()))?;
            Ok((name.as_ref(), SessionInputValue::from(value)))
        });
        let values = values.collect::<ort::Result<Vec<_>>>().map_err(backend_error)?;
        let outputs = session.run(values).map_err(backend_error)?;
        let to_host = |name: &Cow<'static, str>| to_host(&outputs[name.as_ref()]);
        self.outputs.iter().map(to_host).collect::<ort::Result<_>>().map_err(backend_error)
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
    use super::watched;
    use std::sync::mpsc::channel;

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
