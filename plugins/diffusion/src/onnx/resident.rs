//! Runs a network on tensors that stay where the provider computes.

use std::sync::Arc;

use ort::value::{DynValue, Tensor as OrtTensor};

use super::captures::CAPTURES;
use super::session::{Provider, Session, backend_error, to_host};
use crate::engine::RunError;
use crate::resident::{Place, Resident};
use crate::tensor::Tensor;

const OVERWRITTEN: &str = "replayed graphs would write over tensors that stay";

impl Session {
    /// See [`Model::run_resident`](crate::engine::Model::run_resident).
    pub fn run_resident(
        &self,
        inputs: &[&Tensor],
        resident: &[&Resident],
        keeps: bool,
    ) -> Result<(Tensor, Vec<Resident>), RunError> {
        let resident: Vec<&DynValue> =
            resident.iter().map(|tensor| tensor.onnx()).collect::<Result<_, _>>()?;
        self.run_bound(inputs, &resident, keeps).map_err(backend_error)
    }

    fn run_bound(
        &self,
        inputs: &[&Tensor],
        resident: &[&DynValue],
        keeps: bool,
    ) -> ort::Result<(Tensor, Vec<Resident>)> {
        if self.fixed.is_some() {
            return Err(ort::Error::new(OVERWRITTEN));
        }
        let mut session = self.lock();
        let _running = CAPTURES.running();
        // A new one for each call: it owns the memory of its outputs, which live on.
        let mut binding = session.create_binding()?;
        let (given, staying) = self.inputs.split_at(inputs.len());
        for (name, tensor) in given.iter().zip(inputs) {
            let value = OrtTensor::from_array((tensor.shape(), tensor.data().to_vec()))?;
            binding.bind_input(name.as_ref(), &value)?;
        }
        for (name, value) in staying.iter().zip(resident) {
            binding.bind_input(name.as_ref(), value)?;
        }
        let (first, others) = self.outputs.split_at(1);
        binding.bind_output_to_device(first[0].as_ref(), &Provider::Cpu.memory()?)?;
        for name in others.iter().filter(|_| keeps) {
            binding.bind_output_to_device(name.as_ref(), &self.provider.memory()?)?;
        }
        // Those given may still be on their way to a card.
        binding.synchronize_inputs()?;
        let mut outputs = session.run_binding(&binding)?.into_iter().map(|(_, value)| value);
        let first = outputs.next().map_or(Ok(Tensor::zeros([0])), |value| to_host(&value))?;
        Ok((first, outputs.map(to_resident).collect()))
    }

    pub fn zeros(&self, shape: &[usize]) -> Result<Resident, RunError> {
        let _running = CAPTURES.running();
        let zeros = || {
            let data = vec![0f32; shape.iter().product()];
            let value = OrtTensor::from_array((shape, data))?;
            // On a card it would be carried over with every call. What is empty lies nowhere.
            let stays = self.provider == Provider::Cpu || value.shape().num_elements() == 0;
            let (device, number) = self.provider.device();
            let value = if stays { value } else { value.to(device, number)? };
            Ok(to_resident(value.into_dyn()))
        };
        zeros().map_err(backend_error)
    }
}

fn to_resident(value: DynValue) -> Resident {
    let shape = value.shape().iter().map(|&dim| dim as usize).collect();
    Resident { shape, place: Place::Onnx(Arc::new(value)) }
}
