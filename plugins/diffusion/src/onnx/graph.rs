//! Writes a network down as an ONNX graph whose weights stay in the user's safetensors file.
//!
//! Initialisers are external data: file name, offset, length. Nothing is exported, converted or copied.
//!
//! Half-precision weights are computed with as they are where the provider can: from the first weight on, everything is
//! `f16`, and what enters and leaves the network is cast. What comes before that weight, like the waves of a timestep,
//! stays `f32`. Elsewhere they are cast to `f32` in the graph, which the runtime folds when it loads them.

mod ops;

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::rc::Rc;

use super::messages::*;
use super::operators;
use crate::nets::{Dim, Network, Port};
use crate::ops::{Convolution, Groups, OpError, Ops, Value};
use crate::weights::{Dtype, Place, Weights};

/// What the provider that will run the graph prefers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dialect {
    /// ONNX Runtime's own attention operator; TensorRT knows only the standard ones.
    pub has_fused_attention: bool,
    /// Whether `f16` weights are computed with as `f16`.
    pub has_half: bool,
    /// Whether what depends on weights alone is computed once, so that layers can be merged in the graph.
    pub merges_runs: bool,
    /// Whether our own operators are called, which are there for the CPU.
    pub has_operators: bool,
    /// ONNX Runtime's own group norm with SiLU, which only CUDA has.
    pub has_fused_group_norm: bool,
}

impl Dialect {
    /// The standard's operators, computed in `f32`.
    pub const PLAIN: Self = Self {
        has_fused_attention: false,
        has_half: false,
        merges_runs: false,
        has_operators: false,
        has_fused_group_norm: false,
    };
    /// What is quickest in ONNX Runtime on the CPU.
    pub const CPU: Self =
        Self { has_fused_attention: true, merges_runs: true, has_operators: true, ..Self::PLAIN };
    /// What is quickest in ONNX Runtime on a card of NVIDIA's.
    pub const CUDA: Self = Self {
        has_fused_attention: true,
        has_half: true,
        has_fused_group_norm: true,
        ..Self::PLAIN
    };
}

/// Records operations as graph nodes; a tensor is the name of a value.
pub struct Recorder<'w> {
    weights: &'w Weights,
    dialect: Dialect,
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    nodes: Vec<NodeProto>,
    constants: Vec<TensorProto>,
    constant_names: HashMap<(i32, Vec<i64>, Vec<u8>), Rc<str>>,
    params: BTreeMap<String, (Vec<usize>, Place)>,
    /// What our own operators make.
    results: Vec<ValueInfoProto>,
    /// The values that are `f16`.
    halves: HashSet<Rc<str>>,
    /// `f16` copies of values that are `f32`, by their names.
    halved: HashMap<Rc<str>, Rc<str>>,
    /// Whether what is recorded depends on weights alone.
    is_folding: bool,
}

/// Checks that the weights hold every tensor of the network in the right shape, and says where.
pub fn check<N: Network>(
    network: &N,
    weights: &Weights,
) -> Result<BTreeMap<String, (Vec<usize>, Place)>, OpError> {
    let (recorder, _) = record(network, weights, Dialect::PLAIN)?;
    Ok(recorder.state.into_inner().params)
}

/// Whether a provider that can computes the network in `f16`.
pub fn is_half<N: Network>(network: &N, weights: &Weights) -> Result<bool, OpError> {
    let mut params = check(network, weights)?.into_values();
    Ok(!network.needs_full_precision() && params.any(|(_, place)| place.dtype == Dtype::F16))
}

