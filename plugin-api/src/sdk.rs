//! The traits that a plugin written in Rust implements.

use crate::{Conditions, Error, Formats, Frame, FrameFormat, FrameMut, Host, Plan, Tensor};
use serde_json::{Map, Value};
use std::path::PathBuf;

/// A plugin's way in. The type is only a name for [`crate::export_plugin`]; it is never instantiated.
///
/// The same traits serve all [features](crate::Feature): `export_plugin!(Flip, ...)` exports pipelines,
/// `export_plugin!(image_processors = Flip, ...)`, `residual_conditioners = ` and `token_conditioners = ` what pipelines open by
/// the values that the manifest contributes to slots. What these get besides is [`Params::input`].
///
/// A complete plugin that turns pictures upside down:
///
/// ```
/// use plugin_api::{
///     Error, Formats, Frame, FrameFormat, FrameMut, Host, Outcome, Params, Pipeline, Plan, PlanRequest, Plugin, Stream,
/// };
///
/// struct Flip;
///
/// impl Plugin for Flip {
///     type Pipeline = FlipPipeline;
///
///     fn plan(_request: &PlanRequest<'_>) -> Result<Plan, Error> {
///         Ok(Plan { formats: Formats::same(FrameFormat::new(512, 512)), ..Plan::default() })
///     }
///
///     fn open(host: &Host, _params: &Params<'_>) -> Result<FlipPipeline, Error> {
///         host.progress(1.0, "nothing to load");
///         Ok(FlipPipeline)
///     }
/// }
///
/// struct FlipPipeline;
///
/// impl Pipeline for FlipPipeline {
///     type Stream = FlipStream;
///
///     fn open_stream(&self, _host: &Host, _params: &Params<'_>) -> Result<FlipStream, Error> {
///         Ok(FlipStream)
///     }
/// }
///
/// struct FlipStream;
///
/// impl Stream for FlipStream {
///     fn formats(&self) -> Formats {
///         Formats::same(FrameFormat::new(512, 512))
///     }
///
///     fn update(&mut self, _params: &Params<'_>) -> Result<(), Error> {
///         Ok(())
///     }
///
///     fn process(&mut self, input: &Frame<'_>, output: &mut FrameMut<'_>) -> Result<Outcome, Error> {
///         let rows: Vec<&[u8]> = input.rows().collect();
///         for (target, source) in output.rows_mut().zip(rows.iter().rev()) {
///             target.copy_from_slice(source);
///         }
///         Ok(Outcome::Produced)
///     }
/// }
///
/// plugin_api::export_plugin!(
///     Flip,
///     manifest = r#"{
///         "id": "flip", "vendor": "example", "version": "1.0.0", "abi": ">=0.1, <0.2",
///         "features": ["pipeline/0"], "license": "MIT", "description": "Turns pictures upside down.",
///         "claims": [{
///             "pipeline": "flip", "models": null, "description": "Turns pictures upside down.",
///             "params": { "type": "object", "properties": {} }
///         }]
///     }"#
/// );
/// # fn main() {}
/// ```
pub trait Plugin: 'static {
    /// What is loaded once and shared by streams.
    type Pipeline: Pipeline;

    /// Says what would happen with these params. Pure: the same request gets the same answer, nothing is loaded, nothing
    /// is kept. It runs in a process of its own, from any thread, and is to take milliseconds (the limit is 5 s).
    fn plan(request: &PlanRequest<'_>) -> Result<Plan, Error>;

    /// Loads weights. May take long: call [`Host::progress`] often, which is also the sign of life, and give up with
    /// [`Error::cancelled`] when [`Host::is_cancelled`] says so. Streams whose params differ in hot ones only share a
    /// pipeline, so what depends on hot params belongs to [`Pipeline::open_stream`].
    fn open(host: &Host, params: &Params<'_>) -> Result<Self::Pipeline, Error>;
}

/// Weights and everything else that streams share. Called from any thread. It is dropped after its last stream.
///
/// ```
/// use plugin_api::{Error, Formats, Frame, FrameMut, Host, Outcome, Params, Pipeline, Stream};
/// use std::sync::Arc;
///
/// struct Tables {
///     gamma: Arc<[u8; 256]>,
/// }
///
/// impl Pipeline for Tables {
///     type Stream = Corrected;
///     fn open_stream(&self, host: &Host, _params: &Params<'_>) -> Result<Corrected, Error> {
///         host.log(plugin_api::LogLevel::Debug, "opening a stream");
///         Ok(Corrected { gamma: self.gamma.clone() })
///     }
/// }
///
/// struct Corrected {
///     gamma: Arc<[u8; 256]>,
/// }
/// # impl Stream for Corrected {
/// #     fn formats(&self) -> Formats { Formats::default() }
/// #     fn update(&mut self, _: &Params<'_>) -> Result<(), Error> { Ok(()) }
/// #     fn process(&mut self, _: &Frame<'_>, _: &mut FrameMut<'_>) -> Result<Outcome, Error> {
/// #         Ok(Outcome::Skipped)
/// #     }
/// # }
/// ```
pub trait Pipeline: Send + Sync + 'static {
    /// What one stream keeps from frame to frame.
    type Stream: Stream;

    /// Makes a stream's own state. Progress and cancelling as in [`Plugin::open`].
    fn open_stream(&self, host: &Host, params: &Params<'_>) -> Result<Self::Stream, Error>;
}

/// One stream's state. It has one caller at a time, not always the same thread.
///
/// ```
/// use plugin_api::{Error, Formats, Frame, FrameFormat, FrameMut, Outcome, Params, Stream};
///
/// /// Shows every n-th picture.
/// struct EveryNth {
///     nth: u64,
///     count: u64,
/// }
///
/// impl Stream for EveryNth {
///     fn formats(&self) -> Formats {
///         Formats::same(FrameFormat::new(640, 360))
///     }
///
///     fn update(&mut self, params: &Params<'_>) -> Result<(), Error> {
///         let nth = params.values.get("nth").and_then(|nth| nth.as_u64());
///         self.nth = nth.filter(|nth| *nth > 0).ok_or_else(|| Error::invalid("`nth` must be at least 1"))?;
///         Ok(())
///     }
///
///     fn process(&mut self, input: &Frame<'_>, output: &mut FrameMut<'_>) -> Result<Outcome, Error> {
///         self.count += 1;
///         if self.count % self.nth != 0 {
///             return Ok(Outcome::Skipped);
///         }
///         for (target, source) in output.rows_mut().zip(input.rows()) {
///             target.copy_from_slice(source);
///         }
///         Ok(Outcome::Produced)
///     }
/// }
/// ```
pub trait Stream: Send + 'static {
    /// What the stream takes and gives, as `plan` said for the same params. Constant for the stream's life. For pipelines
    /// and image processors.
    fn formats(&self) -> Formats {
        Formats::default()
    }

    /// Applies params of which only hot ones changed; they are always given whole. On failure the old ones stay.
    fn update(&mut self, params: &Params<'_>) -> Result<(), Error>;

    /// Makes one output picture from one input picture; both have the sizes of `formats`. For pipelines and image
    /// processors.
    fn process(
        &mut self,
        _input: &Frame<'_>,
        _output: &mut FrameMut<'_>,
    ) -> Result<Outcome, Error> {
        Err(Error::invalid("a conditioner takes no frames"))
    }

    /// Answers tensors with tensors. For conditioners; what they are given and have to answer with is said at their
    /// feature in the guide for authors.
    fn condition(&mut self, _given: &[Tensor<'_>]) -> Result<Conditions, Error> {
        Err(Error::invalid("only conditioners take tensors"))
    }
}

/// What `process` did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The output picture is written.
    Produced,
    /// Nothing new: the host shows the previous output again.
    Skipped,
}

/// Params of a stream.
#[derive(Clone, Copy, Debug)]
pub struct Params<'a> {
    /// What is in use: one of the `pipeline` names of the manifest, or a value that it contributes to a slot.
    pub pipeline: &'a str,
    /// The effective params: valid by the claim's schema, defaults filled in.
    pub values: &'a Map<String, Value>,
    /// The size of the pictures that it is given; an image processor's are the input of its formats. None for a pipeline,
    /// which tells it itself.
    pub input: Option<FrameFormat>,
    /// For a pipeline the size of output that its plan told for these params. It keeps to it although an image processor
    /// that it counted on is switched off.
    pub output: Option<FrameFormat>,
}

