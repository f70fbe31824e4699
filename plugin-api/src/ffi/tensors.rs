//! Tensors across the boundary: lists of views, and whose memory they show.

use super::read::{bytes_of, read_text, read_versioned};
use crate::abi::*;
use crate::tensor::{MAX_AXES, MAX_VALUES, count};
use crate::{Error, Tensor};
use std::ffi::c_void;

/// Most tensors in one call.
pub const MAX_TENSORS: usize = 64;

/// `float32`.
const FLOAT32: SdhDataType = SdhDataType { code: SDH_DATA_FLOAT, bits: 32, lanes: 1 };

/// Tensors that another plugin made and still owns; it frees them when they are dropped.
pub struct LentTensors {
    /// Views of what `list` owns.
    tensors: Vec<Tensor<'static>>,
    list: SdhTensors,
    is_freed: bool,
}

// SAFETY: the ABI lets a list be read and released on any thread, and nobody writes to it until then.
unsafe impl Send for LentTensors {}

impl LentTensors {
    /// Those of the list, in their order.
    pub fn as_slice(&self) -> &[Tensor<'_>] {
        &self.tensors
    }

    /// Lets the maker free them; an error tells that it left something behind which could be freed a second time.
    pub fn release(mut self) -> Result<(), Error> {
        self.free();
        let SdhTensors { items, count, owner, release, .. } = self.list;
        if items.is_null() && owner.is_null() && count == 0 && release.is_none() {
            return Ok(());
        }
        Err(Error::new("`release` has to set itself, `items` and `owner` to null and `count` to 0"))
    }

    fn free(&mut self) {
        self.is_freed = true;
        self.tensors.clear();
        if let Some(release) = self.list.release {
            // SAFETY: the list is as the callee wrote it, and this is done once.
            unsafe { release(&mut self.list) }
        }
    }

    /// Takes what a call wrote. It is released also where it cannot be read.
    ///
    /// # Safety
    /// The list was filled by the callee of `condition` as the ABI says, or not at all.
    pub(super) unsafe fn take(list: SdhTensors) -> Result<Self, Error> {
        let mut lent = Self { tensors: Vec::new(), list, is_freed: false };
        // SAFETY: the caller's promise; what is read is valid until the list is released, which dropping `lent` does.
        lent.tensors = unsafe { read_tensors(&lent.list) }?;
        Ok(lent)
    }
}

impl Drop for LentTensors {
    fn drop(&mut self) {
        if !self.is_freed {
            self.free();
        }
    }
}

/// What a conditioner answers with.
pub enum Conditions {
    /// Its own tensors.
    Made(Vec<Tensor<'static>>),
    /// Those of another, handed on.
    Lent(LentTensors),
}

impl From<Vec<Tensor<'static>>> for Conditions {
    fn from(tensors: Vec<Tensor<'static>>) -> Self {
        Self::Made(tensors)
    }
}

impl Conditions {
    fn as_slice(&self) -> &[Tensor<'_>] {
        match self {
            Self::Made(tensors) => tensors,
            Self::Lent(tensors) => tensors.as_slice(),
        }
    }
}

/// C views of tensors, valid as long as these are and do not move.
pub(super) struct Views {
    items: Vec<SdhTensor>,
    /// What the items point to.
    _shapes: Vec<Vec<i64>>,
}

