//! A host with the test networks, a stream of one processor, and what was recorded.

use plugin_api::{
    Environment, Error, Frame, FrameFormat, FrameMut, Host, Params, Pipeline, Plan, PlanRequest,
    Plugin, Stream,
};
use plugin_processors::neural::planes::Plane;
use plugin_processors::picture::Picture;
use plugin_processors::plugin::{Processors, Step};
use safetensors::{Dtype, SafeTensors};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

pub fn host_of(models: &Path) -> Host {
    Host::detached(Environment {
        models_dir: models.to_owned(),
        engines_dir: folder().join("../../../engines"),
        cache_dir: std::env::temp_dir(),
        threads: 2,
    })
}

pub fn host() -> Host {
    host_of(&folder().join("models"))
}

pub fn object(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

pub fn plan(
    host: &Host,
    name: &str,
    params: Value,
    previous: Option<Value>,
) -> Result<Plan, Error> {
    let (values, previous) = (object(params), previous.map(object));
    let params = Params::of_lent(name, &values, FrameFormat::new(192, 128));
    Processors::plan(&PlanRequest { params, previous: previous.as_ref(), host })
}

pub fn open(host: &Host, name: &str, params: Value, size: (usize, usize)) -> Result<Step, Error> {
    let values = object(params);
    let size = FrameFormat::new(size.0 as u32, size.1 as u32);
    let params = Params::of_lent(name, &values, size);
    Processors::open(host, &params)?.open_stream(host, &params)
}

pub fn process(step: &mut Step, picture: &Picture) -> Result<Picture, Error> {
    let (width, height) = (picture.width() as u32, picture.height() as u32);
    let (stride, pixels) = (3 * picture.width(), picture.rgb());
    let input = Frame { id: 1, captured_ns: 1, width, height, stride, pixels };
    let FrameFormat { width, height } = step.formats().output;
    let mut rgb = vec![7; 3 * width as usize * height as usize];
    let stride = 3 * width as usize;
    let mut output = FrameMut { id: 1, captured_ns: 1, width, height, stride, pixels: &mut rgb };
    step.process(&input, &mut output)?;
    Ok(Picture::new(width as usize, height as usize, rgb).unwrap())
}

/// What one processor makes of one picture.
pub fn made(name: &str, params: Value, picture: &Picture) -> Picture {
    let size = (picture.width(), picture.height());
    let mut step = open(&host(), name, params, size).unwrap();
    process(&mut step, picture).unwrap()
}

static RECORDED: LazyLock<Vec<u8>> =
    LazyLock::new(|| std::fs::read(folder().join("neural.safetensors")).unwrap());

/// Its shape, and its numbers whatever they are stored in.
pub fn numbers(name: &str) -> (Vec<usize>, Vec<f32>) {
    let file = SafeTensors::deserialize(&RECORDED).unwrap();
    let tensor = file.tensor(name).unwrap();
    let data = tensor.data();
    let numbers = match tensor.dtype() {
        Dtype::U8 => data.iter().map(|&level| level.into()).collect(),
        Dtype::I8 => data.iter().map(|&whole| whole.cast_signed().into()).collect(),
        Dtype::F32 => data.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect(),
        other => panic!("{name} is in {other:?}"),
    };
    (tensor.shape().to_vec(), numbers)
}

pub fn bytes(name: &str) -> Vec<u8> {
    numbers(name).1.into_iter().map(|level| level as u8).collect()
}

pub fn picture(name: &str) -> Picture {
    let shape = numbers(name).0;
    Picture::new(shape[1], shape[0], bytes(name)).unwrap()
}

pub fn plane(name: &str) -> Plane {
    let (shape, values) = numbers(name);
    Plane { width: shape[1], height: shape[0], values }
}

pub fn red(picture: &Picture) -> Vec<u8> {
    picture.rgb().iter().step_by(3).copied().collect()
}

/// That levels are equal but for `tolerance`.
pub fn compare(name: &str, made: &[u8], recorded: &[u8], tolerance: u8) {
    assert_eq!(made.len(), recorded.len(), "{name}");
    let worst = made.iter().zip(recorded).map(|(one, other)| one.abs_diff(*other)).max().unwrap();
    println!("{name}: at most {worst} levels apart");
    assert!(worst <= tolerance, "{name}: {worst} levels apart");
    let range = recorded.iter().max().unwrap() - recorded.iter().min().unwrap();
    assert!(range > 2 * tolerance, "{name}: too plain to compare");
}
