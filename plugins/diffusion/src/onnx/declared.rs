//! What an ONNX file of others says of its inputs and outputs, read and checked before the library sees the file.

use std::io::Read;
use std::path::{Path, PathBuf};

use prost::Message;

use super::messages::{FLOAT, FLOAT16, INT64, ValueInfoProto};

/// A protobuf message cannot be longer.
const MAX_FILE: u64 = (2 << 30) - 1;
/// Of one input or output: what is above no picture needs.
pub const MAX_VALUES: usize = 1 << 27;
const MAX_PORTS: usize = 64;
const MAX_RANK: usize = 8;

const UINT8: i32 = 2;
const INT32: i32 = 6;

/// Why a file is no network to run.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{} is no ONNX file, or a damaged one: {why}; get it again", path.display())]
    Damaged { path: PathBuf, why: String },
    #[error("the network of {} is not what is wanted: {why}", path.display())]
    Unfit { path: PathBuf, why: String },
}

/// How the values of an input or output are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    F32,
    F16,
    U8,
    I32,
    I64,
}

/// An input or output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    pub name: String,
    pub element: Element,
    /// Without those that the file leaves open. Of an output that may be all of them.
    pub dims: Option<Vec<Option<usize>>>,
}

/// The inputs and outputs of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declared {
    pub path: PathBuf,
    pub inputs: Vec<Slot>,
    /// Those of kinds that are taken.
    pub outputs: Vec<Slot>,
}

/// The part of the messages that is looked at; weights are skipped.
#[derive(Clone, PartialEq, Message)]
struct ModelHead {
    #[prost(message, optional, tag = "7")]
    graph: Option<GraphHead>,
}

#[derive(Clone, PartialEq, Message)]
struct GraphHead {
    #[prost(message, repeated, tag = "5")]
    initializer: Vec<Named>,
    #[prost(message, repeated, tag = "11")]
    input: Vec<ValueInfoProto>,
    #[prost(message, repeated, tag = "12")]
    output: Vec<ValueInfoProto>,
}

#[derive(Clone, PartialEq, Message)]
struct Named {
    #[prost(string, tag = "8")]
    name: String,
}

impl Declared {
    pub fn read(path: &Path) -> Result<Self, FileError> {
        let damaged = |why: String| FileError::Damaged { path: path.to_owned(), why };
        let bytes = read(path)?;
        let head = ModelHead::decode(&bytes[..]).map_err(|error| damaged(error.to_string()))?;
        let graph = head.graph.ok_or_else(|| damaged("it has no graph".into()))?;
        // Files of older versions list their weights among the inputs.
        let is_weight = |name: &str| graph.initializer.iter().any(|weight| weight.name == name);
        let inputs = graph.input.iter().filter(|input| !is_weight(&input.name));
        let inputs = slots(inputs).map_err(damaged)?;
        // Nobody needs an output of another kind, such as a mask of truths.
        let outputs = graph.output.iter().filter(|output| is_taken(output));
        let outputs = slots(outputs).map_err(damaged)?;
        if inputs.is_empty() || outputs.is_empty() {
            return Err(damaged("it has no input or no output".into()));
        }
        if let Some(input) = inputs.iter().find(|input| input.dims.is_none()) {
            return Err(damaged(format!("input `{}` has no rank", input.name)));
        }
        Ok(Self { path: path.to_owned(), inputs, outputs })
    }