impl Views {
    pub(super) fn of(tensors: &[Tensor<'_>]) -> Self {
        let shapes: Vec<Vec<i64>> = tensors
            .iter()
            .map(|tensor| tensor.shape().iter().map(|&size| size as i64).collect())
            .collect();
        let view = |(tensor, shape): (&Tensor<'_>, &Vec<i64>)| SdhTensor {
            size: size_of::<SdhTensor>() as u32,
            device: SDH_DEVICE_HOST,
            device_id: 0,
            axes: shape.len() as u32,
            name: bytes_of(tensor.name().as_bytes()),
            data_type: FLOAT32,
            reserved: 0,
            shape: shape.as_ptr(),
            strides: std::ptr::null(),
            data: tensor.values().as_ptr().cast::<c_void>().cast_mut(),
            byte_offset: 0,
            length: size_of_val(tensor.values()) as u64,
        };
        Self { items: tensors.iter().zip(&shapes).map(view).collect(), _shapes: shapes }
    }

    /// A list that is only read during a call.
    pub(super) fn list(&self) -> SdhTensors {
        SdhTensors {
            size: size_of::<SdhTensors>() as u32,
            reserved: 0,
            items: self.items.as_ptr(),
            count: self.items.len() as u64,
            owner: std::ptr::null_mut(),
            release: None,
        }
    }
}

/// What a list hands out with its ownership.
struct Owner {
    views: Views,
    _conditions: Conditions,
}

/// A list that frees what it shows when it is released.
pub(super) fn hand_out(conditions: Conditions) -> SdhTensors {
    let views = Views::of(conditions.as_slice());
    // The views point into heap memory of `conditions`, which moving it leaves where it is.
    let owner = Box::new(Owner { views, _conditions: conditions });
    let list = owner.views.list();
    SdhTensors { owner: Box::into_raw(owner).cast(), release: Some(release), ..list }
}

unsafe extern "C" fn release(list: *mut SdhTensors) {
    // SAFETY: by the ABI a list that `hand_out` made, which nobody else uses during the call.
    let Some(list) = (unsafe { list.as_mut() }) else { return };
    let owner = std::mem::replace(&mut list.owner, std::ptr::null_mut());
    (list.items, list.count, list.release) = (std::ptr::null(), 0, None);
    if !owner.is_null() {
        // SAFETY: made by `hand_out`, and taken out of the list, so that it is freed once.
        drop(unsafe { Box::from_raw(owner.cast::<Owner>()) });
    }
}

/// Borrows the tensors of a list.
///
/// # Safety
/// `list` is null or points to a list whose items and what they show live and do not change for `'a`.
pub(super) unsafe fn read_tensors<'a>(list: *const SdhTensors) -> Result<Vec<Tensor<'a>>, Error> {
    // SAFETY: the caller's promise.
    let list = unsafe { read_versioned(list, size_of::<SdhTensors>()) }?;
    if list.count > MAX_TENSORS as u64 {
        return Err(Error::invalid(format!("{} tensors; {MAX_TENSORS} are the most", list.count)));
    }
    if list.count == 0 {
        return Ok(Vec::new());
    }
    if list.items.is_null() {
        return Err(Error::invalid("SdhTensors.items is null"));
    }
    // SAFETY: the caller's promise; the items may be of a longer version, so each is found by the size in the first.
    let distance = unsafe { list.items.cast::<u32>().read() };
    let distance = distance as usize;
    let items = (0..list.count as usize).map(|index| {
        let item = list.items.cast::<u8>().wrapping_add(index * distance).cast::<SdhTensor>();
        // SAFETY: the caller's promise.
        unsafe { read_tensor(item) }
    });
    items.collect()
}

/// Borrows one tensor, or copies it where its numbers do not lie one after the other.
///
/// # Safety
/// As for [`read_tensors`].
unsafe fn read_tensor<'a>(tensor: *const SdhTensor) -> Result<Tensor<'a>, Error> {
    // SAFETY: the caller's promise.
    let tensor = unsafe { read_versioned(tensor, size_of::<SdhTensor>()) }?;
    // SAFETY: the caller's promise.
    let name = unsafe { read_text(tensor.name) }?;
    let problem = |what: String| Error::invalid(format!("the tensor `{name}` {what}"));
    if tensor.device != SDH_DEVICE_HOST {
        let what =
            format!("lies on a device of kind {}; host memory is {SDH_DEVICE_HOST}", tensor.device);
        return Err(problem(what));
    }
    if tensor.data_type != FLOAT32 {
        let SdhDataType { code, bits, lanes } = tensor.data_type;
        let what = format!(
            "has numbers of kind {code} with {bits} bits in {lanes} lanes; only float32 is taken: kind {SDH_DATA_FLOAT}, 32 bits, 1 lane"
        );
        return Err(problem(what));
    }
    // SAFETY: the caller's promise.
    let shape = unsafe { read_shape(&tensor) }.map_err(&problem)?;
    // SAFETY: the caller's promise.
    let strides = unsafe { read_strides(&tensor, &shape) }.map_err(&problem)?;
    let numbers = count(&shape).ok_or_else(|| {
        problem(format!("has the shape {shape:?}; {MAX_VALUES} values are the most"))
    })?;
    // SAFETY: the caller's promise.
    let all = unsafe { read_floats(&tensor) }.map_err(&problem)?;
    let reach = if numbers == 0 { Some(0) } else { reach(&shape, &strides) };
    if reach.is_none_or(|reach| reach > all.len()) {
        let what = format!(
            "of the shape {shape:?} with strides {strides:?} does not fit its {} bytes",
            tensor.length
        );
        return Err(problem(what));
    }
    if strides == packed(&shape) || numbers == 0 {
        return Tensor::new(name, shape, &all[..numbers]);
    }
    let values = gather(all, &shape, &strides);
    Tensor::new(name, shape, values)
}

/// # Safety
/// As for [`read_tensors`].
unsafe fn read_shape(tensor: &SdhTensor) -> Result<Vec<usize>, String> {
    // SAFETY: the caller's promise.
    let sizes = unsafe { read_axes(tensor, tensor.shape) }?.ok_or("has axes and no shape")?;
    let size = |&size: &i64| usize::try_from(size).map_err(|_| format!("has an axis of {size}"));
    sizes.iter().map(size).collect()
}

/// # Safety
/// As for [`read_tensors`].
unsafe fn read_strides(tensor: &SdhTensor, shape: &[usize]) -> Result<Vec<usize>, String> {
    // SAFETY: the caller's promise.
    let strides = unsafe { read_axes(tensor, tensor.strides) }?;
    let Some(strides) = strides else { return Ok(packed(shape)) };
    let stride =
        |&stride: &i64| usize::try_from(stride).map_err(|_| format!("has a stride of {stride}"));
    strides.iter().map(stride).collect()
}

/// A number for each axis; none for null, where there are axes.
///
/// # Safety
/// As for [`read_tensors`].
unsafe fn read_axes<'a>(tensor: &SdhTensor, from: *const i64) -> Result<Option<&'a [i64]>, String> {
    match tensor.axes as usize {
        0 => Ok(Some(&[])),
        axes if axes > MAX_AXES => Err(format!("has {axes} axes; {MAX_AXES} are the most")),
        _ if from.is_null() => Ok(None),
        // SAFETY: the caller's promise.
        axes => Ok(Some(unsafe { std::slice::from_raw_parts(from, axes) })),
    }
}

/// All numbers that may be read, from the first of the tensor on.
///
/// # Safety
/// As for [`read_tensors`].
unsafe fn read_floats<'a>(tensor: &SdhTensor) -> Result<&'a [f32], String> {
    let SdhTensor { data, byte_offset, length, .. } = *tensor;
    let bytes = length.checked_sub(byte_offset).filter(|_| length <= isize::MAX as u64);
    let bytes = bytes.ok_or_else(|| format!("begins at byte {byte_offset} of {length}"))?;
    if bytes < 4 {
        return Ok(&[]);
    }
    let first = data.cast_const().cast::<u8>().wrapping_add(byte_offset as usize).cast::<f32>();
    if data.is_null() || !first.is_aligned() {
        return Err("has no data, or not where float32 may lie".into());
    }
    // SAFETY: the caller's promise; the length fits `isize` and the place is aligned.
    Ok(unsafe { std::slice::from_raw_parts(first, bytes as usize / 4) })
}

/// The strides, in numbers, of a tensor with nothing between them.
fn packed(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1usize; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis].saturating_mul(shape[axis].max(1));
    }
    strides
}

/// Numbers from the first to the last that belongs to the tensor.
fn reach(shape: &[usize], strides: &[usize]) -> Option<usize> {
    shape.iter().zip(strides).try_fold(1usize, |reach, (&size, &stride)| {
        reach.checked_add(size.checked_sub(1)?.checked_mul(stride)?)
    })
}

/// The numbers in their order, of those that lie apart.
fn gather(all: &[f32], shape: &[usize], strides: &[usize]) -> Vec<f32> {
    let mut places = vec![0];
    for (&size, &stride) in shape.iter().zip(strides) {
        let along = |place: usize| (0..size).map(move |index| place + index * stride);
        places = places.into_iter().flat_map(along).collect();
    }
    places.into_iter().map(|place| all[place]).collect()
}

#[cfg(test)]
mod tests;
