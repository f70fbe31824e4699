//! A network in a file of others: opened on the first provider that takes it, for inputs of one size each.

use std::cell::RefCell;
use std::io;
use std::path::Path;
use std::sync::Mutex;

use half::f16;
use ort::ep::ExecutionProviderDispatch;
use ort::session::Session as OrtSession;
use ort::session::SessionInputValue;
use ort::session::builder::SessionBuilder;
use ort::value::{DynValue, Tensor as OrtTensor};

use super::captures::{CAPTURES, LetGo};
use super::cuda;
use super::declared::{Declared, Element, MAX_VALUES, Slot};
use super::session::{Opener, Provider, Refusal, backend_error, make};
use super::tensorrt::Build;
use crate::engine::{LoadError, RunError};
use crate::tensor::Tensor;

/// A network of others, loaded.
pub struct FileSession {
    // The library may be called from many threads; the binding wants one caller at a time.
    session: Mutex<LetGo<OrtSession>>,
    declared: Declared,
    /// Of its inputs.
    sizes: Vec<Vec<usize>>,
}

/// An open session, where it runs, and the better providers that refused it.
pub type OpenedFile = (FileSession, Provider, Vec<Refusal>);

impl Opener<'_> {
    /// Opens the network for inputs of these sizes.
    pub fn open_file(
        &self,
        declared: Declared,
        sizes: Vec<Vec<usize>>,
        goes_on: &mut dyn FnMut() -> bool,
    ) -> Result<OpenedFile, LoadError> {
        check_sizes(&declared, &sizes)?;
        let mut refused = Vec::new();
        for &provider in self.providers {
            let outcome = match provider {
                Provider::TensorRt => self.compile_file(&declared, &sizes, goes_on)?,
                Provider::Cuda => {
                    let dispatch = cuda::options(false, false).build().error_on_failure();
                    self.commit_file(&declared.path, Some(dispatch), goes_on)?
                }
                Provider::Cpu => self.commit_file(&declared.path, None, goes_on)?,
            };
            match outcome {
                Ok(session) => {
                    let session = Mutex::new(session);
                    return Ok((FileSession { session, declared, sizes }, provider, refused));
                }
                Err(error) => {
                    refused.push(Refusal { provider: provider.name(), reason: error.to_string() })
                }
            }
        }
        Err(LoadError::Refused { path: declared.path, refused })
    }

    fn compile_file(
        &self,
        declared: &Declared,
        sizes: &[Vec<usize>],
        goes_on: &mut dyn FnMut() -> bool,
    ) -> Result<ort::Result<LetGo<OrtSession>>, LoadError> {
        let is_open = |slot: &Slot| slot.dims.iter().flatten().any(Option::is_none);
        let open = declared.inputs.iter().zip(sizes).filter(|(slot, _)| is_open(slot));
        let open: Vec<_> = open.map(|(slot, size)| (slot.name.clone(), size.clone())).collect();
        let build = Build::exact(&open, true);
        let dispatch = |entry: Option<&Path>| build.dispatch(self.engines.folder(), entry);
        // Where there is no TensorRT, its refusal comes before the file is read for the key.
        let is_there = SessionBuilder::new(&self.runtime.environment)
            .and_then(|builder| Ok(builder.with_execution_providers([dispatch(None)])?));
        if let Err(error) = is_there {
            return Ok(Err(error));
        }
        let goes_on = RefCell::new(goes_on);
        let mut is_wanted = || (goes_on.borrow_mut())();
        let path = declared.path.as_path();
        let key = build.key(&[], &[path], 0, &self.runtime.library, &mut is_wanted);
        let key = key.map_err(|source| match source.kind() {
            io::ErrorKind::Interrupted => LoadError::Cancelled,
            _ => super::FileError::Read { path: path.to_owned(), source }.into(),
        })?;
        self.engines.open(
            &key,
            |entry| self.commit_file(path, Some(dispatch(entry)), *goes_on.borrow_mut()),
            &mut is_wanted,
        )
    }

    fn commit_file(
        &self,
        path: &Path,
        dispatch: Option<ExecutionProviderDispatch>,
        goes_on: &mut dyn FnMut() -> bool,
    ) -> Result<ort::Result<LetGo<OrtSession>>, LoadError> {
        let runtime = self.runtime.clone();
        let build = move || {
            let builder = SessionBuilder::new(&runtime.environment)?;
            match dispatch {
                Some(dispatch) => Ok(builder.with_execution_providers([dispatch])?),
                None => Ok(builder),
            }
        };
        make(build, |builder| builder.commit_from_file(path), goes_on)
    }
}

