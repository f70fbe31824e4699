//! Reading the golden data and comparing with it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use plugins_diffusion::engine::{Backend, Engine, EngineOptions, Report};
use plugins_diffusion::onnx::Provider;
use plugins_diffusion::tensor::Tensor;
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

/// What became of a case: its worst errors, or why it was not run.
pub type Outcome = Result<Vec<String>, String>;

/// A folder of recorded cases with its checkpoints.
pub struct Golden {
    pub folder: PathBuf,
    pub checkpoints: PathBuf,
    manifest: Value,
}

/// One case's recorded tensors.
pub struct Case {
    pub name: String,
    pub about: Value,
    tolerance: f32,
    floats: HashMap<String, Tensor>,
    ints: HashMap<String, (Vec<usize>, Vec<i64>)>,
    report: Vec<String>,
}

impl Golden {
    pub fn open(folder: PathBuf, checkpoints: PathBuf) -> Self {
        let text = std::fs::read_to_string(folder.join("manifest.json")).unwrap();
        Self { folder, checkpoints, manifest: serde_json::from_str(&text).unwrap() }
    }

    /// The cases kept in this repository.
    pub fn checked_in() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        Self::open(root.join("tests/golden"), root.join("../../models/test"))
    }

    pub fn prompts(&self) -> Vec<String> {
        self.manifest["prompts"]
            .as_array()
            .unwrap()
            .iter()
            .map(|text| text.as_str().unwrap().into())
            .collect()
    }

    pub fn names(&self) -> Vec<String> {
        self.manifest["cases"].as_object().unwrap().keys().cloned().collect()
    }

    pub fn case(&self, name: &str) -> Case {
        let about = self.manifest["cases"][name].clone();
        assert!(about.is_object(), "no case `{name}` in {}", self.folder.display());
        let (mut floats, mut ints) = (HashMap::new(), HashMap::new());
        let file = about["file"].as_str().unwrap();
        if file.ends_with(".safetensors") {
            let bytes = std::fs::read(self.folder.join(file)).unwrap();
            for (name, view) in SafeTensors::deserialize(&bytes).unwrap().tensors() {
                let (shape, data) = (view.shape().to_vec(), view.data());
                match view.dtype() {
                    Dtype::F32 => {
                        let values =
                            data.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()));
                        floats.insert(name, Tensor::new(shape, values.collect()));
                    }
                    Dtype::I64 => {
                        let values =
                            data.chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().unwrap()));
                        ints.insert(name, (shape, values.collect()));
                    }
                    Dtype::I32 => {
                        let values =
                            data.chunks_exact(4).map(|b| i32::from_le_bytes(b.try_into().unwrap()));
                        ints.insert(name, (shape, values.map(i64::from).collect()));
                    }
                    Dtype::U8 => {
                        ints.insert(name, (shape, data.iter().map(|&byte| byte.into()).collect()));
                    }
                    _ => {}
                }
            }
        }
        let recorded = about["tolerance"]["f32"].as_f64().unwrap_or(0.0) as f32;
        let tolerance = tolerance().unwrap_or(recorded);
        Case { name: name.into(), about, tolerance, floats, ints, report: Vec::new() }
    }

    /// Runs a case of any kind on an engine.
    pub fn run(&self, name: &str, engine: &Engine) -> Outcome {
        crate::cases::run(self, name, engine)
    }

    /// Runs a case and fails the test when it could not be run.
    pub fn expect(&self, name: &str, engine: &Engine) {
        let report = self.run(name, engine).unwrap_or_else(|why| panic!("{name}: {why}"));
        let Report { backend, provider, .. } = engine.report();
        println!("{name} on {backend}, {provider}: {}", report.join(", "));
    }
}

impl Case {
    pub fn has(&self, tensor: &str) -> bool {
        self.floats.contains_key(tensor) || self.ints.contains_key(tensor)
    }

    pub fn tensors(&self) -> Vec<String> {
        let mut names: Vec<String> = self.floats.keys().chain(self.ints.keys()).cloned().collect();
        names.sort();
        names
    }

    pub fn float(&self, name: &str) -> &Tensor {
        self.floats
            .get(name)
            .unwrap_or_else(|| panic!("{} has no float tensor `{name}`", self.name))
    }

