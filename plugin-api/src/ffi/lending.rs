//! What plugins call of each other: one asks the host for something by name, and the host stands between the two.
//!
//! The tables that the host gives are made like those of any Rust plugin; what they do is to find the library that has what
//! is asked for and to call it, with the callbacks told before and after.

use super::calls::{LoadedPipeline, LoadedStream, Wanted};
use super::export::{conditioner_table, pipeline_table};
use super::host_context::{Callbacks, HostContext, Lendable, find};
use super::read::read_text;
use crate::abi::{SdhBytes, SdhPipelineTable};
use crate::{
    Conditions, Environment, Error, ErrorCode, Feature, Formats, Frame, FrameFormat, FrameMut,
    Host, Outcome, Params, Pipeline, Plan, PlanRequest, Plugin, Stream, Tensor,
};
use serde_json::{Map, Value};
use std::ffi::c_void;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Instant;

/// So many params that one does not know are told, and so many bytes of their names: clients send any.
const MOST_UNKNOWN: usize = 4;
const LONGEST_UNKNOWN: usize = 40;

static IMAGE_PROCESSORS: SdhPipelineTable = pipeline_table::<Lender<ImageProcessors>>();
static RESIDUAL_CONDITIONERS: SdhPipelineTable =
    conditioner_table::<Lender<ResidualConditioners>>();
static TOKEN_CONDITIONERS: SdhPipelineTable = conditioner_table::<Lender<TokenConditioners>>();

/// The tables that the host has for plugins.
pub(super) unsafe extern "C" fn get_feature(id: SdhBytes) -> *const c_void {
    // SAFETY: the plugin's promise (abi.rs).
    let feature = unsafe { read_text(id) }.ok().and_then(Feature::of_id);
    let table = match feature {
        Some(Feature::ImageProcessor) => &IMAGE_PROCESSORS,
        Some(Feature::ResidualConditioner) => &RESIDUAL_CONDITIONERS,
        Some(Feature::TokenConditioner) => &TOKEN_CONDITIONERS,
        Some(Feature::Pipeline) | None => return std::ptr::null(),
    };
    std::ptr::from_ref(table).cast()
}

/// Lends what all plugins have of one feature.
struct Lender<L>(PhantomData<L>);

trait Lends: 'static {
    const FEATURE: Feature;
}

struct ImageProcessors;
struct ResidualConditioners;
struct TokenConditioners;

impl Lends for ImageProcessors {
    const FEATURE: Feature = Feature::ImageProcessor;
}

impl Lends for ResidualConditioners {
    const FEATURE: Feature = Feature::ResidualConditioner;
}

impl Lends for TokenConditioners {
    const FEATURE: Feature = Feature::TokenConditioner;
}

/// The way to one of them.
#[derive(Clone)]
struct Way {
    feature: Feature,
    name: String,
    callbacks: Arc<dyn Callbacks>,
    environment: Environment,
}

struct Lent {
    way: Way,
    pipeline: Arc<LoadedPipeline>,
    params: Option<Vec<String>>,
}

/// Closing it is a call too.
struct LentStream {
    way: Way,
    /// None while it is closed.
    stream: Option<LoadedStream>,
    params: Option<Vec<String>>,
    /// Nothing for a conditioner.
    formats: Formats,
}

impl Way {
    fn to(host: &Host, feature: Feature, name: &str) -> Result<Self, Error> {
        let callbacks = host.context().and_then(find);
        Ok(Self {
            feature,
            name: name.to_owned(),
            callbacks: callbacks.ok_or_else(|| Error::new("who asks for it is closed"))?,
            environment: host.environment().clone(),
        })
    }

    fn host(&self) -> HostContext {
        HostContext::new(self.callbacks.clone(), &self.environment)
    }

    fn stream_host(&self) -> HostContext {
        HostContext::of_stream(self.callbacks.clone(), &self.environment, Some(&self.name))
    }

    fn wanted<'a>(&'a self, values: &'a str, input: Option<FrameFormat>) -> Wanted<'a> {
        Wanted { feature: self.feature, name: &self.name, values, input, output: None }
    }

    fn find(&self) -> Result<Lendable, Error> {
        self.callbacks.lent(self.feature, &self.name)
    }

    /// One call, of which the callbacks are told.
    fn call<T>(&self, call: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
        self.call_unless(|_| false, call)
    }

    /// A call that may refuse params, which is no fault of the one called.
    fn ask<T>(&self, call: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
        self.call_unless(|error| error.code == ErrorCode::Invalid, call)
    }

