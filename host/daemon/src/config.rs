//! The settings: defaults, then a file, then variables, then checks. Every problem is found in one go and led by its key.

mod check;
mod layers;
mod networks;
mod raw;
#[cfg(test)]
mod reference;

use crate::http::HttpConfig;
use crate::ice_servers::IceConfig;
use crate::mediamtx::MediaMtxConfig;
use crate::public_base::PublicBase;
use crate::tokens::{TokenFile, TokensConfig};
use host_api::ApiConfig;
use host_media::{MediaConfig, RtmpConfig, RtspConfig};
use host_runtime::Settings;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Settings that were checked, as the parts want them.
pub struct Config {
    pub http: HttpConfig,
    pub api: ApiConfig,
    pub public: PublicBase,
    pub tokens: TokensConfig,
    pub media: MediaConfig,
    /// None: nobody publishes or plays by RTSP.
    pub rtsp: Option<RtspConfig>,
    /// None: publishers do not come by RTMP.
    pub rtmp: Option<RtmpConfig>,
    /// A STUN server that tells this machine's public address; none: not asked.
    pub stun_server: Option<String>,
    pub ice: IceConfig,
    /// None: no MediaMTX beside the server.
    pub mediamtx: Option<MediaMtxConfig>,
    pub plugins: host_plugins::Config,
    pub paths: Paths,
    pub runtime: Settings,
    /// Whether models are fetched that streams need.
    pub fetch_models: bool,
    pub pictures: host_models::pictures::Settings,
    /// Whether streams outlive the program.
    pub persist: bool,
    pub log: LogConfig,
    pub stop_deadline: Duration,
    /// CUDA_VISIBLE_DEVICES.
    pub visible_gpus: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    pub models: PathBuf,
    pub engines: PathBuf,
    pub cache: PathBuf,
    pub state: PathBuf,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// In the syntax of `tracing_subscriber::EnvFilter`.
    pub filter: String,
    pub format: LogFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

/// Checked settings, and the same as they would be written down.
pub struct Loaded {
    pub config: Config,
    /// TOML, secrets left out.
    pub written: String,
}

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read the settings in {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{} is not TOML", path.display())]
    Syntax {
        path: PathBuf,
        #[source]
        source: toml::de::Error,
    },
    #[error("the settings cannot be used:\n  {}", .0.join("\n  "))]
    Problems(Vec<String>),
}

impl Config {
    /// Reads `file` if there is one, then the `SDH_` variables among `environment`.
    pub fn load(
        file: Option<&Path>,
        environment: impl Iterator<Item = (OsString, OsString)>,
    ) -> Result<Loaded, ConfigError> {
        let file = file.map(read).transpose()?.unwrap_or_default();
        let environment = environment.filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        });
        Self::from_layers(file, &environment.collect())
    }

    pub fn token_file(&self) -> TokenFile {
        TokenFile::in_folder(&self.paths.state)
    }

    fn from_layers(
        file: toml::Table,
        environment: &BTreeMap<String, String>,
    ) -> Result<Loaded, ConfigError> {
        let raw = layers::merge(file, environment).map_err(ConfigError::Problems)?;
        let written = raw.written();
        let config = check::check(raw, environment).map_err(ConfigError::Problems)?;
        Ok(Loaded { config, written })
    }
}

fn read(path: &Path) -> Result<toml::Table, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    text.parse().map_err(|source| ConfigError::Syntax { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests;