impl<'a> Params<'a> {
    /// Those of a pipeline.
    pub const fn of(pipeline: &'a str, values: &'a Map<String, Value>) -> Self {
        Self { pipeline, values, input: None, output: None }
    }

    /// Those of an image processor or a conditioner.
    pub const fn of_lent(
        name: &'a str,
        values: &'a Map<String, Value>,
        input: FrameFormat,
    ) -> Self {
        Self { pipeline: name, values, input: Some(input), output: None }
    }
}

/// What [`Plugin::plan`] is asked.
#[derive(Clone, Copy, Debug)]
pub struct PlanRequest<'a> {
    /// The wanted params.
    pub params: Params<'a>,
    /// The params in effect until now; none for a new stream.
    pub previous: Option<&'a Map<String, Value>>,
    /// Its folders and thread budget, its log, and what other plugins offer.
    pub host: &'a Host,
}

/// Where a plugin finds and keeps things, and how much it may use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// Folder of weights (standard hub cache layout or plain folders); read only.
    pub models_dir: PathBuf,
    /// Folder for what is built from weights and kept between runs.
    pub engines_dir: PathBuf,
    /// Folder for anything that may be deleted at any time.
    pub cache_dir: PathBuf,
    /// Threads that the plugin may keep busy, at least 1.
    pub threads: u32,
}