    /// That something about it is not as wanted.
    pub fn unfit(&self, why: impl Into<String>) -> FileError {
        FileError::Unfit { path: self.path.clone(), why: why.into() }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    let failed = |source| FileError::Read { path: path.to_owned(), source };
    let file = std::fs::File::open(path).map_err(failed)?;
    let length = file.metadata().map_err(failed)?.len();
    if length > MAX_FILE {
        let why = format!("{length} bytes, an ONNX file has at most {MAX_FILE}");
        return Err(FileError::Damaged { path: path.to_owned(), why });
    }
    let mut bytes = Vec::with_capacity(length as usize);
    file.take(MAX_FILE).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

fn slots<'a>(ports: impl Iterator<Item = &'a ValueInfoProto>) -> Result<Vec<Slot>, String> {
    let slots: Vec<Slot> = ports.take(MAX_PORTS + 1).map(slot).collect::<Result<_, _>>()?;
    match slots.len() {
        0..=MAX_PORTS => Ok(slots),
        _ => Err(format!("it has more than {MAX_PORTS} inputs or outputs")),
    }
}

fn slot(port: &ValueInfoProto) -> Result<Slot, String> {
    let name: String = port.name.chars().take(100).collect();
    let tensor = port.kind.as_ref().and_then(|kind| kind.tensor_type.as_ref());
    let tensor = tensor.ok_or_else(|| format!("`{name}` is no tensor"))?;
    let element = element(tensor.elem_type).ok_or_else(|| {
        format!("`{name}` has numbers of type {}, which are not taken", tensor.elem_type)
    })?;
    let dims = tensor.shape.as_ref().map(|shape| {
        let dim = |value: Option<i64>| value.filter(|&value| value > 0).map(|value| value as usize);
        shape.dim.iter().map(|each| dim(each.dim_value)).collect::<Vec<_>>()
    });
    check_size(&name, dims.as_deref().unwrap_or_default())?;
    Ok(Slot { name, element, dims })
}

fn element(kind: i32) -> Option<Element> {
    match kind {
        FLOAT => Some(Element::F32),
        FLOAT16 => Some(Element::F16),
        UINT8 => Some(Element::U8),
        INT32 => Some(Element::I32),
        INT64 => Some(Element::I64),
        _ => None,
    }
}

fn is_taken(port: &ValueInfoProto) -> bool {
    let tensor = port.kind.as_ref().and_then(|kind| kind.tensor_type.as_ref());
    tensor.is_some_and(|tensor| element(tensor.elem_type).is_some())
}

fn check_size(name: &str, dims: &[Option<usize>]) -> Result<(), String> {
    let known = dims.iter().flatten();
    let values = known.copied().try_fold(1_usize, usize::checked_mul);
    if dims.len() > MAX_RANK || values.is_none_or(|values| values > MAX_VALUES) {
        return Err(format!(
            "`{name}` has {dims:?} values; taken are {MAX_VALUES} in {MAX_RANK} dimensions"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::messages::{
        DimensionProto, GraphProto, ModelProto, TensorProto, TensorShapeProto, TensorTypeProto,
        TypeProto,
    };
    use super::*;
    use proptest::prelude::*;

    fn port(name: &str, dims: &[i64]) -> ValueInfoProto {
        let dim = |&size: &i64| match size {
            0 => DimensionProto { dim_param: Some("free".into()), ..DimensionProto::default() },
            size => DimensionProto { dim_value: Some(size), ..DimensionProto::default() },
        };
        let shape = TensorShapeProto { dim: dims.iter().map(dim).collect() };
        let tensor_type = Some(TensorTypeProto { elem_type: FLOAT, shape: Some(shape) });
        ValueInfoProto { name: name.into(), kind: Some(TypeProto { tensor_type }) }
    }

    fn model(inputs: Vec<ValueInfoProto>, outputs: Vec<ValueInfoProto>) -> Vec<u8> {
        let weight = TensorProto {
            name: "weight".into(),
            raw_data: Some(vec![1; 64]),
            ..TensorProto::default()
        };
        let graph = GraphProto {
            initializer: vec![weight],
            input: inputs,
            output: outputs,
            ..GraphProto::default()
        };
        ModelProto { ir_version: 9, graph: Some(graph), ..ModelProto::default() }.encode_to_vec()
    }

    fn read_bytes(bytes: &[u8]) -> Result<Declared, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.onnx");
        std::fs::write(&path, bytes).unwrap();
        Declared::read(&path).map_err(|error| error.to_string())
    }

    #[test]
    fn a_file_says_what_it_takes_and_weights_are_no_inputs() {
        let inputs = vec![port("picture", &[1, 3, 0, -1]), port("weight", &[4, 4])];
        let declared = read_bytes(&model(inputs, vec![port("depth", &[1, 0, 0])])).unwrap();
        let [picture] = &declared.inputs[..] else { panic!("{declared:?}") };
        assert_eq!((&*picture.name, picture.element), ("picture", Element::F32));
        assert_eq!(picture.dims, Some(vec![Some(1), Some(3), None, None]));
        assert_eq!(declared.outputs[0].dims, Some(vec![Some(1), None, None]));
    }

    #[test]
    fn what_is_absurd_is_refused() {
        let refused = |inputs, outputs| read_bytes(&model(inputs, outputs)).unwrap_err();
        let usual = || vec![port("x", &[1])];
        assert!(refused(vec![], usual()).contains("no input"));
        assert!(refused(usual(), vec![]).contains("no output"));
        assert!(refused(vec![port("x", &[i64::MAX, 2])], usual()).contains("taken are"));
        assert!(refused(usual(), vec![port("y", &[1; 9])]).contains("in 8 dimensions"));
        let many = (0..65).map(|index| port(&index.to_string(), &[1])).collect();
        assert!(refused(many, usual()).contains("more than 64"));
        let none = ValueInfoProto { name: "x".into(), kind: None };
        assert!(refused(vec![none], usual()).contains("`x` is no tensor"));
        assert!(read_bytes(b"").unwrap_err().contains("it has no graph"));
        let missing = Declared::read(Path::new("/nowhere.onnx")).unwrap_err();
        assert!(missing.to_string().contains("/nowhere.onnx"));
    }

    proptest! {
        #[test]
        fn damage_is_told_and_nothing_worse(place in 0_usize..200, flip in 1_u8.., cut in 0_usize..200) {
            let mut bytes = model(vec![port("x", &[1, 3, 0, 0])], vec![port("y", &[1, 0, 0])]);
            let length = bytes.len();
            bytes[place % length] ^= flip;
            let _ = read_bytes(&bytes);
            let _ = read_bytes(&bytes[..cut % length]);
        }
    }
}
