//! The image processor that pictures go through when the pipeline has made them, whoever has it.

use plugin_api::{
    Error, Frame, FrameFormat, FrameMut, Host, LogLevel, Outcome, Params, Plan, PlanRequest,
    Processor,
};
use serde_json::{Map, Value};

/// None chosen, or one that is open, or one that did not open.
pub struct Chosen {
    host: Host,
    name: String,
    processor: Option<Processor>,
}

/// The name and the params.
type Wish = Option<(String, Map<String, Value>)>;

impl Chosen {
    pub fn plan(
        request: &PlanRequest<'_>,
        input: FrameFormat,
        plan: &mut Plan,
    ) -> Result<(), Error> {
        let Some((name, values)) = read(&request.params)? else { return Ok(()) };
        let params = Params::of_lent(&name, &values, input);
        let said = Processor::plan(request.host, &params, None)?;
        plan.warnings.extend(said.warnings);
        plan.unsupported.extend(said.unsupported);
        plan.formats.output = said.formats.output;
        Ok(())
    }

    pub fn open(host: &Host, params: &Params<'_>, input: FrameFormat) -> Result<Self, Error> {
        let Some((name, values)) = read(params)? else {
            return Ok(Self { host: host.clone(), name: String::new(), processor: None });
        };
        let processor = Processor::open(host, &Params::of_lent(&name, &values, input));
        let processor = processor.inspect_err(|error| {
            host.log(LogLevel::Warn, &format!("going on without {name}: {error}"));
        });
        Ok(Self { host: host.clone(), name, processor: processor.ok() })
    }

    pub fn update(&mut self, params: &Params<'_>, input: FrameFormat) -> Result<(), Error> {
        match (read(params)?, &mut self.processor) {
            (Some((name, values)), Some(processor)) if name == self.name => {
                processor.update(&Params::of_lent(&name, &values, input))
            }
            _ => {
                *self = Self::open(&self.host, params, input)?;
                Ok(())
            }
        }
    }

    /// A picture that the processor cannot make better stays as it is.
    pub fn process(&mut self, picture: &mut FrameMut<'_>) {
        let Some(processor) = &mut self.processor else { return };
        let before = picture.pixels.to_vec();
        let input = Frame {
            id: picture.id,
            captured_ns: picture.captured_ns,
            width: picture.width,
            height: picture.height,
            stride: picture.stride,
            pixels: &before,
        };
        if !matches!(processor.process(&input, picture), Ok(Outcome::Produced)) {
            picture.pixels.copy_from_slice(&before);
        }
    }
}

fn read(params: &Params<'_>) -> Result<Wish, Error> {
    let Some(chosen) = params.values.get("processor").and_then(Value::as_object) else {
        return Ok(None);
    };
    let name = chosen.get("type").and_then(Value::as_str);
    let name = name.ok_or_else(|| Error::invalid("`processor` must have a `type`"))?;
    let values = chosen.get("params").and_then(Value::as_object).cloned();
    Ok(Some((name.to_owned(), values.unwrap_or_default())))
}
