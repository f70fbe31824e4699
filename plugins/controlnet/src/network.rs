//! ControlNets in memory, and one call of them.

use super::params::{Files, Wishes, find};
use plugin_api::{Error, Host, Params};
use plugins_diffusion::engine::{Engine, Model};
use plugins_diffusion::nets::{ControlNet, Network as _};
use plugins_diffusion::params::Acceleration;
use plugins_diffusion::pipeline::start_engine;
use plugins_diffusion::shared::Shared;
use plugins_diffusion::tensor::Tensor;
use std::path::PathBuf;
use std::sync::Arc;

pub type Network = Model<ControlNet>;

/// Those in memory, by the folder and what they run on.
static NETWORKS: Shared<(PathBuf, Acceleration), Network> = Shared::new();

/// What a network with 6 channels takes beside its picture: the frame before, which comes first.
const PICTURE: &str = "controlnet_cond";
const PREVIOUS: &str = "previous_frame";

pub fn load(host: &Host, params: &Params<'_>) -> Result<Arc<Network>, Error> {
    let (name, wishes) = (params.pipeline, Wishes::read(params)?);
    let folder = find(name, host.environment())?;
    let files = Files::open(&folder)?;
    files.check(name, &wishes).map_err(Error::invalid)?;
    let mut waits = || {
        host.progress(0.0, &format!("waiting for another stream that loads {name}"));
        !host.is_cancelled()
    };
    let key = (folder, wishes.acceleration);
    let load = || {
        let engine = start_engine(host, wishes.acceleration)?;
        read(host, name, &engine, files)
    };
    NETWORKS.get(key, &mut waits, load).ok_or_else(Error::cancelled)?
}

fn read(host: &Host, name: &str, engine: &Engine, files: Files) -> Result<Network, Error> {
    let mut goes_on = || {
        host.progress(0.5, &format!("loading {name}"));
        !host.is_cancelled()
    };
    let loaded = engine.load(files.network, &files.weights, &mut goes_on);
    loaded.map_err(|error| match host.is_cancelled() {
        true => Error::cancelled(),
        false => error.into(),
    })
}

/// The network's answer to what a pipeline gives, named as by diffusers.
pub fn residuals(
    network: &Network,
    given: &[plugin_api::Tensor<'_>],
) -> Result<Vec<plugin_api::Tensor<'static>>, Error> {
    let rows = plugin_api::Tensor::find(given, "sample")?.shape().first().copied().unwrap_or(0);
    let input = |name: &str| match name {
        PICTURE => picture(network.network(), given, rows),
        name => Ok(own(plugin_api::Tensor::find(given, name)?)),
    };
    let ports = network.network().inputs();
    let inputs = ports.iter().map(|port| input(&port.name)).collect::<Result<Vec<_>, Error>>()?;
    let made = network.run_all(&inputs.iter().collect::<Vec<_>>())?;
    let names = network.network().outputs().into_iter().map(|port| port.name.into_owned());
    let lend = |(name, tensor): (String, Tensor)| {
        let shape = tensor.shape().to_vec();
        plugin_api::Tensor::new(name, shape, tensor.into_data())
    };
    names.zip(made).map(lend).collect()
}

fn own(tensor: &plugin_api::Tensor<'_>) -> Tensor {
    Tensor::new(tensor.shape(), tensor.values().to_vec())
}

/// The control picture for every row: one that is given for all of them, or one for each.
fn picture(
    network: &ControlNet,
    given: &[plugin_api::Tensor<'_>],
    rows: usize,
) -> Result<Tensor, Error> {
    let new = plugin_api::Tensor::find(given, PICTURE)?;
    let picture = match network.picture_channels() {
        3 => own(new),
        _ => beside(plugin_api::Tensor::find(given, PREVIOUS)?, new)?,
    };
    Ok(if picture.shape().first() == Some(&1) { picture.repeat_rows(rows) } else { picture })
}

/// The channels of two pictures, row by row.
fn beside(
    first: &plugin_api::Tensor<'_>,
    second: &plugin_api::Tensor<'_>,
) -> Result<Tensor, Error> {
    let &[rows, channels, height, width] = second.shape() else {
        return Err(Error::invalid(format!(
            "`{PICTURE}` has the shape {:?}, not that of pictures",
            second.shape()
        )));
    };
    if first.shape() != second.shape() {
        let shapes = format!("{:?} and {:?}", first.shape(), second.shape());
        return Err(Error::invalid(format!("`{PREVIOUS}` and `{PICTURE}` differ: {shapes}")));
    }
    let row = (channels * height * width).max(1);
    let pairs = first.values().chunks_exact(row).zip(second.values().chunks_exact(row));
    let data = pairs.flat_map(|(first, second)| [first, second].concat()).collect();
    Ok(Tensor::new([rows, 2 * channels, height, width], data))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pictures<'a>(name: &'a str, rows: usize, first: f32) -> plugin_api::Tensor<'a> {
        let values: Vec<f32> = (0..rows * 6).map(|index| first + index as f32).collect();
        plugin_api::Tensor::new(name, [rows, 3, 1, 2], values).unwrap()
    }

    #[test]
    fn the_frame_before_comes_first_row_by_row() {
        let both = beside(&pictures(PREVIOUS, 2, 100.0), &pictures(PICTURE, 2, 0.0)).unwrap();
        assert_eq!(both.shape(), [2, 6, 1, 2]);
        let wanted = |from: [f32; 2]| {
            from.into_iter().flat_map(|from| (0..6).map(move |index| from + index as f32)).collect()
        };
        let rows: [Vec<f32>; 2] = [wanted([100.0, 0.0]), wanted([106.0, 6.0])];
        assert_eq!([both.row(0), both.row(1)], [&rows[0][..], &rows[1][..]]);
    }

    #[test]
    fn pictures_that_differ_or_are_none_are_refused() {
        let flat = plugin_api::Tensor::new(PICTURE, [6], vec![0.0; 6]).unwrap();
        let error = beside(&flat, &flat).unwrap_err().message;
        assert!(error.contains("not that of pictures"), "{error}");
        let error = beside(&pictures(PREVIOUS, 1, 0.0), &pictures(PICTURE, 2, 0.0)).unwrap_err();
        assert!(error.message.contains("differ: [1, 3, 1, 2] and [2, 3, 1, 2]"), "{error}");
    }
}
