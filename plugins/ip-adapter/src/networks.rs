//! An adapter's networks in memory, and what they make of pictures.

use super::files::Files;
use super::params::Wishes;
use super::picture;
use plugin_api::{Error, Host, Params};
use plugins_diffusion::engine::{Engine, LoadError, Model};
use plugins_diffusion::nets::{ClipVision, ImageProjection, Network as _, Seen};
use plugins_diffusion::params::Acceleration;
use plugins_diffusion::pipeline::start_engine;
use plugins_diffusion::shared::Shared;
use plugins_diffusion::tensor::Tensor;
use std::path::PathBuf;
use std::sync::Arc;

pub struct Networks {
    encoder: Model<ClipVision>,
    projection: Model<ImageProjection>,
}

/// Those in memory, by the files of the adapter and the encoder, and what they run on.
static NETWORKS: Shared<([PathBuf; 2], Acceleration), Networks> = Shared::new();

pub fn load(host: &Host, params: &Params<'_>) -> Result<Arc<Networks>, Error> {
    let wishes = Wishes::read(params)?;
    if let Some(reason) = super::plan::refusal(params.pipeline) {
        return Err(Error::new(reason));
    }
    let files = Files::find(&wishes, host.environment())?;
    let mut waits = || {
        host.progress(0.0, "waiting for another stream that loads the same adapter");
        !host.is_cancelled()
    };
    let key = ([files.adapter.clone(), files.encoder.clone()], wishes.acceleration);
    let load = || {
        let engine = start_engine(host, wishes.acceleration)?;
        read(host, &engine, files).map_err(|error| match host.is_cancelled() {
            true => Error::cancelled(),
            false => error.into(),
        })
    };
    NETWORKS.get(key, &mut waits, load).ok_or_else(Error::cancelled)?
}

fn read(host: &Host, engine: &Engine, files: Files) -> Result<Networks, LoadError> {
    let mut goes_on = || {
        host.progress(0.5, "loading the image encoder");
        !host.is_cancelled()
    };
    let encoder = engine.load(files.vision, &files.encoder, &mut goes_on)?;
    let projection = engine.load(files.projection, &files.adapter, &mut goes_on)?;
    Ok(Networks { encoder, projection })
}

impl Networks {
    /// The tokens of the picture that is wished for; none without one.
    pub fn tokens(&self, wishes: &Wishes) -> Result<Option<Tensor>, Error> {
        let Some(path) = &wishes.image else { return Ok(None) };
        let side = self.encoder.network().side();
        let pixels =
            picture::read(path, side).map_err(|error| Error::invalid(error.to_string()))?;
        let mut seen = self.encoder.run_all(&[&pixels])?;
        let seen = seen.swap_remove(self.place());
        Ok(Some(self.projection.run(&[&seen])?))
    }

    /// The tokens of nothing.
    pub fn empty(&self) -> Result<Tensor, Error> {
        let port = self.encoder.network().outputs().swap_remove(self.place());
        let shape: Vec<usize> = port.dims.iter().map(|dim| dim.fixed().unwrap_or(1)).collect();
        Ok(self.projection.run(&[&Tensor::zeros(shape)])?)
    }

    /// Of what the projection takes among the encoder's outputs.
    fn place(&self) -> usize {
        if self.projection.network().seen() == Seen::Patches { 0 } else { 1 }
    }
}