    pub fn int(&self, name: &str) -> &[i64] {
        &self.ints.get(name).unwrap_or_else(|| panic!("{} has no int tensor `{name}`", self.name)).1
    }

    pub fn int_shape(&self, name: &str) -> &[usize] {
        &self.ints[name].0
    }

    pub fn bytes(&self, name: &str) -> Vec<u8> {
        self.int(name).iter().map(|&value| value as u8).collect()
    }

    /// Fails unless the values are within the case's tolerance of the recorded ones.
    pub fn compare(&mut self, name: &str, ours: &[f32]) {
        let recorded = self.float(name).data().to_vec();
        self.compare_with(name, ours, &recorded);
    }

    pub fn compare_with(&mut self, name: &str, ours: &[f32], recorded: &[f32]) {
        assert_eq!(ours.len(), recorded.len(), "{} {name}: number of values", self.name);
        assert!(ours.iter().all(|value| value.is_finite()), "{} {name}: not finite", self.name);
        let largest = recorded
            .iter()
            .fold(0f32, |largest, value| largest.max(value.abs()))
            .max(f32::MIN_POSITIVE);
        let apart = ours.iter().zip(recorded).fold(0f32, |apart, (a, b)| apart.max((a - b).abs()));
        let error = apart / largest;
        self.report.push(format!("{name} {error:.1e}"));
        assert!(
            error <= self.tolerance,
            "{} {name}: error {error:.2e} is above {:.1e}",
            self.name,
            self.tolerance
        );
    }

    pub fn compare_ints(&mut self, name: &str, ours: &[i64]) {
        assert_eq!(ours, self.int(name), "{} {name}", self.name);
        self.report.push(format!("{name} equal"));
    }

    pub fn note(&mut self, text: String) {
        self.report.push(text);
    }

    /// The report, one entry a tensor; of tensors that were compared often only the worst.
    pub fn report(self) -> Vec<String> {
        let mut worst: Vec<(String, String)> = Vec::new();
        for entry in self.report {
            let (name, error) = entry
                .rsplit_once(' ')
                .map_or((entry.clone(), String::new()), |(a, b)| (a.into(), b.into()));
            match worst.iter_mut().find(|(known, _)| *known == name) {
                Some((_, known)) => {
                    let value = |text: &str| text.parse::<f32>().unwrap_or(0.0);
                    if value(&error) > value(known) {
                        *known = error;
                    }
                }
                None => worst.push((name, error)),
            }
        }
        worst
            .into_iter()
            .map(|(name, error)| format!("{name} {error}").trim_end().to_owned())
            .collect()
    }
}

pub fn options(backend: Backend) -> EngineOptions {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    EngineOptions {
        backend,
        providers: vec![provider()],
        runtime: root.join("engines/runtime"),
        engines: root.join("engines"),
        has_cuda_graphs: true,
        threads: 2,
    }
}

/// Where ONNX Runtime computes: on the CPU, or strictly on what `TEST_PROVIDER` names. Without
/// `NVIDIA_TF32_OVERRIDE=0` CUDA rounds what it multiplies to TF32, which the recorded tolerances do not allow for.
pub fn provider() -> Provider {
    match std::env::var("TEST_PROVIDER").as_deref() {
        Ok("tensorrt") => Provider::TensorRt,
        Ok("cuda") => Provider::Cuda,
        Ok("cpu") | Err(_) => Provider::Cpu,
        Ok(other) => panic!("TEST_PROVIDER must be tensorrt, cuda or cpu, got {other}"),
    }
}

/// `TEST_TOLERANCE` instead of the recorded one, to see how far a provider is from the reference.
fn tolerance() -> Option<f32> {
    let text = std::env::var("TEST_TOLERANCE").ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("TEST_TOLERANCE must be a number, got {text}")))
}

/// Both back ends. ONNX Runtime is not optional here: a golden test without it would show nothing about it.
pub fn engines() -> Vec<Engine> {
    [Backend::Onnx, Backend::Candle]
        .map(|backend| Engine::start(&options(backend)).unwrap_or_else(|error| panic!("{error}")))
        .into()
}
