//! Weights that streams share: one pipeline for all streams whose params differ in hot ones only.

use plugin_api::loader::LoadedPipeline;
use plugin_api::{Claim, Error};
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

/// How often a stream that waits for another's loading shows a sign of life.
const WAITING_INTERVAL: Duration = Duration::from_secs(1);

/// The open pipelines of a worker.
#[derive(Default)]
pub(super) struct SharedPipelines {
    places: Mutex<HashMap<String, Place>>,
    changed: Condvar,
}

enum Place {
    /// Another stream is loading it.
    Opening,
    Open(Weak<LoadedPipeline>),
}

impl SharedPipelines {
    /// The pipeline of this name, opened by `open` if there is none. While another stream opens it, `wait` is called
    /// now and then; it ends the waiting with an error.
    pub(super) fn get(
        &self,
        key: &str,
        open: impl FnOnce() -> Result<Arc<LoadedPipeline>, Error>,
        mut wait: impl FnMut() -> Result<(), Error>,
    ) -> Result<Arc<LoadedPipeline>, Error> {
        let mut places = self.places();
        loop {
            match places.get(key) {
                Some(Place::Opening) => {
                    let waited = self.changed.wait_timeout(places, WAITING_INTERVAL);
                    places = waited.unwrap_or_else(PoisonError::into_inner).0;
                    wait()?;
                }
                Some(Place::Open(pipeline)) => match pipeline.upgrade() {
                    Some(pipeline) => return Ok(pipeline),
                    None => break,
                },
                None => break,
            }
        }
        places.retain(|_, place| !matches!(place, Place::Open(weak) if weak.strong_count() == 0));
        places.insert(key.to_owned(), Place::Opening);
        drop(places);
        let opened = open();
        let mut places = self.places();
        match &opened {
            Ok(pipeline) => places.insert(key.to_owned(), Place::Open(Arc::downgrade(pipeline))),
            Err(_) => places.remove(key),
        };
        self.changed.notify_all();
        opened
    }

    fn places(&self) -> MutexGuard<'_, HashMap<String, Place>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Names what a stream can share: the claim, and the params that are not hot. Of a hot object those fields count that say
/// that they need a reload.
pub(super) fn key(claim: &Claim, values: &Map<String, Value>) -> String {
    let mut cold = Vec::new();
    for (name, value) in values {
        let property = claim.params.get("properties").and_then(|properties| properties.get(name));
        if apply(property) != Some("hot") {
            cold.push(format!("{name:?}: {value}"));
            continue;
        }
        let fields = property.and_then(|property| property.get("properties"));
        for (field, value) in value.as_object().into_iter().flatten() {
            if apply(fields.and_then(|fields| fields.get(field))) == Some("reload") {
                cold.push(format!("{name:?}.{field:?}: {value}"));
            }
        }
    }
    cold.sort();
    format!("{}: {}", claim.pipeline, cold.join(", "))
}

fn apply(schema: Option<&Value>) -> Option<&str> {
    schema?.get("x-apply")?.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn streams_share_when_only_hot_params_differ() {
        let claim: Claim = serde_json::from_value(json!({
            "pipeline": "p", "description": "d", "models": null,
            "params": { "type": "object", "properties": {
                "prompt": { "x-apply": "hot" }, "width": { "x-apply": "reload" }, "seed": {},
                "cache": { "x-apply": "hot", "properties": {
                    "on": { "x-apply": "reload" }, "frames": {}
                } }
            } }
        }))
        .unwrap();
        let key = |values: Value| key(&claim, values.as_object().unwrap());
        let one = key(json!({ "prompt": "a", "width": 512, "seed": 1 }));
        assert_eq!(one, key(json!({ "seed": 1, "width": 512, "prompt": "b" })));
        assert_ne!(one, key(json!({ "prompt": "a", "width": 768, "seed": 1 })));
        assert_ne!(one, key(json!({ "prompt": "a", "width": 512, "seed": 2 })));
        let cached = |on, frames| key(json!({ "cache": { "on": on, "frames": frames } }));
        assert_eq!(cached(true, 1), cached(true, 4));
        assert_ne!(cached(true, 1), cached(false, 1), "a field of a hot object that is not hot");
    }
}
