//! State dicts as torch saves them: a zip archive of a pickle that describes the tensors, and one member for the values
//! of each, stored as they are.

use std::collections::BTreeMap;
use std::fs::File;

use super::pickle::{self, Tensor};
use super::zip::Archive;
use super::{Entry, check_entry};

const PICKLE: &str = "/data.pkl";
/// The pickle of the largest models takes less than a megabyte.
const MAX_PICKLE: u64 = 8 << 20;

type Reading<T> = Result<T, String>;

/// The tensors of a file, by name.
pub fn read(file: File) -> Reading<BTreeMap<String, Entry>> {
    let file_bytes = file.metadata().map_err(|error| error.to_string())?.len();
    let mut archive = Archive::open(file)?;
    let roots = archive.names().filter_map(|name| name.strip_suffix(PICKLE));
    let roots: Vec<String> = roots.map(str::to_owned).collect();
    let [root] = &roots[..] else {
        return Err(format!("it must have one member `…{PICKLE}`, as torch writes it"));
    };
    check_order(&mut archive, root)?;
    let place = archive.place(&format!("{root}{PICKLE}"))?;
    let length = place.end - place.start;
    if length > MAX_PICKLE {
        return Err(format!("its pickle takes {length} bytes, {MAX_PICKLE} are taken"));
    }
    let tensors = pickle::state_dict(&archive.read(place.start, length)?)?;
    let entry = |(name, tensor): (String, Tensor)| {
        let entry = entry(&mut archive, root, &tensor, file_bytes);
        entry.map(|entry| (name.clone(), entry)).map_err(|why| format!("tensor `{name}` {why}"))
    };
    tensors.into_iter().map(entry).collect()
}

/// Values are written in the order of the machine's bytes.
fn check_order(archive: &mut Archive, root: &str) -> Reading<()> {
    let member = format!("{root}/byteorder");
    if archive.names().all(|name| name != member) {
        return Ok(());
    }
    let place = archive.place(&member)?;
    let order = archive.read(place.start, (place.end - place.start).min(16))?;
    if order == b"little" { Ok(()) } else { Err("its numbers are not little-endian".into()) }
}

fn entry(archive: &mut Archive, root: &str, tensor: &Tensor, file_bytes: u64) -> Reading<Entry> {
    let place = archive.place(&format!("{root}/data/{}", tensor.storage))?;
    let (whole, kind) = (place.end - place.start, tensor.kind);
    if tensor.count.checked_mul(kind.bytes).is_none_or(|bytes| bytes > whole) {
        return Err(format!("has a storage of {} values in {whole} bytes", tensor.count));
    }
    let values = tensor.shape.iter().try_fold(1u64, |values, &dim| values.checked_mul(dim as u64));
    let end = values.and_then(|values| values.checked_add(tensor.offset));
    let Some(end) = end.filter(|&end| end <= tensor.count) else {
        let shape = &tensor.shape;
        return Err(format!("of shape {shape:?} goes beyond its {} values", tensor.count));
    };
    let entry = Entry {
        dtype: kind.name.into(),
        shape: tensor.shape.clone(),
        data_offsets: (place.start + tensor.offset * kind.bytes, place.start + end * kind.bytes),
        is_transposed: is_transposed(tensor)?,
    };
    check_entry(&entry, file_bytes)?;
    Ok(entry)
}

/// Whether a matrix is stored column by column; in any other order but row by row it cannot be read.
fn is_transposed(tensor: &Tensor) -> Reading<bool> {
    let Tensor { shape, strides, .. } = tensor;
    let mut next = 1usize;
    let is_row_major = shape.iter().zip(strides).rev().all(|(&size, &stride)| {
        let fits = size <= 1 || stride == next;
        // Of nothing, the other axes may be of any size.
        next = next.saturating_mul(size);
        fits
    });
    match (is_row_major, &shape[..], &strides[..]) {
        (true, ..) => Ok(false),
        (_, &[rows, _], &[1, stride]) if stride == rows => Ok(true),
        _ => Err(format!("of shape {shape:?} has strides {strides:?}, it must lie in one piece")),
    }
}