/// The network as a model that reads its weights beside itself.
pub fn write<N: Network>(
    network: &N,
    weights: &Weights,
    dialect: Dialect,
) -> Result<ModelProto, OpError> {
    let has_half = dialect.has_half && !network.needs_full_precision();
    let (recorder, results) = record(network, weights, Dialect { has_half, ..dialect })?;
    let outputs = network.outputs();
    for (result, output) in results.iter().zip(&outputs) {
        recorder.name_output(result, &output.name);
    }
    let state = recorder.state.into_inner();
    let mut initializer = state.constants;
    initializer.extend(
        state.params.iter().map(|(name, (shape, place))| external(weights, name, shape, *place)),
    );
    let graph = GraphProto {
        node: state.nodes,
        name: "network".into(),
        initializer,
        input: network.inputs().iter().map(value_info).collect(),
        output: outputs.iter().map(value_info).collect(),
        value_info: state.results,
    };
    let opset = |domain: &str, version| OperatorSetProto { domain: domain.into(), version };
    let mut opset_import = vec![opset("", 20), opset("com.microsoft", 1)];
    if dialect.has_operators {
        opset_import.push(opset(operators::DOMAIN, 1));
    }
    Ok(ModelProto {
        ir_version: 9,
        producer_name: "streamdiffusion-host".into(),
        graph: Some(graph),
        opset_import,
    })
}

fn record<'w, N: Network>(
    network: &N,
    weights: &'w Weights,
    dialect: Dialect,
) -> Result<(Recorder<'w>, Vec<Rc<str>>), OpError> {
    let recorder = Recorder { weights, dialect, state: RefCell::default() };
    let inputs: Vec<Rc<str>> =
        network.inputs().iter().map(|port| port.name.as_ref().into()).collect();
    let results = network.forward(&recorder, &inputs)?;
    Ok((recorder, results))
}

fn value_info(port: &Port) -> ValueInfoProto {
    let dim = |dim: &Dim| match *dim {
        Dim::Fixed(size) => DimensionProto { dim_value: Some(size as i64), dim_param: None },
        Dim::Free(name) | Dim::AtLeast(name, _) | Dim::MultipleOf(name, _) => {
            DimensionProto { dim_value: None, dim_param: Some(name.into()) }
        }
        Dim::Halved(..) | Dim::Times(..) | Dim::Any => {
            DimensionProto { dim_value: None, dim_param: None }
        }
    };
    let shape = TensorShapeProto { dim: port.dims.iter().map(dim).collect() };
    let tensor_type = Some(TensorTypeProto { elem_type: FLOAT, shape: Some(shape) });
    ValueInfoProto { name: port.name.to_string(), kind: Some(TypeProto { tensor_type }) }
}

fn external(weights: &Weights, name: &str, shape: &[usize], place: Place) -> TensorProto {
    let entry = |key: &str, value: String| StringStringEntryProto { key: key.into(), value };
    let location = weights.location(place).to_string_lossy().into_owned();
    TensorProto {
        dims: shape.iter().map(|&dim| dim as i64).collect(),
        data_type: element_type(place.dtype),
        name: name.into(),
        raw_data: None,
        external_data: vec![
            entry("location", location),
            entry("offset", place.offset.to_string()),
            entry("length", place.length.to_string()),
        ],
        data_location: Some(EXTERNAL),
    }
}

fn element_type(dtype: Dtype) -> i32 {
    match dtype {
        Dtype::F32 => FLOAT,
        Dtype::F16 => FLOAT16,
        Dtype::Bf16 => BFLOAT16,
    }
}