    fn call_unless<T>(
        &self,
        is_answer: impl Fn(&Error) -> bool,
        call: impl FnOnce() -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.callbacks.calls(&self.name)?;
        let begun = Instant::now();
        let result = call();
        let error = result.as_ref().err().filter(|error| !is_answer(error));
        self.callbacks.called(&self.name, begun.elapsed(), error);
        result
    }
}

impl<L: Lends> Plugin for Lender<L> {
    type Pipeline = Lent;

    fn plan(request: &PlanRequest<'_>) -> Result<Plan, Error> {
        let Params { pipeline: name, values, input, .. } = request.params;
        let way = Way::to(request.host, L::FEATURE, name)?;
        let Lendable { library, params } = way.find()?;
        let known = |values| to_text(values, params.as_deref());
        let (values_text, previous) = (known(values), request.previous.map(known));
        let wanted = way.wanted(&values_text, input);
        let plan = way.ask(|| library.plan(&way.host(), wanted, previous.as_deref()))?;
        let mut plan: Plan = serde_json::from_str(&plan)?;
        plan.warnings.extend(unknown(&way, values, params.as_deref()));
        Ok(plan)
    }

    fn open(host: &Host, params: &Params<'_>) -> Result<Lent, Error> {
        let way = Way::to(host, L::FEATURE, params.pipeline)?;
        let Lendable { library, params: known } = way.find()?;
        let values = to_text(params.values, known.as_deref());
        let wanted = way.wanted(&values, params.input);
        let pipeline = way.call(|| library.load(way.host(), wanted))?;
        Ok(Lent { way, pipeline, params: known })
    }
}

impl Pipeline for Lent {
    type Stream = LentStream;

    fn open_stream(&self, host: &Host, params: &Params<'_>) -> Result<LentStream, Error> {
        let way = Way::to(host, self.way.feature, &self.way.name)?;
        let values = to_text(params.values, self.params.as_deref());
        let wanted = way.wanted(&values, params.input);
        let (stream, formats) = way.call(|| {
            let mut stream = self.pipeline.open_stream(way.stream_host(), wanted)?;
            let formats = match way.feature.is_conditioner() {
                true => Formats::default(),
                false => stream.formats()?,
            };
            Ok((stream, formats))
        })?;
        let stream = Some(stream);
        Ok(LentStream { way, stream, params: self.params.clone(), formats })
    }
}

impl Stream for LentStream {
    fn formats(&self) -> Formats {
        self.formats
    }

    fn update(&mut self, params: &Params<'_>) -> Result<(), Error> {
        let Self { way, stream, params: known, .. } = self;
        let values = to_text(params.values, known.as_deref());
        let wanted = way.wanted(&values, params.input);
        way.ask(|| stream.as_mut().ok_or_else(closed)?.update(wanted))
    }

    fn process(&mut self, input: &Frame<'_>, output: &mut FrameMut<'_>) -> Result<Outcome, Error> {
        let Self { way, stream, .. } = self;
        way.call(|| stream.as_mut().ok_or_else(closed)?.process(input, output))
    }

    fn condition(&mut self, given: &[Tensor<'_>]) -> Result<Conditions, Error> {
        let Self { way, stream, .. } = self;
        way.call(|| stream.as_mut().ok_or_else(closed)?.condition(given)).map(Conditions::Lent)
    }
}

impl Drop for LentStream {
    fn drop(&mut self) {
        let stream = self.stream.take();
        // One that is switched off is closed all the same, when `stream` falls.
        let _ = self.way.call(|| {
            drop(stream);
            Ok(())
        });
    }
}

fn closed() -> Error {
    Error::new("it is closed")
}

/// The params that are known.
fn to_text(values: &Map<String, Value>, known: Option<&[String]>) -> String {
    let is_known = |name: &String| known.is_none_or(|known| known.contains(name));
    let values = values.iter().filter(|(name, _)| is_known(name));
    Value::Object(values.map(|(name, value)| (name.clone(), value.clone())).collect()).to_string()
}

/// What to say of params that are left out.
fn unknown(way: &Way, values: &Map<String, Value>, known: Option<&[String]>) -> Option<String> {
    let known = known?;
    let unknown = values.keys().filter(|name| !known.contains(name)).take(MOST_UNKNOWN);
    let unknown: Vec<&str> =
        unknown.map(|name| &name[..name.floor_char_boundary(LONGEST_UNKNOWN)]).collect();
    let has = match known {
        [] => "it has none".to_owned(),
        known => format!("it has {}", known.join(", ")),
    };
    let Way { feature, name, .. } = way;
    let (noun, unknown) = (feature.noun(), unknown.join(", "));
    (!unknown.is_empty()).then(|| format!("The {noun} {name} has no param {unknown}; {has}."))
}
