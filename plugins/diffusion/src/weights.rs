//! A file of weights, by safetensors or by torch: what is in it, checked, and its values on request.
//!
//! Only the header is read on opening; it comes from outside, so its size is bounded and every offset is checked
//! against the file. The ONNX back end hands the file on by name and offset, candle reads the values.

mod beside;
mod pickle;
mod torch;
mod view;
mod zip;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use serde::Deserialize;

use beside::Beside;
pub use view::{Piece, Renamed};

/// Largest header taken. Those of the largest models are a few hundred kilobytes; what is parsed takes many times more.
const MAX_HEADER_BYTES: u64 = 16 << 20;

/// What pickles begin with, before the number of their protocol.
const PICKLE: u8 = 0x80;
const OLD_TORCH: &str = "it is a pickle, as torch wrote weights before 1.6, and reading those would run what is in them; \
                         get the safetensors file, or save it anew with a torch of today";

/// Why a weights file, or a tensor in it, cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{} is not a safetensors file: {why}", path.display())]
    Format { path: PathBuf, why: String },
    #[error("{} is not a state dict as torch writes it: {why}", path.display())]
    Torch { path: PathBuf, why: String },
    #[error("{} has no tensor `{tensor}` of shape {wanted:?}; the file belongs to another architecture", path.display())]
    Missing { tensor: String, path: PathBuf, wanted: Vec<usize> },
    #[error("tensor `{tensor}` in {} has shape {found:?}, config.json asks for {wanted:?}", path.display())]
    Shape { tensor: String, path: PathBuf, wanted: Vec<usize>, found: Vec<usize> },
    #[error("tensor `{tensor}` in {} is stored as {found}; F32, F16 and BF16 are supported", path.display())]
    Dtype { tensor: String, path: PathBuf, found: String },
}

/// Number formats weights may be stored in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dtype {
    F32,
    F16,
    Bf16,
}

impl Dtype {
    pub const fn bytes(self) -> u64 {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }
}

/// Where a usable tensor lies in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub dtype: Dtype,
    /// From the start of the file, in bytes.
    pub offset: u64,
    /// In bytes.
    pub length: u64,
    /// The rows and columns it is stored with, where these are its columns and rows.
    pub transposed: Option<[usize; 2]>,
    /// Whether the file is the second one.
    is_beside: bool,
}

#[derive(Clone, Debug, Deserialize)]
struct Entry {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: (u64, u64),
    /// Whether it is a matrix that is stored column by column.
    #[serde(skip)]
    is_transposed: bool,
}

/// An opened file of weights.
#[derive(Debug)]
pub struct Weights {
    path: PathBuf,
    data_start: u64,
    entries: BTreeMap<String, Entry>,
    metadata: BTreeMap<String, String>,
    beside: Option<Beside>,
}

impl Weights {
    /// Reads and checks what a file says of its tensors.
    pub fn open(path: &Path) -> Result<Self, WeightsError> {
        let read_error = |source| WeightsError::Read { path: path.to_owned(), source };
        // The hub's cache is made of links; runtimes refuse weights that a link leads out of their folder.
        let path = path.canonicalize().map_err(read_error)?;
        let mut file = File::open(&path).map_err(read_error)?;
        let file_bytes = file.metadata().map_err(read_error)?.len();
        let format_error = |why: String| WeightsError::Format { path: path.clone(), why };

        let mut length = [0; 8];
        file.read_exact(&mut length)
            .map_err(|_| format_error("it is shorter than 8 bytes".into()))?;
        if length.starts_with(zip::MAGIC) {
            let entries =
                torch::read(file).map_err(|why| WeightsError::Torch { path: path.clone(), why })?;
            let metadata = BTreeMap::new();
            return Ok(Self { path, data_start: 0, entries, metadata, beside: None });
        }
        let header_bytes = u64::from_le_bytes(length);
        let rest = file_bytes.saturating_sub(8);
        if header_bytes > rest.min(MAX_HEADER_BYTES) {
            let is_pickle = matches!(length, [PICKLE, 2..=5, ..]);
            let why = format!("it claims a header of {header_bytes} bytes");
            return Err(format_error(if is_pickle { OLD_TORCH.into() } else { why }));
        }
        let mut header = vec![0; header_bytes as usize];
        file.read_exact(&mut header).map_err(read_error)?;
        let (entries, metadata) =
            parse_header(&header, rest - header_bytes).map_err(format_error)?;
        Ok(Self { path, data_start: 8 + header_bytes, entries, metadata, beside: None })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the file says of itself under a key.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.metadata.get(key).map(String::as_str)
    }

