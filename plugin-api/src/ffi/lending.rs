//! What plugins call of each other: one asks the host for an image processor by name, and the host stands between the two.
//!
//! The table that the host gives is made like that of any Rust plugin; what it does is to find the library that has the
//! processor and to call it, with the callbacks told before and after.

use super::calls::{LoadedPipeline, LoadedStream, Wanted};
use super::export::pipeline_table;
use super::host_context::{Callbacks, HostContext, Lendable, find};
use super::read::read_text;
use crate::abi::{SdhBytes, SdhPipelineTable};
use crate::{
    Environment, Error, ErrorCode, Formats, Frame, FrameFormat, FrameMut, Host,
    IMAGE_PROCESSOR_FEATURE, Outcome, Params, Pipeline, Plan, PlanRequest, Plugin, Stream,
};
use serde_json::{Map, Value};
use std::ffi::c_void;
use std::sync::Arc;
use std::time::Instant;

/// So many params that a processor does not know are told, and so many bytes of their names: clients send any.
const MOST_UNKNOWN: usize = 4;
const LONGEST_UNKNOWN: usize = 40;

static IMAGE_PROCESSORS: SdhPipelineTable = pipeline_table::<ImageProcessors>();

/// The tables that the host has for plugins.
pub(super) unsafe extern "C" fn get_feature(id: SdhBytes) -> *const c_void {
    // SAFETY: the plugin's promise (abi.rs).
    match unsafe { read_text(id) } {
        Ok(IMAGE_PROCESSOR_FEATURE) => std::ptr::from_ref(&IMAGE_PROCESSORS).cast(),
        _ => std::ptr::null(),
    }
}

/// Those of all plugins.
struct ImageProcessors;

/// The way to one of them.
#[derive(Clone)]
struct Way {
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
    formats: Formats,
}

impl Way {
    fn to(host: &Host, name: &str) -> Result<Self, Error> {
        let callbacks = host.context().and_then(find);
        Ok(Self {
            name: name.to_owned(),
            callbacks: callbacks.ok_or_else(|| Error::new("who asks for it is closed"))?,
            environment: host.environment().clone(),
        })
    }

    fn host(&self) -> HostContext {
        HostContext::new(self.callbacks.clone(), &self.environment)
    }

    fn wanted<'a>(&'a self, values: &'a str, input: Option<FrameFormat>) -> Wanted<'a> {
        Wanted { name: &self.name, values, input, output: None }
    }

    /// One call, of which the callbacks are told.
    fn call<T>(&self, call: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
        self.call_unless(|_| false, call)
    }

    /// A call that may refuse params, which is no fault of the processor.
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

impl Plugin for ImageProcessors {
    type Pipeline = Lent;

    fn plan(request: &PlanRequest<'_>) -> Result<Plan, Error> {
        let Params { pipeline: name, values, input, .. } = request.params;
        let way = Way::to(request.host, name)?;
        let Lendable { library, params } = way.callbacks.processor(name)?;
        let known = |values| to_text(values, params.as_deref());
        let (values_text, previous) = (known(values), request.previous.map(known));
        let wanted = way.wanted(&values_text, input);
        let plan = way.ask(|| library.plan(&way.host(), wanted, previous.as_deref()))?;
        let mut plan: Plan = serde_json::from_str(&plan)?;
        plan.warnings.extend(unknown(name, values, params.as_deref()));
        Ok(plan)
    }

    fn open(host: &Host, params: &Params<'_>) -> Result<Lent, Error> {
        let way = Way::to(host, params.pipeline)?;
        let Lendable { library, params: known } = way.callbacks.processor(params.pipeline)?;
        let values = to_text(params.values, known.as_deref());
        let wanted = way.wanted(&values, params.input);
        let pipeline = way.call(|| library.load(way.host(), wanted))?;
        Ok(Lent { way, pipeline, params: known })
    }
}

impl Pipeline for Lent {
    type Stream = LentStream;

    fn open_stream(&self, host: &Host, params: &Params<'_>) -> Result<LentStream, Error> {
        let way = Way::to(host, &self.way.name)?;
        let values = to_text(params.values, self.params.as_deref());
        let wanted = way.wanted(&values, params.input);
        let (stream, formats) = way.call(|| {
            let mut stream = self.pipeline.open_stream(way.host(), wanted)?;
            let formats = stream.formats()?;
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

/// The params that the processor knows.
fn to_text(values: &Map<String, Value>, known: Option<&[String]>) -> String {
    let is_known = |name: &String| known.is_none_or(|known| known.contains(name));
    let values = values.iter().filter(|(name, _)| is_known(name));
    Value::Object(values.map(|(name, value)| (name.clone(), value.clone())).collect()).to_string()
}

/// What to say of params that are left out.
fn unknown(name: &str, values: &Map<String, Value>, known: Option<&[String]>) -> Option<String> {
    let known = known?;
    let unknown = values.keys().filter(|name| !known.contains(name)).take(MOST_UNKNOWN);
    let unknown: Vec<&str> =
        unknown.map(|name| &name[..name.floor_char_boundary(LONGEST_UNKNOWN)]).collect();
    let has = match known {
        [] => "it has none".to_owned(),
        known => format!("it has {}", known.join(", ")),
    };
    (!unknown.is_empty())
        .then(|| format!("The image processor {name} has no param {}; {has}.", unknown.join(", ")))
}
