//! A face in a picture, as the vector by which InsightFace tells people apart: found, turned upright, looked at.
//!
//! Both networks run on the CPU: they are asked once for each style image.

mod alignment;
mod detector;
mod files;
#[cfg(test)]
mod tests;

pub use files::{FaceFiles, LICENCE};

use alignment::Alignment;
use detector::Detector;
use image::RgbImage;
use plugin_api::{Environment, Host};
use plugins_diffusion::engine::{Backend, Engine, EngineError, EngineOptions, LoadError, RunError};
use plugins_diffusion::onnx::{Declared, FileError, FileSession, Provider};
use plugins_diffusion::params::RUNTIME;
use plugins_diffusion::tensor::Tensor;
use std::path::{Path, PathBuf};

/// Along the side of a face that is looked at.
const SIDE: usize = 112;

/// Why a face network cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FaceError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Run(#[from] RunError),
    #[error("the network of {} gave {got}; wanted is {wanted}", path.display())]
    Output { path: PathBuf, got: String, wanted: String },
}

/// The networks, loaded.
pub struct Faces {
    detector: Detector,
    embedder: FileSession,
}

impl Faces {
    pub fn load(host: &Host, files: &FaceFiles) -> Result<Self, FaceError> {
        let engine = start(host.environment())?;
        let mut goes_on = || {
            host.progress(0.5, "loading the face networks");
            !host.is_cancelled()
        };
        let embedder = Declared::read(&files.embedder)?;
        let embedder = engine.load_file(embedder, vec![vec![1, 3, SIDE, SIDE]], &mut goes_on)?;
        let detector = Detector::load(engine, &files.detector, &mut goes_on)?;
        Ok(Self { detector, embedder })
    }

    /// How the face that is surest lies; none without one.
    pub fn find(&self, picture: &RgbImage) -> Result<Option<Alignment>, FaceError> {
        Ok(self.detector.find(picture)?.as_ref().and_then(Alignment::of))
    }

    /// `[1, width]` of length 1.
    pub fn embed(&self, picture: &RgbImage, face: &Alignment) -> Result<Tensor, FaceError> {
        let upright = face.cut_out(picture, SIDE as u32);
        let number = |level: u8| (f32::from(level) - 127.5) / 127.5;
        let outputs = self.embedder.run(&[&planes(&upright, number)])?;
        unit(&self.embedder.declared().path, outputs.first())
    }
}

fn start(environment: &Environment) -> Result<Engine, EngineError> {
    Engine::start(&EngineOptions {
        backend: Backend::Onnx,
        providers: vec![Provider::Cpu],
        runtime: environment.engines_dir.join(RUNTIME),
        engines: environment.engines_dir.clone(),
        has_cuda_graphs: false,
        threads: environment.threads.max(1) as usize,
    })
}

/// `[1, 3, height, width]`
fn planes(picture: &RgbImage, number: impl Fn(u8) -> f32) -> Tensor {
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    let plane = |channel: usize| picture.pixels().map(move |pixel| pixel.0[channel]);
    let values = (0..3).flat_map(plane).map(number).collect();
    Tensor::new([1, 3, height, width], values)
}

/// Of length 1.
fn unit(path: &Path, made: Option<&Tensor>) -> Result<Tensor, FaceError> {
    let refuse = |got: String| {
        let wanted = "a vector of numbers that are not all 0, [1, width]".into();
        Err(FaceError::Output { path: path.to_owned(), got, wanted })
    };
    let Some(made) = made else { return refuse("no output".into()) };
    let &[1, width] = made.shape() else {
        return refuse(format!("an output of {:?}", made.shape()));
    };
    let length = made.data().iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
    if !length.is_finite() || length == 0.0 {
        return refuse(format!("one of length {length}"));
    }
    let values = made.data().iter().map(|value| (f64::from(*value) / length) as f32).collect();
    Ok(Tensor::new([1, width], values))
}
