//! What a stream runs with: params that its schema and its plugin have agreed to, and how they are agreed on.
//!
//! Plugins answer in a control process, which may take a while: never on a tokio thread.

use crate::budget::{Budget, Hold, Reserved};
use crate::supply::Sought;
use crate::{ChangeError, Fallback, NewStream, video};
use host_ports::{
    Artefact, Claim, ClaimRef, FieldError, Fit, Formats, FrameSize, ModelStore, PictureStore,
    PipelineCatalog, Plan, PlanError, ResolveError, StateStore, StoreError, StoredStream,
    Unsupported, VideoAbilities, VideoSettings,
};
use host_stream::{Changes, Checked, ParamError, ParamsSchema};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::watch;

/// Pictures of a stream of which nothing is known yet but its record.
const PROVISIONAL_SIZE: FrameSize = FrameSize::new(512, 512);

/// Agreed params with what follows from them.
#[derive(Clone)]
pub struct Agreement {
    pub claim: Arc<Claim>,
    pub schema: Arc<ParamsSchema>,
    /// Complete, with the host's own.
    pub params: Map<String, Value>,
    pub formats: Formats,
    /// Frames between an input and its output.
    pub latency_frames: u32,
    pub memory: Arc<Hold>,
    pub memory_bytes: u64,
    /// How much of it is whose, of what the pipeline opens by name.
    pub parts_bytes: BTreeMap<String, u64>,
    /// Params without effect.
    pub plan_unsupported: Vec<Unsupported>,
    /// What the encoders can do.
    pub encoders: Arc<VideoAbilities>,
    /// Of the plugin, about the params.
    pub plan_warnings: Vec<String>,
    /// About the latest request.
    pub request_warnings: Vec<String>,
    /// What is to be fetched before a pipeline is loaded.
    pub artefacts: Vec<Artefact>,
    /// What was sought for it, and need not be again.
    pub sought: Vec<Sought>,
    /// Made from the record alone, while no plugin has agreed to it: nothing can be loaded.
    pub is_provisional: bool,
}

impl Agreement {
    pub fn for_plugin(&self) -> Map<String, Value> {
        self.schema.for_plugin(&self.params)
    }

    /// With the paths of pictures in place of their sources.
    pub fn for_pipeline(&self, path: impl Fn(&str) -> Option<String>) -> Map<String, Value> {
        self.schema.for_pipeline(&self.params, path)
    }

    pub fn fallback(&self) -> Fallback {
        let name = self.schema.host_param(&self.params, "fallback").and_then(Value::as_str);
        name.and_then(Fallback::from_name).unwrap_or_default()
    }

    pub fn fit(&self) -> Fit {
        match self.schema.host_param(&self.params, "fit").and_then(Value::as_str) {
            Some("letterbox") => Fit::Letterbox,
            Some("stretch") => Fit::Stretch,
            _ => Fit::Crop,
        }
    }

    pub fn video(&self) -> VideoSettings {
        video::settings(&self.schema, &self.params)
    }

    /// The fields that have no effect now: as the plugin says, and those of the encoder.
    pub fn unsupported(&self) -> Vec<Unsupported> {
        [&self.plan_unsupported[..], &self.video().unsupported(&self.encoders)].concat()
    }

    pub fn warnings(&self) -> Vec<String> {
        warnings(&self.request_warnings, &self.unsupported(), &self.plan_warnings)
    }
}

/// Agrees on params with schemas and plugins, and writes to the store.
#[derive(Clone)]
pub struct Desk {
    pub catalog: Arc<dyn PipelineCatalog>,
    pub store: Arc<dyn StateStore>,
    pub budget: Arc<Budget>,
    pub default_fallback: Fallback,
    /// Moves when the catalog offers something else.
    pub offers: watch::Receiver<()>,
    /// Fetches what pipelines need; without it they find it on this machine or fail.
    pub models: Option<Arc<dyn ModelStore>>,
    /// Fetches the pictures that params point to.
    pub pictures: Option<Arc<dyn PictureStore>>,
    pub encoders: Arc<VideoAbilities>,
}

/// An agreement after a change.
pub struct Amended {
    pub agreement: Agreement,
    pub changes: Changes,
    /// Whether its pipeline has room beside the one before.
    pub has_room: bool,
}

/// What schema and plugin make of a wish, with no stream and no memory for it.
pub struct Draft {
    pub claim: Claim,
    pub plan: Plan,
    schema: Arc<ParamsSchema>,
    checked: Checked,
    /// None where nothing is encoded.
    encoders: Option<Arc<VideoAbilities>>,
}

impl Draft {
    /// Complete params, as a pipeline is loaded with them while no picture is fetched.
    pub fn for_pipeline(&self) -> Map<String, Value> {
        self.schema.for_pipeline(&self.checked.params, |_| None)
    }

