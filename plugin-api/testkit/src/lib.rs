//! Runs any plugin library, in whatever language it is written, through the checks that our own plugins pass.
//!
//! ```no_run
//! // In tests/testkit.rs of a plugin's crate:
//! let library = plugin_testkit::built_library("plugin_blur");
//! plugin_testkit::Kit::new(&library).run().assert_passed();
//! ```
//!
//! The library is opened in the test's own process: one that crashes takes the test with it, and that is a result too.

mod checks;
mod conditioner;
mod host;
mod pictures;

use checks::Subject;
use conditioner::Conditioner;
use plugin_api::loader::Library;
use plugin_api::{Choice, Feature, FrameFormat, IMAGE_PROCESSOR_SLOT, Manifest, Tensor};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Sizes of pictures that image processors are tried with: usual, narrow, odd.
const PICTURES: [(u32, u32); 3] = [(64, 48), (2, 90), (33, 17)];

/// A library and the params to try it with.
pub struct Kit {
    library: PathBuf,
    params: Map<String, Value>,
    refusal: Option<String>,
    processors: Option<Vec<String>>,
    conditioners: Vec<(Feature, String, String, Vec<Tensor<'static>>)>,
}

impl Kit {
    /// Tries a library with the defaults of its schemas.
    pub fn new(library: &Path) -> Self {
        Self {
            library: library.to_owned(),
            params: Map::new(),
            refusal: None,
            processors: None,
            conditioners: Vec::new(),
        }
    }

    /// Sets a param for all claims whose schema has it: for what has no default, or a default that needs weights.
    pub fn with_param(mut self, name: &str, value: Value) -> Self {
        self.params.insert(name.into(), value);
        self
    }

    /// For a plugin whose pipelines cannot be loaded, in this version or on this machine: expects that loading is refused
    /// with `reason` in the text, and leaves out what needs a pipeline.
    pub fn that_refuses_to_load(mut self, reason: &str) -> Self {
        self.refusal = Some(reason.into());
        self
    }

    /// For a plugin that contributes names of image processors which cannot be opened: tries these alone.
    pub fn with_processors(mut self, names: &[&str]) -> Self {
        self.processors = Some(names.iter().map(|name| (*name).into()).collect());
        self
    }

    /// Tries a conditioner too, with these params and tensors of those that its feature names.
    pub fn with_conditioner(
        mut self,
        feature: Feature,
        name: &str,
        params: Value,
        given: Vec<Tensor<'static>>,
    ) -> Self {
        self.conditioners.push((feature, name.to_owned(), params.to_string(), given));
        self
    }

    /// Runs all checks on all claims and image processors, and on the conditioners that are named.
    pub fn run(&self) -> Report {
        let mut report = Report::default();
        match self.open(&mut report) {
            Ok((library, manifest)) => {
                for claim in &manifest.claims {
                    let params = self.params_of(&claim.params);
                    let (name, schema) = (&*claim.pipeline, &claim.params);
                    let subject = Subject {
                        library: &library,
                        name,
                        schema,
                        params,
                        input: None,
                        notices: Arc::default(),
                    };
                    subject.check(self.refusal.as_deref(), &mut report);
                }
                if library.has(Feature::ImageProcessor) {
                    self.check_processors(&library, &manifest, &mut report);
                }
                for (feature, name, params, given) in &self.conditioners {
                    let (library, feature) = (&library, *feature);
                    let notices = Arc::default();
                    let one = Conditioner { library, feature, name, params, given, notices };
                    one.check(&mut report);
                }
            }
            Err(problem) => report.add("the library opens", Err(problem)),
        }
        report
    }

    fn open(&self, report: &mut Report) -> Result<(Arc<Library>, Manifest), String> {
        let section = checks::manifest_section(&self.library)?;
        let manifest = Manifest::parse(&section).map_err(|error| error.to_string())?;
        report.add(
            "the manifest's ABI range fits",
            manifest.check_abi().map_err(|error| error.to_string()),
        );
        let library = Library::open(&self.library).map_err(|error| error.to_string())?;
        report.add(
            "section and table hold the same manifest",
            checks::same_manifest(&section, library.manifest()),
        );
        Ok((library, manifest))
    }

    /// Every image processor, at several sizes.
    fn check_processors(&self, library: &Arc<Library>, manifest: &Manifest, report: &mut Report) {
        let slots = manifest.contributes.iter().filter(|c| c.slot == IMAGE_PROCESSOR_SLOT);
        let is_tried = |choice: &&Choice| {
            self.processors.as_ref().is_none_or(|names| names.contains(&choice.value))
        };
        for Choice { value, params } in slots.flat_map(|slot| &slot.items).filter(is_tried) {
            let schema = params.as_ref().unwrap_or(&Value::Null);
            for (width, height) in PICTURES {
                let (name, params) = (value.as_str(), self.params_of(schema));
                let input = Some(FrameFormat::new(width, height));
                let subject =
                    Subject { library, name, schema, params, input, notices: Arc::default() };
                subject.check(self.refusal.as_deref(), report);
            }
        }
    }

    /// The schema's defaults, overridden.
    fn params_of(&self, schema: &Value) -> Map<String, Value> {
        let mut params = defaults(schema);
        let has = |name: &str| schema["properties"].get(name).is_some();
        let given = self.params.iter().filter(|(name, _)| has(name));
        params.extend(given.map(|(name, value)| (name.clone(), value.clone())));
        params
    }
}

/// The defaults of a claim's schema, with which the host fills in what a stream leaves out.
pub fn defaults(schema: &Value) -> Map<String, Value> {
    let properties = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
    properties
        .filter_map(|(name, property)| Some((name.clone(), property.get("default")?.clone())))
        .collect()
}

/// What came of the checks.
#[derive(Debug, Default)]
pub struct Report {
    /// Names of checks that passed.
    pub passed: Vec<String>,
    /// Checks that did not, and why.
    pub failed: Vec<String>,
}

impl Report {
    /// Panics with all failures, if there are any.
    pub fn assert_passed(&self) {
        assert!(self.failed.is_empty(), "the plugin fails:\n- {}", self.failed.join("\n- "));
    }

    fn add(&mut self, check: &str, outcome: Result<(), String>) {
        match outcome {
            Ok(()) => self.passed.push(check.into()),
            Err(problem) => self.failed.push(format!("{check}: {problem}")),
        }
    }
}

/// The path of a cdylib that cargo built into the directory of the running test, by its crate's name with underscores.
///
/// # Panics
/// When it is not there: `cargo test` builds a package's own cdylib, but not those of other packages.
pub fn built_library(name: &str) -> PathBuf {
    let file = format!("lib{name}.so");
    let library = std::env::current_exe()
        .ok()
        .and_then(|test| Some(test.parent()?.parent()?.join(&file)))
        .expect("a running test has a path");
    let package = name.replace('_', "-");
    assert!(
        library.is_file(),
        "{} is missing; run `cargo build -p {package}` first",
        library.display()
    );
    library
}
