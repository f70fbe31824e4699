//! Asking plugins for plans, each in a control process that is kept for the next question.

use crate::config::Config;
use crate::library::Library;
use crate::message::{FromWorker, Offered, ToWorker};
use crate::workers::{Worker, WorkerError, Workers};
use host_ports::{Artefact, FieldError, Formats, FrameSize, Plan, Unsupported};
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Most items taken from a list in a plan.
const MAX_ITEMS: usize = 1000;

/// The control processes, by hash of their library.
#[derive(Default)]
pub(crate) struct Planners {
    processes: Mutex<HashMap<String, Arc<Planner>>>,
}

type Planner = Mutex<Option<Worker>>;

impl Planners {
    /// Asks a plugin. One question at a time for each library.
    pub(crate) fn plan(
        &self,
        (config, workers): (&Config, &Workers),
        library: &Library,
        pipeline: &str,
        previous: Option<&Map<String, Value>>,
        params: &Map<String, Value>,
        processors: Vec<Offered>,
    ) -> Result<Plan, String> {
        let to_text = |params: &Map<String, Value>| Value::Object(params.clone()).to_string();
        let question = ToWorker::Plan {
            pipeline: pipeline.to_owned(),
            values: to_text(params),
            previous: previous.map(to_text),
            processors,
        };
        let planner = self.planner(&library.hash);
        let mut process = planner.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = ask(&mut process, config, workers, library, &question);
        answer.map_err(|error| error.to_string()).and_then(|text| read_plan(&text))
    }

    /// Ends the control processes of libraries that are gone.
    pub(crate) fn retain(&self, is_wanted: impl Fn(&str) -> bool) {
        let unwanted: Vec<Arc<Planner>> = {
            let mut processes = self.processes.lock().unwrap_or_else(PoisonError::into_inner);
            processes.extract_if(|hash, _| !is_wanted(hash)).map(|(_, planner)| planner).collect()
        };
        // Ending takes a moment, and questions to others need not wait for it.
        drop(unwanted);
    }

    fn planner(&self, hash: &str) -> Arc<Planner> {
        let mut processes = self.processes.lock().unwrap_or_else(PoisonError::into_inner);
        processes.entry(hash.to_owned()).or_default().clone()
    }
}

fn ask(
    process: &mut Option<Worker>,
    config: &Config,
    workers: &Workers,
    library: &Library,
    question: &ToWorker,
) -> Result<String, WorkerError> {
    // One that died since the last question says nothing about this one.
    let kept = process.take().filter(|worker| worker.process().is_running());
    let worker = match kept {
        Some(worker) => worker,
        None => Worker::start(workers.spawner(), config, library, config.limits.probe, None)?,
    };
    match worker.ask(question, config.limits.plan, None)? {
        FromWorker::Planned(text) => {
            *process = Some(worker);
            Ok(text)
        }
        FromWorker::Failed { message } => {
            *process = Some(worker);
            Err(WorkerError::Refused { message })
        }
        FromWorker::Started => Err(worker.break_off("a start without a question")),
    }
}

fn read_plan(text: &str) -> Result<Plan, String> {
    let plan: plugin_api::Plan =
        serde_json::from_str(text).map_err(|error| format!("its plan cannot be read: {error}"))?;
    let plugin_api::Plan { formats, errors, unsupported, reload, warnings, artefacts, .. } = plan;
    let lengths = [
        errors.len(),
        unsupported.len(),
        reload.len(),
        warnings.len(),
        artefacts.len(),
        plan.parts_bytes.len(),
    ];
    let longest = lengths.into_iter().max();
    if longest > Some(MAX_ITEMS) {
        return Err(format!("its plan has a list of more than {MAX_ITEMS} items"));
    }
    // With errors nothing is opened, and a plugin need not know sizes then.
    let (input, output) = match errors.is_empty() {
        true => (size("input", formats.input)?, size("output", formats.output)?),
        false => (FrameSize::new(0, 0), FrameSize::new(0, 0)),
    };
    Ok(Plan {
        formats: Formats { input, output },
        errors: errors
            .into_iter()
            .map(|plugin_api::FieldError { pointer, message }| FieldError { pointer, message })
            .collect(),
        unsupported: unsupported
            .into_iter()
            .map(|plugin_api::Unsupported { field, reason }| Unsupported { field, reason })
            .collect(),
        reload,
        warnings,
        memory_bytes: plan.memory_bytes,
        parts_bytes: plan.parts_bytes,
        latency_frames: plan.latency_frames,
        artefacts: artefacts.into_iter().map(artefact).collect(),
    })
}

fn artefact(artefact: plugin_api::Artefact) -> Artefact {
    let plugin_api::Artefact { model, revision, files, is_optional, without } = artefact;
    Artefact { model, revision, files, is_optional, without }
}

fn size(name: &str, format: plugin_api::FrameFormat) -> Result<FrameSize, String> {
    let sides = 1..=plugin_api::MAX_SIDE;
    if sides.contains(&format.width) && sides.contains(&format.height) {
        return Ok(FrameSize::new(format.width, format.height));
    }
    Err(format!("its plan's {name} size is {format}; sides are 1 to {}", plugin_api::MAX_SIDE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_are_checked() {
        let refused = |text: &str| read_plan(text).unwrap_err();
        assert!(refused("nonsense").contains("cannot be read"));
        let empty = r#"{ "formats": { "input": { "width": 0, "height": 8 }, "output": { "width": 8, "height": 8 } } }"#;
        assert_eq!(refused(empty), "its plan's input size is 0x8; sides are 1 to 16384");
        let of_hub = r#"{ "formats": { "input": { "width": 8, "height": 8 }, "output": { "width": 8, "height": 8 } },
            "artefacts": [{ "model": "org/name" }, { "model": "o/n", "files": ["a"], "revision": "v1", "is_optional": true }] }"#;
        let artefacts = read_plan(of_hub).unwrap().artefacts;
        let artefact = |model: &str, revision: &str, files: &[&str], is_optional| Artefact {
            model: model.into(),
            revision: revision.into(),
            files: files.iter().map(|file| file.to_string()).collect(),
            is_optional,
            without: String::new(),
        };
        let wanted =
            [artefact("org/name", "main", &[], false), artefact("o/n", "v1", &["a"], true)];
        assert_eq!(artefacts, wanted);
        let warnings = vec!["w"; MAX_ITEMS + 1];
        let size = serde_json::json!({ "width": 8, "height": 8 });
        let long = serde_json::json!({ "formats": { "input": size, "output": size }, "warnings": warnings });
        assert!(refused(&long.to_string()).contains("more than 1000"));
    }
}