    pub fn warnings(&self) -> Vec<String> {
        let Self { plan, checked, schema, encoders, .. } = self;
        let pictures = schema.pictures().iter();
        let pictures = pictures.filter(|at| schema.picture_source(&checked.params, at).is_some());
        let left_out = pictures.map(|at| {
            format!("the picture at `{at}` is left out: it is fetched for streams alone")
        });
        let video = video::settings(schema, &checked.params);
        let video = encoders.as_ref().map_or_else(Vec::new, |encoders| video.unsupported(encoders));
        let unsupported = [&plan.unsupported[..], &video].concat();
        let warnings = warnings(&checked.warnings, &unsupported, &plan.warnings);
        warnings.into_iter().chain(left_out).collect()
    }
}

/// Agrees on the params of something new.
pub async fn draft(
    catalog: Arc<dyn PipelineCatalog>,
    default_fallback: Fallback,
    encoders: Option<Arc<VideoAbilities>>,
    wish: &NewStream,
) -> Result<Draft, ChangeError> {
    let claim = catalog.resolve(&wish.pipeline, model_id(&wish.params))?;
    let schema = compile(&claim, default_fallback)?;
    let checked = schema.create(&wish.params).map_err(refused)?;
    let params = schema.for_plugin(&checked.params);
    let plan = plan(catalog, &claim.id, None, params).await?;
    Ok(Draft { claim, plan, schema, checked, encoders })
}

impl Desk {
    /// The agreement for a new stream.
    pub async fn agree(&self, wish: &NewStream) -> Result<Agreement, ChangeError> {
        let drafted =
            draft(self.catalog.clone(), self.default_fallback, Some(self.encoders.clone()), wish)
                .await?;
        self.check_pictures(&drafted.schema, &drafted.checked.params, None).await?;
        self.agree_on(drafted)
    }

    fn agree_on(&self, drafted: Draft) -> Result<Agreement, ChangeError> {
        let Draft { claim, plan, schema, checked, .. } = drafted;
        let plan = self.promise(plan, &[]);
        let memory = self.reserve(&claim.id, &schema, &checked, &plan, None)?.hold;
        Ok(self.conclude(Arc::new(claim), schema, checked, plan, memory))
    }

    /// The same agreement by what the plugin says now, where something was fetched meanwhile.
    pub async fn agree_again(
        &self,
        agreement: &Agreement,
        sought: &[Sought],
        replaced: Option<&Hold>,
    ) -> Result<Amended, ChangeError> {
        let Agreement { claim, schema, params, request_warnings, .. } = agreement.clone();
        let for_plugin = agreement.for_plugin();
        let plan = plan(self.catalog.clone(), &claim.id, None, for_plugin).await?;
        let plan = self.promise(plan, sought);
        let checked = Checked { params, warnings: request_warnings };
        let reserved = self.reserve(&claim.id, &schema, &checked, &plan, replaced)?;
        let Reserved { hold, has_room } = reserved;
        let agreement = self.conclude(claim, schema, checked, plan, hold);
        let agreement = Agreement { sought: sought.to_vec(), ..agreement };
        Ok(Amended { agreement, changes: Changes::default(), has_room })
    }

    /// The agreement after `patch`, and what it changes.
    pub async fn amend(
        &self,
        current: &Agreement,
        patch: &Map<String, Value>,
        is_hot_only: bool,
    ) -> Result<Amended, ChangeError> {
        let model_id = model_id(patch).or_else(|| model_id(&current.params));
        let claim = match self.catalog.resolve(&current.claim.pipeline, model_id) {
            Err(ResolveError::UnknownPipeline { .. }) if current.is_provisional => {
                return amend_unchecked(current, patch);
            }
            claim => claim?,
        };
        // What does not run is not held up by a reload.
        let is_hot_only = is_hot_only && !current.is_provisional;
        let is_same_claim = claim == *current.claim;
        let (claim, schema) = match is_same_claim {
            true => (current.claim.clone(), current.schema.clone()),
            false => (Arc::new(claim.clone()), compile(&claim, self.default_fallback)?),
        };
        let checked = schema.patch(&current.params, patch).map_err(refused)?;
        self.check_pictures(&schema, &checked.params, Some(current)).await?;
        let mut changes = schema.changes(&current.params, &checked.params);
        if changes.hot.is_empty() && changes.reload.is_empty() && is_same_claim {
            // Nothing that the plugin knows of has changed.
            let Checked { params, warnings: request_warnings } = checked;
            let agreement = Agreement { params, request_warnings, ..current.clone() };
            return Ok(Amended { agreement, changes, has_room: true });
        }
        if claim.id != current.claim.id {
            changes.escalate(&["model_id".to_owned()]);
        }
        hold_back_reload(&changes, is_hot_only)?;
        let previous = (claim.id == current.claim.id).then(|| current.for_plugin());
        let params = schema.for_plugin(&checked.params);
        let plan = plan(self.catalog.clone(), &claim.id, previous, params).await?;
        changes.escalate(&plan.reload);
        if plan.formats != current.formats && changes.reload.is_empty() {
            changes.escalate(&changes.hot.clone());
        }
        hold_back_reload(&changes, is_hot_only)?;
        // What could not be fetched is sought again for another pipeline alone.
        let is_new = !changes.reload.is_empty() || current.is_provisional;
        let sought = if is_new { Vec::new() } else { current.sought.clone() };
        let plan = self.promise(plan, &sought);
        let reserved = self.reserve(&claim.id, &schema, &checked, &plan, Some(&current.memory))?;
        let Reserved { hold, has_room } = reserved;
        let agreement = self.conclude(claim, schema, checked, plan, hold);
        Ok(Amended { agreement: Agreement { sought, ..agreement }, changes, has_room })
    }

