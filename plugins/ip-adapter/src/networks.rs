//! An adapter's networks in memory, and what they make of pictures.

use super::face::Faces;
use super::files::{Files, Kind, Names};
use super::params::Wishes;
use super::picture;
use image::RgbImage;
use plugin_api::{Error, Host, Params};
use plugins_diffusion::engine::Model;
use plugins_diffusion::nets::{ClipVision, ImageProjection, Network as _, Port, Seen};
use plugins_diffusion::params::Acceleration;
use plugins_diffusion::pipeline::start_engine;
use plugins_diffusion::shared::Shared;
use plugins_diffusion::tensor::Tensor;
use std::path::PathBuf;
use std::sync::Arc;

/// For those who wonder why there is no style.
const NO_FACE: &str =
    "no face was found in the style image; nothing of it is added until there is one with a face";
/// Of the notice that says so.
const FACE: &str = "face";

pub struct Networks {
    encoder: Option<Box<Model<ClipVision>>>,
    faces: Option<Faces>,
    projection: Model<ImageProjection>,
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
    let encoder = match files.encoder {
        Some((weights, vision)) => Some(Box::new(engine.load(vision, &weights, &mut goes_on)?)),
        None => None,
    };
    let faces = files.faces.map(|faces| Faces::load(host, &faces)).transpose()?;
    let projection = engine.load(files.projection, &files.adapter, &mut goes_on)?;
    Ok(Networks { encoder, faces, projection })
}

impl Networks {
    /// The tokens of the picture that is wished for; none without one, and without a face for those that look for one.
    pub fn tokens(&self, wishes: &Wishes, host: &Host) -> Result<Option<Tensor>, Error> {
        let Some(path) = &wishes.image else {
            host.notice(FACE, None);
            return Ok(None);
        };
        let picture = picture::decode(path).map_err(|error| Error::invalid(error.to_string()))?;
        let seen = self.look(&picture)?;
        let tokens = seen.map(|seen| self.projection.run(&seen.iter().collect::<Vec<_>>()));
        let tokens = tokens.transpose()?;
        host.notice(FACE, tokens.is_none().then_some(NO_FACE));
        Ok(tokens)
    }

    /// What the projection takes; none without a face.
    fn look(&self, picture: &RgbImage) -> Result<Option<Vec<Tensor>>, Error> {
        let mut seen = Vec::new();
        let mut close = None;
        if let Some(faces) = &self.faces {
            let Some(face) = faces.find(picture)? else { return Ok(None) };
            seen.push(faces.embed(picture, &face)?);
            close = Some(face);
        }
        if let Some(encoder) = &self.encoder {
            let side = encoder.network().side();
            let pixels = match close {
                Some(face) => picture::prepare(&face.cut_out(picture, side as u32), side as u32),
                None => picture::prepare(picture, side as u32),
            };
            seen.push(encoder.run_all(&[&pixels])?.swap_remove(self.place()));
        }
        Ok(Some(seen))
    }

    /// The tokens of nothing.
    pub fn empty(&self) -> Result<Tensor, Error> {
        let encoder = self.encoder.iter().flat_map(|encoder| encoder.network().outputs());
        let patches = encoder.map(|port| sizes(&port)).next();
        let zeros = self.projection.network().inputs().into_iter().map(|port| {
            // How many patches there are, the encoder says.
            let is_open = port.dims.iter().any(|dim| dim.fixed().is_none());
            Tensor::zeros(patches.clone().filter(|_| is_open).unwrap_or_else(|| sizes(&port)))
        });
        let zeros: Vec<Tensor> = zeros.collect();
        Ok(self.projection.run(&zeros.iter().collect::<Vec<_>>())?)
    }

    /// Of what the projection takes among the encoder's outputs.
    fn place(&self) -> usize {
        if self.projection.network().seen() == Seen::Whole { 1 } else { 0 }
    }
}

fn sizes(port: &Port) -> Vec<usize> {
    port.dims.iter().map(|dim| dim.fixed().unwrap_or(1)).collect()
}
