//! Where streams have their models fetched from.

use host_models::{Fetches, Hub};
use host_ports::ModelStore;
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