    /// `running` with those of its hot params that a change gave other values, if it can take them without a reload.
    pub async fn follow(&self, running: Agreement, after: &Agreement, hot: &[String]) -> Agreement {
        let values =
            hot.iter().filter_map(|name| Some((name.clone(), after.params.get(name)?.clone())));
        match self.amend(&running, &values.collect(), true).await {
            Ok(amended) => amended.agreement,
            Err(_) => running,
        }
    }

    /// Whether a pipeline that runs with `running` needs no reload for `wanted`.
    pub async fn suits(&self, running: &Agreement, wanted: &Agreement) -> bool {
        let amended = self.amend(running, &wanted.params, true).await;
        amended.is_ok_and(|amended| amended.agreement.params == wanted.params)
    }

    /// The memory that a plan asks for.
    fn reserve(
        &self,
        claim: &ClaimRef,
        schema: &ParamsSchema,
        checked: &Checked,
        plan: &Plan,
        replaced: Option<&Hold>,
    ) -> Result<Reserved, ChangeError> {
        // Workers name what streams share in this order, too, whatever the order in the requests.
        let mut cold = Value::Object(schema.cold(&checked.params));
        cold.sort_all_objects();
        let key = format!("{} {} {}: {cold}", claim.plugin, claim.pipeline, claim.index);
        let reserved = self.budget.reserve(key, plan.memory_bytes, replaced);
        reserved.map_err(ChangeError::NoMemory)
    }

    /// What a stream of an earlier run begins with, until its plugin has agreed.
    pub fn provisional(&self, record: &StoredStream) -> Result<Agreement, ChangeError> {
        let id = ClaimRef { plugin: String::new(), pipeline: record.pipeline.clone(), index: 0 };
        let schema = ParamsSchema::unchecked(&record.params, self.default_fallback);
        let memory = self.budget.reserve(format!("none for {}", record.id), 0, None);
        Ok(Agreement {
            claim: Arc::new(Claim {
                pipeline: record.pipeline.clone(),
                name_given: None,
                id,
                models: None,
                description: String::new(),
                params_schema: Value::Null,
            }),
            schema: Arc::new(schema.map_err(internal)?),
            params: record.params.clone(),
            formats: Formats { input: PROVISIONAL_SIZE, output: PROVISIONAL_SIZE },
            latency_frames: 0,
            memory: memory.map_err(ChangeError::NoMemory)?.hold,
            memory_bytes: 0,
            parts_bytes: BTreeMap::new(),
            plan_unsupported: Vec::new(),
            encoders: self.encoders.clone(),
            plan_warnings: Vec::new(),
            request_warnings: Vec::new(),
            artefacts: Vec::new(),
            sought: Vec::new(),
            is_provisional: true,
        })
    }

    /// The agreement for a stream of an earlier run.
    pub async fn renew(&self, record: &StoredStream) -> Result<Agreement, ChangeError> {
        let (pipeline, params) = (record.pipeline.clone(), record.params.clone());
        let wish = NewStream { pipeline, params, ..NewStream::default() };
        // A picture that would not be taken any more is no reason to end a stream.
        let drafted =
            draft(self.catalog.clone(), self.default_fallback, Some(self.encoders.clone()), &wish);
        self.agree_on(drafted.await?)
    }

