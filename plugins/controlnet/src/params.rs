//! What pipelines tell a ControlNet, and where it lies.

use plugin_api::{Environment, Error, Params};
use plugins_diffusion::config::Config;
use plugins_diffusion::files::weights_file;
use plugins_diffusion::nets::ControlNet;
use plugins_diffusion::params::Acceleration;
use plugins_diffusion::resolve::{ModelRoots, ResolveError};
use serde::Deserialize;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Of a stream.
#[derive(Deserialize)]
pub struct Wishes {
    /// What the stream's own networks run on, if it can be had.
    #[serde(default)]
    pub acceleration: Acceleration,
    /// What the client believes the network takes: 3, or 6 for two pictures.
    #[serde(default)]
    pub conditioning_channels: Option<usize>,
}

impl Wishes {
    pub fn read(params: &Params<'_>) -> Result<Self, Error> {
        Self::deserialize(Value::Object(params.values.clone()))
            .map_err(|error| Error::invalid(error.to_string()))
    }
}

/// A ControlNet on this machine.
pub struct Files {
    pub network: ControlNet,
    pub weights: PathBuf,
}

/// The folder of a ControlNet.
pub fn find(name: &str, environment: &Environment) -> Result<PathBuf, ResolveError> {
    ModelRoots::from_environment(environment.models_dir.clone()).find(name)
}

impl Files {
    /// Reads what kind of network a folder has.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        let config = Config::read(&folder.join("config.json"))?;
        let network = ControlNet::from_config(&config)?;
        let weights = weights_file(folder, "diffusion_pytorch_model")?;
        Ok(Self { network, weights })
    }

    /// The wrong number of channels is the client's mistake.
    pub fn check(&self, name: &str, wishes: &Wishes) -> Result<(), String> {
        let takes = self.network.picture_channels();
        match wishes.conditioning_channels {
            Some(wished) if wished != takes => Err(format!(
                "the ControlNet {name} takes {takes} conditioning_channels, not {wished}; leave them out"
            )),
            _ => Ok(()),
        }
    }
}