impl Recorder<'_> {
    fn add_node(
        &self,
        op: &str,
        domain: &str,
        inputs: &[&Rc<str>],
        attribute: Vec<AttributeProto>,
        output: Vec<String>,
    ) {
        let input = inputs.iter().map(|name| name.to_string()).collect();
        let name = output[0].clone();
        let node =
            NodeProto { input, output, name, op_type: op.into(), attribute, domain: domain.into() };
        self.state.borrow_mut().nodes.push(node);
    }

    /// Gives a result the name it leaves under, as `f32`.
    fn name_output(&self, result: &Rc<str>, name: &str) {
        let name = vec![name.to_owned()];
        if self.is_half(result) {
            let to_float = vec![AttributeProto::int("to", FLOAT.into())];
            self.add_node("Cast", "", &[result], to_float, name);
        } else {
            self.add_node("Identity", "", &[result], vec![], name);
        }
    }

    fn node_of(
        &self,
        op: &str,
        domain: &str,
        inputs: &[&Rc<str>],
        attributes: Vec<AttributeProto>,
    ) -> Rc<str> {
        let name = format!("{op}_{}", self.state.borrow().nodes.len());
        self.add_node(op, domain, inputs, attributes, vec![name.clone()]);
        name.into()
    }

    /// A node whose result has the element type of its first input.
    fn node(&self, op: &str, inputs: &[&Rc<str>], attributes: Vec<AttributeProto>) -> Rc<str> {
        let result = self.node_of(op, "", inputs, attributes);
        self.mark_like(inputs[0], &result);
        result
    }

    fn mark_like(&self, input: &Rc<str>, result: &Rc<str>) {
        if self.is_half(input) {
            self.state.borrow_mut().halves.insert(result.clone());
        }
    }

    fn is_half(&self, value: &Rc<str>) -> bool {
        self.state.borrow().halves.contains(value)
    }

    /// A node that wants inputs of one element type: `f16` as soon as one of them is.
    fn joined(&self, op: &str, inputs: &[&Rc<str>], attributes: Vec<AttributeProto>) -> Rc<str> {
        let inputs = self.alike(inputs);
        self.node(op, &inputs.iter().collect::<Vec<_>>(), attributes)
    }

    fn alike(&self, values: &[&Rc<str>]) -> Vec<Rc<str>> {
        let is_half = values.iter().any(|value| self.is_half(value));
        let convert = |value: &&Rc<str>| if is_half { self.half(value) } else { (*value).clone() };
        values.iter().map(convert).collect()
    }

    /// The value as `f16`; cast once, however often it is used.
    fn half(&self, value: &Rc<str>) -> Rc<str> {
        if self.is_half(value) {
            return value.clone();
        }
        if let Some(half) = self.state.borrow().halved.get(value) {
            return half.clone();
        }
        let half = self.cast(value, FLOAT16);
        let mut state = self.state.borrow_mut();
        state.halves.insert(half.clone());
        state.halved.insert(value.clone(), half.clone());
        half
    }

    /// The value as `f32`.
    fn full(&self, value: &Rc<str>) -> Rc<str> {
        if self.is_half(value) { self.cast(value, FLOAT) } else { value.clone() }
    }

    /// The sizes of a value, or some of them.
    fn shape_of(&self, value: &Rc<str>, range: Vec<AttributeProto>) -> Rc<str> {
        self.node_of("Shape", "", &[value], range)
    }

    fn raw_constant(&self, data_type: i32, dims: Vec<i64>, raw: Vec<u8>) -> Rc<str> {
        let mut state = self.state.borrow_mut();
        let key = (data_type, dims, raw);
        if let Some(name) = state.constant_names.get(&key) {
            return name.clone();
        }
        let name: Rc<str> = format!("constant_{}", state.constants.len()).into();
        let (data_type, dims, raw) = key.clone();
        let raw_data = Some(raw);
        state.constants.push(TensorProto {
            dims,
            data_type,
            name: name.to_string(),
            raw_data,
            ..Default::default()
        });
        state.constant_names.insert(key, name.clone());
        name
    }

    fn int_constant(&self, values: &[i64]) -> Rc<str> {
        let raw = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.raw_constant(INT64, vec![values.len() as i64], raw)
    }

    fn float_constant(&self, values: &[f32], shape: &[usize]) -> Rc<str> {
        let raw = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.raw_constant(FLOAT, shape.iter().map(|&dim| dim as i64).collect(), raw)
    }

    fn resize(&self, x: &Rc<str>, scales: &Rc<str>, sizes: Option<&Rc<str>>) -> Rc<str> {
        let none: Rc<str> = "".into();
        let mut inputs = vec![x, &none, scales];
        inputs.extend(sizes);
        let attributes = vec![
            AttributeProto::text("mode", "nearest"),
            AttributeProto::text("coordinate_transformation_mode", "asymmetric"),
            AttributeProto::text("nearest_mode", "floor"),
        ];
        self.node("Resize", &inputs, attributes)
    }

    /// A node of one of our operators. Those that follow learn from us how many axes its result has.
    fn own(
        &self,
        op: &str,
        inputs: &[&Rc<str>],
        attributes: Vec<AttributeProto>,
        axes: usize,
    ) -> Rc<str> {
        let result = self.node_of(op, operators::DOMAIN, inputs, attributes);
        let port = Port { name: result.to_string().into(), dims: vec![Dim::Any; axes] };
        self.state.borrow_mut().results.push(value_info(&port));
        result
    }

    fn own_group_norm(
        &self,
        x: &Rc<str>,
        affine: [&Rc<str>; 2],
        groups: Groups,
        has_silu: bool,
    ) -> Value<Self> {
        // In the file they may lie anywhere, where Rust must not read them as floats: this copies them, once.
        let [weight, bias] = affine.map(|param| self.reshape(param, &[-1, groups.channels as i64]));
        let inputs = [x, &weight?, &bias?];
        let attributes = vec![
            AttributeProto::int("groups", groups.count as i64),
            AttributeProto::float("epsilon", groups.epsilon),
            AttributeProto::int("silu", has_silu.into()),
        ];
        Ok(self.own("GroupNorm", &inputs, attributes, 4))
    }

    /// The group norms of the UNets of Stable Diffusion and SDXL in half precision, with which ONNX Runtime's fused
    /// operator was seen to work. It takes one weight for a channel, not one for each row.
    fn fuses_group_norm(&self, x: &Rc<str>, affine: [&Rc<str>; 2], groups: Groups) -> bool {
        let Groups { channels, count, .. } = groups;
        let is_param = |name: &Rc<str>| self.state.borrow().params.contains_key(&**name);
        self.dialect.has_fused_group_norm
            && self.is_half(x)
            && affine.into_iter().all(is_param)
            && (count, channels % 320) == (32, 0)
    }

    /// On pictures that lie with their channels last; where the provider lays them out so, the transpositions fall away.
    fn fused_group_norm(
        &self,
        x: &Rc<str>,
        affine: [&Rc<str>; 2],
        groups: Groups,
        has_silu: bool,
    ) -> Value<Self> {
        let [weight, bias] = affine.map(|param| self.full(param));
        let last = self.permute(x, &[0, 2, 3, 1])?;
        let attributes = vec![
            AttributeProto::int("groups", groups.count as i64),
            AttributeProto::float("epsilon", groups.epsilon),
            AttributeProto::int("activation", has_silu.into()),
            AttributeProto::int("channels_last", 1),
        ];
        let inputs = [&last, &weight, &bias];
        let normed = self.node_of("GroupNorm", "com.microsoft", &inputs, attributes);
        self.mark_like(x, &normed);
        self.permute(&normed, &[0, 3, 1, 2])
    }

    fn own_convolution(&self, x: &Rc<str>, convolution: Convolution<Rc<str>>) -> Value<Self> {
        let Convolution { weight, bias, inputs, outputs, window, summand, has_relu, .. } =
            convolution;
        // As for group norms: whole copies, at places where floats may be.
        let weight = self.reshape(weight, &[outputs as i64, (inputs * 9) as i64])?;
        let bias = match bias {
            Some(bias) => self.reshape(bias, &[1, outputs as i64])?,
            None => self.float_constant(&vec![0.0; outputs], &[outputs]),
        };
        let mut given = vec![x, &weight, &bias];
        given.extend(summand);
        let attributes = vec![
            AttributeProto::ints("pads", window.padding),
            AttributeProto::int("relu", has_relu.into()),
        ];
        Ok(self.own("Convolution", &given, attributes, 4))
    }

    fn cast(&self, x: &Rc<str>, to: i32) -> Rc<str> {
        self.node_of("Cast", "", &[x], vec![AttributeProto::int("to", to.into())])
    }
}
