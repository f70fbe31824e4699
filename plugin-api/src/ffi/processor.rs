//! The plugin's side of what other plugins offer: image processors by name.

use super::calls::{LoadedStream, Wanted};
use crate::{Error, Feature, Formats, Frame, FrameMut, Host, Outcome, Params, Plan};
use serde_json::{Map, Value};

/// An image processor of any plugin, opened by its name through the host, which stands between: it leaves out params that
/// the processor does not know, measures how long it takes, and switches it off for the stream once it fails. The user is
/// told by the host; who opened it goes on without it.
///
/// It has to be dropped before the pipeline or stream in whose call it was opened.
pub struct Processor {
    stream: LoadedStream,
    formats: Formats,
}

impl Processor {
    /// What the processor says of these params: `pipeline` names it, `input` is the size of its input. Pure, and the host
    /// is the one of the caller's own [`PlanRequest`](crate::PlanRequest).
    pub fn plan(
        host: &Host,
        params: &Params<'_>,
        previous: Option<&Map<String, Value>>,
    ) -> Result<Plan, Error> {
        plan(host, Feature::ImageProcessor, params, previous)
    }

    /// Opens it; it may load a model of its own.
    pub fn open(host: &Host, params: &Params<'_>) -> Result<Self, Error> {
        let mut stream = open(host, Feature::ImageProcessor, params)?;
        Ok(Self { formats: stream.formats()?, stream })
    }

    /// The sizes of its input and output.
    pub fn formats(&self) -> Formats {
        self.formats
    }

    /// Applies params; on an error the old ones stay, and those may need another one to be opened.
    pub fn update(&mut self, params: &Params<'_>) -> Result<(), Error> {
        let feature = Feature::ImageProcessor;
        with_wanted(feature, params, |wanted| self.stream.update(wanted))
    }

    /// Makes one picture; both have the sizes of its formats.
    pub fn process(
        &mut self,
        input: &Frame<'_>,
        output: &mut FrameMut<'_>,
    ) -> Result<Outcome, Error> {
        self.stream.process(input, output)
    }
}

pub(super) fn plan(
    host: &Host,
    feature: Feature,
    params: &Params<'_>,
    previous: Option<&Map<String, Value>>,
) -> Result<Plan, Error> {
    let callee = host.offered(feature)?;
    let previous = previous.map(to_text);
    let ask = |wanted: Wanted<'_>| callee.plan(&host.lent()?, wanted, previous.as_deref());
    Ok(serde_json::from_str(&with_wanted(feature, params, ask)?)?)
}

pub(super) fn open(
    host: &Host,
    feature: Feature,
    params: &Params<'_>,
) -> Result<LoadedStream, Error> {
    let callee = host.offered(feature)?;
    with_wanted(feature, params, |wanted| {
        let loaded = callee.load(Box::new(host.lent()?), wanted)?;
        loaded.open_stream(host.lent()?, wanted)
    })
}

pub(super) fn with_wanted<T>(
    feature: Feature,
    params: &Params<'_>,
    call: impl FnOnce(Wanted<'_>) -> Result<T, Error>,
) -> Result<T, Error> {
    let missing = || Error::invalid("the size of the pictures that it is given is not told");
    let input = params.input.ok_or_else(missing)?;
    let values = to_text(params.values);
    call(Wanted::lent(feature, params.pipeline, &values, input))
}

fn to_text(values: &Map<String, Value>) -> String {
    Value::Object(values.clone()).to_string()
}