    /// Refuses pictures whose source is wrong by its text alone, unless the stream has them already.
    async fn check_pictures(
        &self,
        schema: &ParamsSchema,
        params: &Map<String, Value>,
        current: Option<&Agreement>,
    ) -> Result<(), ChangeError> {
        let Some(store) = self.pictures.clone() else { return Ok(()) };
        let is_new = |pointer: &str, source: &str| {
            let known = current.and_then(|now| now.schema.picture_source(&now.params, pointer));
            known != Some(source)
        };
        let named = schema.pictures().iter().filter_map(|pointer| {
            let source = schema.picture_source(params, pointer)?;
            is_new(pointer, source).then(|| (pointer.clone(), source.to_owned()))
        });
        let named: Vec<_> = named.collect();
        if named.is_empty() {
            return Ok(());
        }
        // One that is in the text may be large.
        let checked = tokio::task::spawn_blocking(move || {
            let refused = named.into_iter().filter_map(|(pointer, source)| {
                let message = store.check(&source).err()?.message;
                Some(FieldError { pointer, message })
            });
            refused.collect::<Vec<_>>()
        });
        let errors = checked.await.map_err(internal)?;
        if errors.is_empty() { Ok(()) } else { Err(ChangeError::Params(errors)) }
    }

    fn conclude(
        &self,
        claim: Arc<Claim>,
        schema: Arc<ParamsSchema>,
        checked: Checked,
        plan: Plan,
        memory: Arc<Hold>,
    ) -> Agreement {
        Agreement {
            claim,
            schema,
            params: checked.params,
            formats: plan.formats,
            latency_frames: plan.latency_frames,
            memory,
            memory_bytes: plan.memory_bytes,
            parts_bytes: plan.parts_bytes,
            plan_unsupported: plan.unsupported,
            plan_warnings: plan.warnings,
            request_warnings: checked.warnings,
            artefacts: plan.artefacts,
            sought: Vec::new(),
            encoders: self.encoders.clone(),
            is_provisional: false,
        }
    }

    /// Does something with the store, which may wait for a disk.
    pub async fn with_store<T: Send + 'static>(
        &self,
        action: impl FnOnce(&dyn StateStore) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, ChangeError> {
        let store = self.store.clone();
        let done = tokio::task::spawn_blocking(move || action(&*store)).await;
        done.map_err(internal)?.map_err(|error| match error {
            StoreError::Missing { id } => ChangeError::NotFound { id },
            error => internal(error),
        })
    }
}

fn warnings(of_request: &[String], unsupported: &[Unsupported], of_plan: &[String]) -> Vec<String> {
    let unsupported = unsupported.iter();
    let unsupported =
        unsupported.map(|each| format!("`{}` has no effect now: {}", each.field, each.reason));
    of_request.iter().cloned().chain(unsupported).chain(of_plan.iter().cloned()).collect()
}

fn compile(claim: &Claim, default_fallback: Fallback) -> Result<Arc<ParamsSchema>, ChangeError> {
    let schema = ParamsSchema::compile(&claim.params_schema, default_fallback);
    schema.map(Arc::new).map_err(|error| {
        ChangeError::Internal(format!("plugin {} is at fault: {error}", claim.id.plugin))
    })
}

async fn plan(
    catalog: Arc<dyn PipelineCatalog>,
    claim: &ClaimRef,
    previous: Option<Map<String, Value>>,
    params: Map<String, Value>,
) -> Result<Plan, ChangeError> {
    let claim = claim.clone();
    let planned =
        tokio::task::spawn_blocking(move || catalog.plan(&claim, previous.as_ref(), &params));
    let plan = planned.await.map_err(internal)?;
    let plan = plan.map_err(|error: PlanError| internal(error))?;
    match plan.errors.is_empty() {
        true => Ok(plan),
        false => Err(ChangeError::Params(plan.errors)),
    }
}

/// While no plugin offers the pipeline, what a stream has can be replaced; it is checked when one does.
fn amend_unchecked(
    current: &Agreement,
    patch: &Map<String, Value>,
) -> Result<Amended, ChangeError> {
    let checked = current.schema.patch(&current.params, patch).map_err(refused)?;
    let changes = current.schema.changes(&current.params, &checked.params);
    let Checked { params, warnings: mut request_warnings } = checked;
    if !changes.hot.is_empty() {
        request_warnings.push(format!(
            "no plugin offers the pipeline `{}` now; params are checked when one does",
            current.claim.pipeline
        ));
    }
    let agreement = Agreement { params, request_warnings, ..current.clone() };
    Ok(Amended { agreement, changes, has_room: true })
}

fn hold_back_reload(changes: &Changes, is_hot_only: bool) -> Result<(), ChangeError> {
    match is_hot_only && !changes.reload.is_empty() {
        true => Err(ChangeError::ReloadRequired { fields: changes.reload.clone() }),
        false => Ok(()),
    }
}

fn model_id(params: &Map<String, Value>) -> Option<&str> {
    params.get("model_id")?.as_str()
}

fn refused(errors: Vec<ParamError>) -> ChangeError {
    let errors = errors.into_iter();
    let errors = errors.map(|error| FieldError { pointer: error.pointer, message: error.message });
    ChangeError::Params(errors.collect())
}

fn internal(error: impl std::error::Error) -> ChangeError {
    ChangeError::Internal(error.to_string())
}