    /// The names and shapes of all tensors in it, without those of a second file.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, &[usize])> {
        self.entries.iter().map(|(name, entry)| (name.as_str(), entry.shape.as_slice()))
    }

    /// The shape of the tensor of this very name.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.entries.get(name).map(|entry| entry.shape.as_slice())
    }

    /// Whether there are matrices that are stored column by column.
    pub fn has_transposed(&self) -> bool {
        let beside = self.beside.as_ref().is_some_and(Beside::has_transposed);
        beside || self.entries.values().any(|entry| entry.is_transposed)
    }

    /// Finds a tensor and checks its shape and number format.
    pub fn find(&self, name: &str, wanted: &[usize]) -> Result<Place, WeightsError> {
        if let Some(beside) = self.beside(name) {
            return Ok(Place { is_beside: true, ..beside.find(name, wanted)? });
        }
        let (tensor, path) = (name.to_owned(), self.path.clone());
        let Some(entry) = self.entries.get(name).or_else(|| self.entries.get(&old_name(name)?))
        else {
            return Err(WeightsError::Missing { tensor, path, wanted: wanted.to_vec() });
        };
        if entry.shape != wanted {
            return Err(WeightsError::Shape {
                tensor,
                path,
                wanted: wanted.to_vec(),
                found: entry.shape.clone(),
            });
        }
        let Some(dtype) = dtype(&entry.dtype) else {
            return Err(WeightsError::Dtype { tensor, path, found: entry.dtype.clone() });
        };
        let (begin, end) = entry.data_offsets;
        let transposed = match entry.shape[..] {
            [columns, rows] if entry.is_transposed => Some([rows, columns]),
            _ => None,
        };
        let (offset, length) = (self.data_start + begin, end - begin);
        Ok(Place { dtype, offset, length, transposed, is_beside: false })
    }

    /// The values of a tensor as `f32`.
    pub fn read(&self, place: Place) -> Result<Vec<f32>, WeightsError> {
        let mut bytes = vec![0; place.length as usize];
        let path = self.path_of(place);
        let mut read = || {
            let mut file = File::open(path)?;
            file.seek(SeekFrom::Start(place.offset))?;
            file.read_exact(&mut bytes)
        };
        read().map_err(|source| WeightsError::Read { path: path.to_owned(), source })?;
        let values = decode(&bytes, place.dtype);
        let Some([rows, columns]) = place.transposed else { return Ok(values) };
        let places =
            (0..columns).flat_map(|column| (0..rows).map(move |row| row * columns + column));
        Ok(places.map(|place| values[place]).collect())
    }
}

/// The tensors and the metadata.
type Header = (BTreeMap<String, Entry>, BTreeMap<String, String>);

fn parse_header(header: &[u8], data_bytes: u64) -> Result<Header, String> {
    let mut raw: BTreeMap<String, serde_json::Value> = serde_json::from_slice(header)
        .map_err(|error| format!("its header is not JSON: {error}"))?;
    // It is for people mostly, so that of another form is no reason to refuse the weights.
    let metadata = raw.remove("__metadata__");
    let metadata = metadata.and_then(|metadata| serde_json::from_value(metadata).ok());
    let mut entries = BTreeMap::new();
    for (name, value) in raw {
        let entry: Entry = serde_json::from_value(value)
            .map_err(|error| format!("tensor `{name}` is not described: {error}"))?;
        check_entry(&entry, data_bytes).map_err(|why| format!("tensor `{name}` {why}"))?;
        entries.insert(name, entry);
    }
    Ok((entries, metadata.unwrap_or_default()))
}

fn check_entry(entry: &Entry, data_bytes: u64) -> Result<(), String> {
    let (begin, end) = entry.data_offsets;
    if begin > end || end > data_bytes {
        return Err(format!("lies at {begin}..{end}, outside the {data_bytes} bytes of data"));
    }
    // Formats we do not read are refused when asked for, so their size is nobody's concern.
    let Some(dtype) = dtype(&entry.dtype) else { return Ok(()) };
    let size =
        entry.shape.iter().try_fold(dtype.bytes(), |size, &dim| size.checked_mul(dim as u64));
    match size {
        Some(size) if size == end - begin => Ok(()),
        _ => Err(format!("of shape {:?} does not fit its {} bytes", entry.shape, end - begin)),
    }
}

