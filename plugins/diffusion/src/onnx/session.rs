//! One network in ONNX Runtime, on the first provider that takes it.

use std::path::Path;
use std::sync::Mutex;

use ort::ep::{CUDA, ExecutionProviderDispatch, TensorRT};
use ort::session::SessionInputValue;
use ort::session::builder::SessionBuilder;
use ort::value::TensorRef;
use prost::Message;

use super::graph::{self, Dialect};
use super::runtime::Runtime;
use crate::engine::{LoadError, RunError};
use crate::nets::Network;
use crate::tensor::Tensor;
use crate::weights::Weights;

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
        Dialect { has_fused_attention: self != Self::TensorRt }
    }

    /// What to register; the CPU is always there.
    fn dispatch(self, engines: &Path) -> Option<ExecutionProviderDispatch> {
        match self {
            Self::TensorRt => {
                let cache = engines.display();
                let options = TensorRT::default().with_fp16(true).with_engine_cache(true);
                let options = options.with_engine_cache_path(&cache).with_timing_cache(true);
                Some(options.with_timing_cache_path(&cache).build().error_on_failure())
            }
            Self::Cuda => Some(CUDA::default().build().error_on_failure()),
            Self::Cpu => None,
        }
    }
}

/// A provider that was tried and why it is not used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub provider: &'static str,
    pub reason: String,
}

/// A loaded network and how to call it.
pub struct Session {
    // The library may be called from many threads; the binding wants one caller at a time.
    session: Mutex<ort::session::Session>,
    inputs: Vec<&'static str>,
    output: &'static str,
}

impl Session {
    /// Opens the network on the first of `providers` that works; the refused ones come back with their reasons.
    pub fn open<N: Network>(
        runtime: &Runtime,
        network: &N,
        weights: &Weights,
        providers: &[Provider],
        engines: &Path,
    ) -> Result<(Self, Provider, Vec<Refusal>), LoadError> {
        let mut refused = Vec::new();
        for &provider in providers {
            let model = graph::write(network, weights, provider.dialect())?.encode_to_vec();
            match commit(runtime, provider, &model, weights, engines) {
                Ok(session) => {
                    let inputs = network.inputs().iter().map(|port| port.name).collect();
                    let session = Self {
                        session: Mutex::new(session),
                        inputs,
                        output: network.output().name,
                    };
                    return Ok((session, provider, refused));
                }
                Err(error) => {
                    refused.push(Refusal { provider: provider.name(), reason: error.to_string() })
                }
            }
        }
        Err(LoadError::Refused { path: weights.path().to_owned(), refused })
    }

    pub fn run(&self, inputs: &[&Tensor]) -> Result<Tensor, RunError> {
        // A panic inside the binding leaves the library's own state untouched.
        let mut session = self.session.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let values = self.inputs.iter().zip(inputs).map(|(&name, tensor)| {
            let value = TensorRef::from_array_view((tensor.shape(), tensor.data()))?;
            Ok((name, SessionInputValue::from(value)))
        });
        let values = values.collect::<ort::Result<Vec<_>>>().map_err(backend_error)?;
        let outputs = session.run(values).map_err(backend_error)?;
        let (shape, data) =
            outputs[self.output].try_extract_tensor::<f32>().map_err(backend_error)?;
        Ok(Tensor::new(shape.iter().map(|&dim| dim as usize).collect::<Vec<_>>(), data.to_vec()))
    }
}

fn commit(
    runtime: &Runtime,
    provider: Provider,
    model: &[u8],
    weights: &Weights,
    engines: &Path,
) -> ort::Result<ort::session::Session> {
    let folder = weights.path().parent().unwrap_or(Path::new("/")).to_string_lossy();
    let mut builder = SessionBuilder::new(&runtime.environment)?
        .with_config_entry("session.model_external_initializers_file_folder_path", folder)?;
    if let Some(dispatch) = provider.dispatch(engines) {
        builder = builder.with_execution_providers([dispatch])?;
    }
    builder.commit_from_memory(model)
}

fn backend_error(error: ort::Error) -> RunError {
    RunError::Backend(Box::new(error))
}
