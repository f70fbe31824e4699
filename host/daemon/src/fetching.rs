//! Where streams have their models and pictures fetched from.

use crate::StartError;
use host_models::pictures::{Pictures, Settings};
use host_models::{Fetches, Hub};
use host_ports::{ModelStore, PictureStore};
use std::error::Error;
use std::sync::Arc;

/// The hub that the environment names; none where nothing can be fetched from it. Then streams take what is on this
/// machine, and say what is missing.
pub fn model_store() -> Option<Arc<dyn ModelStore>> {
    match Hub::from_environment(std::env::vars_os()) {
        Ok(hub) if hub.is_offline() => {
            tracing::info!("models are not fetched, as HF_HUB_OFFLINE is set");
            None
        }
        Ok(hub) => Some(Arc::new(Fetches::new(hub))),
        Err(error) => {
            tracing::warn!(error = &error as &dyn Error, "models are not fetched");
            None
        }
    }
}

/// The pictures that params point to. The folder of those that are kept is read, which may wait for a disk.
pub async fn picture_store(settings: Settings) -> Result<Arc<dyn PictureStore>, StartError> {
    let opened = tokio::task::spawn_blocking(|| Pictures::open(settings)).await;
    // There is no panic in it that could be told better.
    let opened = opened.map_err(|error| StartError::Pictures(error.into()))?;
    Ok(Arc::new(opened.map_err(|error| StartError::Pictures(error.into()))?))
}