fn dtype(name: &str) -> Option<Dtype> {
    match name {
        "F32" => Some(Dtype::F32),
        "F16" => Some(Dtype::F16),
        "BF16" => Some(Dtype::Bf16),
        _ => None,
    }
}

/// Checkpoints from before diffusers 0.12 name the attention of the VAE otherwise.
fn old_name(name: &str) -> Option<String> {
    [("to_q", "query"), ("to_k", "key"), ("to_v", "value"), ("to_out.0", "proj_attn")]
        .into_iter()
        .find(|(new, _)| name.contains(&format!(".attentions.0.{new}.")))
        .map(|(new, old)| name.replace(new, old))
}

fn decode(bytes: &[u8], dtype: Dtype) -> Vec<f32> {
    let pair = |bytes: &[u8]| [bytes[0], bytes[1]];
    match dtype {
        Dtype::F32 => {
            bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
        }
        Dtype::F16 => bytes.chunks_exact(2).map(|b| f16::from_le_bytes(pair(b)).to_f32()).collect(),
        Dtype::Bf16 => {
            bytes.chunks_exact(2).map(|b| bf16::from_le_bytes(pair(b)).to_f32()).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn file_with(header: &str, data: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(data);
        std::fs::write(file.path(), bytes).unwrap();
        file
    }

    fn refusal(header: &str, data: &[u8]) -> String {
        Weights::open(file_with(header, data).path()).unwrap_err().to_string()
    }

    #[test]
    fn values_are_read_whatever_format_they_are_stored_in() {
        let header = r#"{"__metadata__":{"format":"pt"},
            "a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},
            "b":{"dtype":"F16","shape":[1,1],"data_offsets":[4,6]},
            "c":{"dtype":"BF16","shape":[1],"data_offsets":[6,8]}}"#;
        let mut data = 1.5f32.to_le_bytes().to_vec();
        data.extend(f16::from_f32(-2.0).to_le_bytes());
        data.extend(bf16::from_f32(3.0).to_le_bytes());
        let weights = Weights::open(file_with(header, &data).path());
        assert!(weights.is_ok());
        let file = file_with(header, &data);
        let weights = Weights::open(file.path()).unwrap();
        for (name, shape, value) in
            [("a", vec![1], 1.5), ("b", vec![1, 1], -2.0), ("c", vec![1], 3.0)]
        {
            let place = weights.find(name, &shape).unwrap();
            assert_eq!(weights.read(place).unwrap(), [value]);
        }
        assert_eq!(weights.metadata("format"), Some("pt"));
    }

    #[test]
    fn a_missing_or_misshapen_tensor_is_named_with_both_shapes() {
        let header = r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},
            "ids":{"dtype":"I64","shape":[1],"data_offsets":[0,4]}}"#;
        let file = file_with(header, &[0; 4]);
        let weights = Weights::open(file.path()).unwrap();
        let missing = weights.find("b", &[2]).unwrap_err().to_string();
        assert!(missing.contains("`b`") && missing.contains("[2]"), "{missing}");
        let shape = weights.find("a", &[2, 3]).unwrap_err().to_string();
        assert!(
            shape.contains("`a`") && shape.contains("[1]") && shape.contains("[2, 3]"),
            "{shape}"
        );
        let dtype = weights.find("ids", &[1]).unwrap_err().to_string();
        assert!(dtype.contains("I64"), "{dtype}");
    }

    #[test]
    fn a_lying_header_is_refused() {
        assert!(refusal("not json", &[]).contains("not JSON"));
        let outside = r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#;
        assert!(refusal(outside, &[0; 4]).contains("outside"));
        let backwards = r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}"#;
        assert!(refusal(backwards, &[0; 4]).contains("outside"));
        let huge = r#"{"a":{"dtype":"F32","shape":[18446744073709551615,4],"data_offsets":[0,4]}}"#;
        assert!(refusal(huge, &[0; 4]).contains("does not fit"));
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), u64::MAX.to_le_bytes()).unwrap();
        assert!(Weights::open(file.path()).unwrap_err().to_string().contains("header of"));
        std::fs::write(file.path(), [1, 2]).unwrap();
        assert!(Weights::open(file.path()).unwrap_err().to_string().contains("shorter"));
    }
}
