//! An adapter's networks in memory, and what they make of pictures.

use super::face::Faces;
use super::files::{Eyes, Files, Kind, Names};
use super::params::Wishes;
use super::picture::{self, PictureError};
use plugin_api::{Error, Host, LogLevel, Params};
use plugins_diffusion::engine::Model;
use plugins_diffusion::nets::{ClipVision, ImageProjection, Network as _, Seen};
use plugins_diffusion::params::Acceleration;
use plugins_diffusion::pipeline::start_engine;
use plugins_diffusion::shared::Shared;
use plugins_diffusion::tensor::Tensor;
use std::path::PathBuf;
use std::sync::Arc;

/// For those who wonder why there is no style.
const NO_FACE: &str =
    "no face was found in the style image; nothing of it is added until there is one with a face";

pub struct Networks {
    looks: Looks,
    projection: Model<ImageProjection>,
}

/// By what a picture is looked at.
enum Looks {
    Encoder(Box<Model<ClipVision>>),
    Faces(Faces),
}

/// Those in memory, by the files of all networks, and what they run on.
static NETWORKS: Shared<(Vec<PathBuf>, Acceleration), Networks> = Shared::new();

pub fn load(host: &Host, params: &Params<'_>) -> Result<Arc<Networks>, Error> {
    let wishes = Wishes::read(params)?;
    let kind = Kind::of_name(params.pipeline);
    let names = Names::of(&wishes, kind);
    let files = Files::find(&names, kind, &wishes, host.environment()).map_err(|errors| {
        let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
        Error::new(errors.join("; "))
    })?;
    let mut waits = || {
        host.progress(0.0, "waiting for another stream that loads the same adapter");
        !host.is_cancelled()
    };
    let key = (files.paths(), wishes.acceleration);
    let load = || {
        read(host, wishes.acceleration, files).map_err(|error| match host.is_cancelled() {
            true => Error::cancelled(),
            false => error,
        })
    };
    NETWORKS.get(key, &mut waits, load).ok_or_else(Error::cancelled)?
}

fn read(host: &Host, acceleration: Acceleration, files: Files) -> Result<Networks, Error> {
    let engine = start_engine(host, acceleration)?;
    let mut goes_on = || {
        host.progress(0.5, "loading the image encoder");
        !host.is_cancelled()
    };
    let looks = match files.eyes {
        Eyes::Encoder { weights, vision } => {
            Looks::Encoder(Box::new(engine.load(vision, &weights, &mut goes_on)?))
        }
        Eyes::Faces(faces) => Looks::Faces(Faces::load(host, &faces)?),
    };
    let projection = engine.load(files.projection, &files.adapter, &mut goes_on)?;
    Ok(Networks { looks, projection })
}

impl Networks {
    /// The tokens of the picture that is wished for; none without one, and without a face for those that look for one.
    pub fn tokens(&self, wishes: &Wishes, host: &Host) -> Result<Option<Tensor>, Error> {
        let Some(path) = &wishes.image else { return Ok(None) };
        let wrong = |error: PictureError| Error::invalid(error.to_string());
        let seen = match &self.looks {
            Looks::Encoder(encoder) => {
                let pixels = picture::read(path, encoder.network().side()).map_err(wrong)?;
                let mut seen = encoder.run_all(&[&pixels])?;
                Some(seen.swap_remove(self.place()))
            }
            Looks::Faces(faces) => faces.embed(&picture::decode(path).map_err(wrong)?)?,
        };
        match seen {
            Some(seen) => Ok(Some(self.projection.run(&[&seen])?)),
            None => {
                host.log(LogLevel::Warn, NO_FACE);
                Ok(None)
            }
        }
    }

    /// The tokens of nothing.
    pub fn empty(&self) -> Result<Tensor, Error> {
        let port = match &self.looks {
            Looks::Encoder(encoder) => encoder.network().outputs().swap_remove(self.place()),
            Looks::Faces(_) => self.projection.network().inputs().swap_remove(0),
        };
        let shape: Vec<usize> = port.dims.iter().map(|dim| dim.fixed().unwrap_or(1)).collect();
        Ok(self.projection.run(&[&Tensor::zeros(shape)])?)
    }

    /// Of what the projection takes among the encoder's outputs.
    fn place(&self) -> usize {
        if self.projection.network().seen() == Seen::Patches { 0 } else { 1 }
    }
}
