//! Runs of a network on tensors that stay where they are, so that CUDA can replay them as a graph.
//!
//! A graph repeats a run at the addresses it had. So each shape of inputs has tensors of its own on the device, of which
//! inputs are copied to the first ones before a run and outputs from the last ones after it. The first call of a shape
//! runs without a graph; then its graph is captured on zeros, and used from then on if a replay on the inputs of that call
//! gives what the call gave. Up to [`MOST_SHAPES`] are kept until the session ends; calls of further ones, and those that
//! come while a session is made elsewhere, run without.
//!
//! ONNX Runtime keeps a graph with the thread that captured it, and what it needs for a thread until the session ends, so
//! all runs of such a session happen on one thread. It computes on the same memory for all shapes: what lies in a shape's
//! tensors is good until another one runs, and tensors cannot stay behind as those of cached attention do.

#[cfg(test)]
mod tests;

use std::sync::Mutex;

use ort::session::{IoBinding, RunOptions, Session as OrtSession};
use ort::value::{Tensor as OrtTensor, TensorValueType};

use super::captures::{Captures, LetGo};
use super::session::{Provider, Session, to_host};
use crate::nets::{Dim, Port};
use crate::tensor::Tensor;

/// Shapes of inputs whose graphs a session keeps: a UNet has one for each number of steps.
const MOST_SHAPES: usize = 4;
/// The run option that names the graph, by a number above 0.
const GRAPH: &str = "gpu_graph_id";
const NO_GRAPH: &str = "-1";
/// How far a replay may be from the run without a graph, as a share of the largest value.
const TOLERANCE: f32 = 0.01;

const MOVING: &str = "what cached attention keeps lies at another place each time";
const NO_OUTPUT: &str = "a run left out an output that was asked for";
const OTHER_NUMBERS: &str = "a replayed graph gave other numbers than a plain run";

/// Switches graphs on.
const SWITCH: &str = "DIFFUSION_CUDA_GRAPHS";

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{SWITCH} must be `on` or `off`, got `{0}`")]
pub struct SwitchError(String);

/// What the environment says. Without it there are none: what they bring depends on the network (decision 0015).
pub fn wants_graphs() -> Result<bool, SwitchError> {
    let value = std::env::var_os(SWITCH);
    wants(value.as_ref().map(|value| value.to_string_lossy()).as_deref())
}

fn wants(value: Option<&str>) -> Result<bool, SwitchError> {
    match value {
        Some("on") => Ok(true),
        None | Some("off") => Ok(false),
        Some(other) => Err(SwitchError(other.to_owned())),
    }
}

/// Opens with graphs unless `refusal` says why not, else without; then with the reason. A provider that works in neither
/// way says so itself.
pub fn open<T, E>(
    refusal: Option<String>,
    mut open: impl FnMut(bool) -> Result<ort::Result<T>, E>,
) -> Result<ort::Result<(T, Option<String>)>, E> {
    let reason = match refusal {
        Some(reason) => reason,
        None => match open(true)? {
            Ok(opened) => return Ok(Ok((opened, None))),
            Err(error) => error.to_string(),
        },
    };
    Ok(open(false)?.map(|opened| (opened, Some(reason))))
}

/// Why a network with these inputs has no graphs, where that is known before it is opened.
pub fn refusal(inputs: &[Port], captures: &Captures) -> Option<String> {
    let moves = inputs.iter().any(|port| port.dims.contains(&Dim::Any));
    let known = moves.then_some(MOVING).or_else(|| captures.failure());
    known.map(str::to_owned)
}

/// What a session needs for graphs.
pub struct Fixed {
    places: Mutex<LetGo<Vec<Place>>>,
    /// For runs without a graph.
    plain: RunOptions,
    captures: &'static Captures,
    thread: rayon::ThreadPool,
}

impl Fixed {
    pub fn new(captures: &'static Captures) -> ort::Result<Self> {
        let thread = rayon::ThreadPoolBuilder::new()
            .num_threads(1)
            .thread_name(|_| "cuda-graphs".into())
            .build()
            .map_err(|error| ort::Error::new(error.to_string()))?;
        let places = Mutex::new(LetGo::new(Vec::new()));
        Ok(Self { places, plain: options(NO_GRAPH)?, captures, thread })
    }

    pub fn run(&self, session: &Session, inputs: &[&Tensor]) -> ort::Result<Vec<Tensor>> {
        self.thread.install(|| self.run_here(session, inputs))
    }

