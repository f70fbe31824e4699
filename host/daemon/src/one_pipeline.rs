//! A pipeline chosen at the command line, for commands that run one without a server.

use crate::Config;
use clap::Args;
use host_plugins::PluginCatalog;
use host_ports::PipelineCatalog;
use host_runtime::{ChangeError, Draft, NewStream, draft};
use serde_json::{Map, Value};
use std::sync::Arc;

/// Which, and with what params.
#[derive(Args)]
pub struct Choice {
    /// Name of the pipeline, as in a stream's `pipeline`
    #[arg(long)]
    pipeline: String,
    /// The `model_id`, where the pipeline takes one
    #[arg(long, value_name = "ID")]
    model: Option<String>,
    /// More params, as in a stream's `params`
    #[arg(long, value_name = "JSON", default_value = "{}", value_parser = object)]
    params: Map<String, Value>,
}

#[derive(Debug, thiserror::Error)]
pub enum ChoiceError {
    #[error("cannot look for plugins; `plugins.folders` says where they are")]
    Plugins(#[source] std::io::Error),
    #[error("cannot start the threads of tokio")]
    Tokio(#[source] std::io::Error),
    #[error(transparent)]
    Draft(#[from] ChangeError),
}

impl Choice {
    /// The installed plugins, and what a stream of these params would be.
    pub fn draft(&self, config: Config) -> Result<(Arc<dyn PipelineCatalog>, Draft), ChoiceError> {
        let catalog = PluginCatalog::new(config.plugins).map_err(ChoiceError::Plugins)?;
        let catalog: Arc<dyn PipelineCatalog> = Arc::new(catalog);
        let mut params = self.params.clone();
        params.extend(self.model.clone().map(|model| ("model_id".to_owned(), model.into())));
        let wish = NewStream { pipeline: self.pipeline.clone(), params, ..NewStream::default() };
        let planning = tokio::runtime::Builder::new_current_thread().build();
        let planning = planning.map_err(ChoiceError::Tokio)?;
        let drafted = draft(catalog.clone(), config.runtime.default_fallback, None, &wish);
        let draft = planning.block_on(drafted)?;
        Ok((catalog, draft))
    }
}

fn object(text: &str) -> Result<Map<String, Value>, String> {
    serde_json::from_str(text).map_err(|error| format!("must be a JSON object: {error}"))
}