fn check_sizes(declared: &Declared, sizes: &[Vec<usize>]) -> Result<(), LoadError> {
    if declared.inputs.len() != sizes.len() {
        let (has, wanted) = (declared.inputs.len(), sizes.len());
        return Err(declared.unfit(format!("it has {has} inputs instead of {wanted}")).into());
    }
    for (slot, size) in declared.inputs.iter().zip(sizes) {
        let dims = slot.dims.as_deref().unwrap_or_default();
        let mut pairs = dims.iter().zip(size);
        let fits = |(dim, size): (&Option<usize>, &usize)| dim.is_none_or(|dim| dim == *size);
        if dims.len() != size.len() || !pairs.all(fits) {
            let why = format!("input `{}` takes {dims:?} instead of {size:?}", slot.name);
            return Err(declared.unfit(why).into());
        }
    }
    Ok(())
}

impl FileSession {
    pub fn declared(&self) -> &Declared {
        &self.declared
    }

    /// The sizes of its inputs.
    pub fn sizes(&self) -> &[Vec<usize>] {
        &self.sizes
    }

    /// Computes all outputs, in the order in which the file has them. They need not be finite.
    pub fn run(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>, RunError> {
        let slots = self.declared.inputs.iter();
        for ((slot, wanted), input) in slots.zip(&self.sizes).zip(inputs) {
            if input.shape() != wanted {
                let (name, found) = (slot.name.clone().into(), input.shape().to_vec());
                return Err(RunError::Input { name, wanted: format!("{wanted:?}"), found });
            }
        }
        self.run_checked(inputs).map_err(backend_error)
    }

    fn run_checked(&self, inputs: &[&Tensor]) -> ort::Result<Vec<Tensor>> {
        let values = self.declared.inputs.iter().zip(inputs).map(|(slot, tensor)| {
            let value = to_value(slot.element, tensor)?;
            Ok((slot.name.as_str(), SessionInputValue::from(value)))
        });
        let values = values.collect::<ort::Result<Vec<_>>>()?;
        // A panic inside the binding leaves the library's own state untouched.
        let mut session = self.session.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let _running = CAPTURES.running();
        let outputs = session.run(values)?;
        let output = |slot: &Slot| match outputs.get(&slot.name) {
            Some(value) => to_host(value, slot),
            None => Err(ort::Error::new(format!("there is no output `{}`", slot.name))),
        };
        self.declared.outputs.iter().map(output).collect()
    }
}

fn to_value(element: Element, tensor: &Tensor) -> ort::Result<DynValue> {
    fn cast<T>(tensor: &Tensor, to: impl Fn(f32) -> T) -> (Vec<usize>, Vec<T>) {
        (tensor.shape().to_vec(), tensor.data().iter().map(|&value| to(value)).collect())
    }
    Ok(match element {
        Element::F32 => OrtTensor::from_array(cast(tensor, |value| value))?.into_dyn(),
        Element::F16 => OrtTensor::from_array(cast(tensor, f16::from_f32))?.into_dyn(),
        Element::U8 => OrtTensor::from_array(cast(tensor, |value| value as u8))?.into_dyn(),
        Element::I32 => OrtTensor::from_array(cast(tensor, |value| value as i32))?.into_dyn(),
        Element::I64 => OrtTensor::from_array(cast(tensor, |value| value as i64))?.into_dyn(),
    })
}

fn to_host(value: &DynValue, slot: &Slot) -> ort::Result<Tensor> {
    fn tensor<T: Copy>(
        (shape, data): (&ort::value::Shape, &[T]),
        to: impl Fn(T) -> f32,
    ) -> ort::Result<Tensor> {
        if data.len() > MAX_VALUES {
            let wrong = format!("an output of {} values; {MAX_VALUES} are taken", data.len());
            return Err(ort::Error::new(wrong));
        }
        let shape: Vec<usize> = shape.iter().map(|&dim| dim as usize).collect();
        Ok(Tensor::new(shape, data.iter().map(|&value| to(value)).collect()))
    }
    match slot.element {
        Element::F32 => tensor(value.try_extract_tensor::<f32>()?, |value| value),
        Element::F16 => tensor(value.try_extract_tensor::<f16>()?, f16::to_f32),
        Element::U8 => tensor(value.try_extract_tensor::<u8>()?, f32::from),
        Element::I32 => tensor(value.try_extract_tensor::<i32>()?, |value| value as f32),
        Element::I64 => tensor(value.try_extract_tensor::<i64>()?, |value| value as f32),
    }
}
