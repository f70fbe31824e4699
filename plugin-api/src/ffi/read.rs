//! Reading what crossed the boundary.

use crate::Error;
use crate::abi::SdhBytes;
use std::mem::MaybeUninit;

/// Structs that begin with their own size and whose fields may all be zero.
///
/// # Safety
/// The type is `#[repr(C)]`, its first field is a `u32` with the size in bytes, and all zeros are a valid value.
pub unsafe trait Versioned: Copy {
    /// Name for error texts.
    const NAME: &'static str;
}

macro_rules! versioned {
    ($($name:ident),*) => {$(
        // SAFETY: the structs of `abi` begin with `size: u32` and consist of integers, pointers and optional functions.
        unsafe impl Versioned for crate::abi::$name {
            const NAME: &'static str = stringify!($name);
        }
    )*};
}

versioned!(
    SdhHost,
    SdhParams,
    SdhPlanRequest,
    SdhFormats,
    SdhFrame,
    SdhFrameMut,
    SdhTensor,
    SdhTensors,
    SdhPipelineTable,
    SdhPlugin
);

/// Copies a struct that may be longer or shorter than ours; `least` is the size below which it is refused.
///
/// # Safety
/// `pointer` is null or points to a struct of this kind that is as long as its first field says.
pub unsafe fn read_versioned<T: Versioned>(pointer: *const T, least: usize) -> Result<T, Error> {
    if pointer.is_null() {
        return Err(Error::invalid(format!("{} is null", T::NAME)));
    }
    // SAFETY: the struct begins with its size, by the trait's and the caller's promise.
    let size = unsafe { pointer.cast::<u32>().read() } as usize;
    if size < least {
        return Err(Error::invalid(format!("{} has {size} bytes, need {least}", T::NAME)));
    }
    let mut value = MaybeUninit::<T>::zeroed();
    let present = size.min(size_of::<T>());
    // SAFETY: `present` bytes exist at the source by its size field, and fit the target.
    unsafe {
        value.as_mut_ptr().cast::<u8>().copy_from_nonoverlapping(pointer.cast::<u8>(), present);
    }
    // SAFETY: what was not copied is zero, which is valid by the trait's promise.
    Ok(unsafe { value.assume_init() })
}

/// Borrows bytes.
///
/// # Safety
/// `bytes.data` is null or points to `bytes.size` bytes that live and do not change for `'a`.
pub unsafe fn read_bytes<'a>(bytes: SdhBytes) -> Result<&'a [u8], Error> {
    if bytes.size == 0 {
        return Ok(&[]);
    }
    let size = isize::try_from(bytes.size).map_err(|_| Error::invalid("impossible length"))?;
    if bytes.data.is_null() {
        return Err(Error::invalid("null with a length"));
    }
    // SAFETY: the caller's promise; the length fits `isize`.
    Ok(unsafe { std::slice::from_raw_parts(bytes.data, size.unsigned_abs()) })
}

/// Borrows a text.
///
/// # Safety
/// As for [`read_bytes`].
pub unsafe fn read_text<'a>(bytes: SdhBytes) -> Result<&'a str, Error> {
    // SAFETY: the caller's promise.
    let bytes = unsafe { read_bytes(bytes) }?;
    std::str::from_utf8(bytes).map_err(|_| Error::invalid("text is not UTF-8"))
}

/// The C form of bytes, valid as long as they are.
pub const fn bytes_of(bytes: &[u8]) -> SdhBytes {
    SdhBytes { data: bytes.as_ptr(), size: bytes.len() as u64 }
}