    fn run_here(&self, owner: &Session, inputs: &[&Tensor]) -> ort::Result<Vec<Tensor>> {
        let mut session = owner.lock();
        let mut places = self.places.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(place) = places.iter_mut().find(|place| place.takes(inputs)) {
            let _running = self.captures.running();
            return place.run(&mut session, owner, inputs);
        }
        let outputs = {
            let _running = self.captures.running();
            owner.run_plain(&mut session, inputs, Some(&self.plain))?
        };
        // Numbers that are not finite cannot be compared, and are refused by who asked for them.
        if places.len() == MOST_SHAPES || !outputs.iter().all(Tensor::is_finite) {
            return Ok(outputs);
        }
        let Some(_alone) = self.captures.alone() else { return Ok(outputs) };
        match Place::capture(places.len() + 1, &mut session, owner, inputs, &outputs) {
            Ok(place) => places.push(place),
            Err(error) => {
                self.captures.give_up(error.to_string());
                places.clear();
            }
        }
        Ok(outputs)
    }
}

fn options(graph: &str) -> ort::Result<RunOptions> {
    let mut options = RunOptions::new()?;
    options.set(GRAPH, graph)?;
    Ok(options)
}

/// The tensors of one shape of inputs, and the graph on them.
struct Place {
    inputs: Vec<OrtTensor<f32>>,
    shapes: Vec<Vec<usize>>,
    /// Holds the outputs: the library makes them on the first run and goes on using them.
    binding: IoBinding,
    options: RunOptions,
}

impl Place {
    /// With a graph that was seen to give these outputs.
    fn capture(
        number: usize,
        session: &mut OrtSession,
        owner: &Session,
        inputs: &[&Tensor],
        outputs: &[Tensor],
    ) -> ort::Result<Self> {
        let zeros: Vec<Tensor> =
            inputs.iter().map(|tensor| Tensor::zeros(tensor.shape())).collect();
        let mut place = Self::new(number, session, owner, &zeros)?;
        place.run(session, owner, &zeros.iter().collect::<Vec<_>>())?;
        let replayed = place.run(session, owner, inputs)?;
        if agree(&replayed, outputs) { Ok(place) } else { Err(ort::Error::new(OTHER_NUMBERS)) }
    }

    fn new(
        number: usize,
        session: &OrtSession,
        owner: &Session,
        values: &[Tensor],
    ) -> ort::Result<Self> {
        let mut binding = session.create_binding()?;
        let mut inputs = Vec::with_capacity(values.len());
        for (name, value) in owner.inputs.iter().zip(values) {
            let (device, number) = owner.provider.device();
            let input = on_host(value)?.to(device, number)?;
            binding.bind_input(name.as_ref(), &input)?;
            inputs.push(input);
        }
        for name in &owner.outputs {
            binding.bind_output_to_device(name.as_ref(), &owner.provider.memory()?)?;
        }
        let shapes = values.iter().map(|value| value.shape().to_vec()).collect();
        Ok(Self { inputs, shapes, binding, options: options(&number.to_string())? })
    }

    fn takes(&self, inputs: &[&Tensor]) -> bool {
        self.shapes.iter().map(Vec::as_slice).eq(inputs.iter().map(|tensor| tensor.shape()))
    }

    fn run(
        &mut self,
        session: &mut OrtSession,
        owner: &Session,
        inputs: &[&Tensor],
    ) -> ort::Result<Vec<Tensor>> {
        for (input, tensor) in self.inputs.iter_mut().zip(inputs) {
            // Waits for the copy: the run is on another CUDA stream.
            on_host(tensor)?.copy_into(input)?;
        }
        let mut outputs = session.run_binding_with_options(&self.binding, &self.options)?;
        let outputs = owner.outputs.iter().map(|name| {
            let output = outputs.remove(name.as_ref()).ok_or_else(|| ort::Error::new(NO_OUTPUT))?;
            let (device, number) = Provider::Cpu.device();
            let output = output.downcast::<TensorValueType<f32>>()?.to(device, number)?;
            to_host(&output.into_dyn())
        });
        outputs.collect()
    }
}

/// With data of its own: what only refers to data the library copies, and never comes back from that.
fn on_host(tensor: &Tensor) -> ort::Result<OrtTensor<f32>> {
    OrtTensor::from_array((tensor.shape(), tensor.data().to_vec()))
}

/// Whether all values are the same but for rounding.
fn agree(some: &[Tensor], others: &[Tensor]) -> bool {
    let same = |(some, other): (&Tensor, &Tensor)| {
        let largest = other.data().iter().fold(0f32, |largest, value| largest.max(value.abs()));
        let mut pairs = some.data().iter().zip(other.data());
        some.shape() == other.shape()
            && pairs.all(|(some, other)| (some - other).abs() <= TOLERANCE * largest)
    };
    some.len() == others.len() && some.iter().zip(others).all(same)
}
