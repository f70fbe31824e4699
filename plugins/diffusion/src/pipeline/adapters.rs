//! IP-Adapters of other plugins: what a plan says of one, what of it is grafted onto a UNet, and that of one stream, opened.

use std::path::Path;

use plugin_api::{
    Conditioner, Error, ErrorCode, Feature, FieldError, FrameFormat, Graft, Host, LogLevel, Params,
    Plan, Tensor as Lent, Unsupported,
};
use serde_json::{Map, Value};

use crate::family::Family;
use crate::files::ModelFiles;
use crate::folder::check_adapter;
use crate::nets::Unet;
use crate::stream::MAX_INFERENCE_STEPS;
use crate::stream::adapters::{Adapter, ImagePrompt, ImagePrompts};
use crate::tensor::Tensor;

const FIELD: &str = "ip_adapter";
const FEATURE: Feature = Feature::TokenConditioner;
/// Those of adapters are 4 or 16.
const MOST_TOKENS: usize = 1024;

/// What an adapter has to know of a stream beside its own params.
#[derive(Clone, Copy)]
pub(super) struct About<'a> {
    pub host: &'a Host,
    pub family: Family,
    pub worked: FrameFormat,
}

impl About<'_> {
    fn plan(&self, adapter: &Adapter) -> Result<Plan, Error> {
        let params = params(adapter, self.family, None);
        let wanted = Params::of_lent(&adapter.name, &params, self.worked);
        Conditioner::plan(self.host, FEATURE, &wanted, None)
    }

    /// What is to be grafted onto the UNet of a model; none where the stream has to go on without, which the plan told.
    pub(super) fn graft(&self, adapter: &Adapter, files: &ModelFiles) -> Option<Graft> {
        let graft = self.plan(adapter).map_err(|error| error.to_string()).and_then(|said| {
            let graft = said.graft.as_ref().ok_or_else(|| reasons(&said))?;
            fits(graft, files).map(|()| graft.clone())
        });
        let told = |why: &String| {
            self.host.log(LogLevel::Warn, &format!("{} is left out: {why}", adapter.name));
        };
        graft.inspect_err(told).ok()
    }
}

/// What the plugin of an adapter is told.
fn params(adapter: &Adapter, family: Family, layers: Option<usize>) -> Map<String, Value> {
    let mut params = adapter.params.clone();
    params.insert("family".into(), family.plugin().into());
    params.extend(layers.map(|layers| ("layers".to_owned(), Value::from(layers))));
    params
}

/// Why there is nothing to graft.
fn reasons(said: &Plan) -> String {
    let errors = said.errors.iter().map(|error| &error.message);
    let unsupported = said.unsupported.iter().map(|one| &one.reason);
    let all: Vec<&str> =
        errors.chain(unsupported).chain(&said.warnings).map(String::as_str).collect();
    if all.is_empty() { "its plan names no weights to graft".into() } else { all.join(" ") }
}

fn fits(graft: &Graft, files: &ModelFiles) -> Result<(), String> {
    let Graft { weights, tokens } = graft;
    if !weights.is_absolute() || !(1..=MOST_TOKENS).contains(tokens) {
        let path = weights.display();
        return Err(format!(
            "its weights must have an absolute path and from 1 to {MOST_TOKENS} tokens, got {path} and {tokens}"
        ));
    }
    check_adapter(files, graft).map_err(|error| format!("it does not fit the model: {error}"))
}

/// Adds what the adapter says to a plan. Where it does not work the stream goes on without.
pub(super) fn plan(plan: &mut Plan, about: About<'_>, adapter: &Adapter, model: Option<&Path>) {
    let mut refuse = |reason: String| {
        let reason = format!("{}: {reason}", adapter.name);
        plan.unsupported.push(Unsupported { field: FIELD.into(), reason });
    };
    let said = match about.plan(adapter) {
        Ok(said) => said,
        Err(error) => return refuse(error.message),
    };
    let files = model.and_then(|model| ModelFiles::open(model).ok());
    match (&said.graft, files) {
        (Some(graft), Some(files)) => drop(fits(graft, &files).map_err(&mut refuse)),
        (Some(_), None) => {}
        (None, _) if said.unsupported.is_empty() && said.warnings.is_empty() => {
            refuse(reasons(&said));
        }
        (None, _) => {}
    }
    said.unsupported.into_iter().for_each(|one| refuse(one.reason));
    plan.errors.extend(said.errors.into_iter().map(|error| FieldError {
        pointer: format!("/{FIELD}{}", error.pointer),
        message: error.message,
    }));
    plan.warnings.extend(said.warnings);
    plan.artefacts.extend(said.artefacts);
    plan.add_part(&adapter.name, said.memory_bytes);
}

/// That of one stream.
pub(super) struct Opened {
    host: Host,
    family: Family,
    worked: FrameFormat,
    unet: Unet,
    /// As it was told last.
    adapter: Option<Adapter>,
    /// None where it does not work.
    conditioner: Option<Conditioner>,
    prompt: Option<ImagePrompt>,
}

impl Opened {
    /// Opens the adapter for a UNet that takes its tokens. One that cannot be opened is left out; the host and the plan tell
    /// the user.
    pub(super) fn new(about: About<'_>, unet: &Unet, adapter: Option<&Adapter>) -> Self {
        let About { host, family, worked } = about;
        let adapter = adapter.filter(|_| unet.image_tokens().is_some()).cloned();
        let mut opened = Self {
            host: host.clone(),
            family,
            worked,
            unet: unet.clone(),
            conditioner: None,
            prompt: None,
            adapter,
        };
        if let Some(adapter) = opened.adapter.clone() {
            let params = opened.params(&adapter);
            let wanted = Params::of_lent(&adapter.name, &params, worked);
            match Conditioner::open(host, FEATURE, &wanted) {
                Ok(conditioner) => opened.conditioner = Some(conditioner),
                Err(error) => opened.warn(&adapter.name, "is left out", &error),
            }
            opened.ask();
        }
        opened
    }

    fn params(&self, adapter: &Adapter) -> Map<String, Value> {
        params(adapter, self.family, Some(self.unet.cross_attentions()))
    }

    fn warn(&self, name: &str, what: &str, error: &Error) {
        self.host.notice(FIELD, Some(&format!("{name} {what}: {error}")));
    }

    /// Tells it new params, where they are others. Those that it refuses leave all as it was.
    pub(super) fn follow(&mut self, adapter: &Adapter) {
        if self.adapter.as_ref() == Some(adapter) {
            return;
        }
        let params = self.params(adapter);
        let wanted = Params::of_lent(&adapter.name, &params, self.worked);
        let Some(conditioner) = &mut self.conditioner else { return };
        match conditioner.update(&wanted) {
            Ok(()) => {
                self.host.notice(FIELD, None);
                self.ask();
            }
            Err(error) if error.code == ErrorCode::Invalid => {
                self.warn(&adapter.name, "stays as it was", &error);
            }
            Err(error) => {
                self.warn(&adapter.name, "is left out", &error);
                (self.conditioner, self.prompt) = (None, None);
            }
        }
        self.adapter = Some(adapter.clone());
    }

    /// Gets its tokens, which stay until it is told otherwise.
    fn ask(&mut self) {
        let Some(conditioner) = &mut self.conditioner else { return };
        match ask(conditioner, &self.unet) {
            Ok(prompt) => self.prompt = Some(prompt),
            Err(error) => {
                let name = self.adapter.as_ref().map_or("", |adapter| &adapter.name);
                self.warn(name, "is left out", &error);
                (self.conditioner, self.prompt) = (None, None);
            }
        }
    }
}

impl ImagePrompts for Opened {
    fn image_prompt(&self) -> Option<&ImagePrompt> {
        self.prompt.as_ref()
    }
}

fn ask(conditioner: &mut Conditioner, unet: &Unet) -> Result<ImagePrompt, Error> {
    let made = conditioner.condition(&[])?;
    let made = made.as_slice();
    let tokens = [1, unet.image_tokens().unwrap_or(0), unet.context()];
    Ok(ImagePrompt {
        tokens: take(made, "image_tokens", &tokens)?,
        empty: take(made, "empty_tokens", &tokens)?,
        scales: scales(made, unet.cross_attentions())?,
    })
}

fn take(made: &[Lent<'_>], name: &str, shape: &[usize]) -> Result<Tensor, Error> {
    let made = Lent::find(made, name)?;
    if made.shape() != shape {
        let made = made.shape();
        return Err(Error::invalid(format!(
            "its `{name}` has the shape {made:?}; the UNet takes {shape:?}"
        )));
    }
    let tensor = Tensor::new(shape, made.values().to_vec());
    let wrong = || Error::invalid(format!("its `{name}` has numbers that are not finite"));
    if tensor.is_finite() { Ok(tensor) } else { Err(wrong()) }
}

/// For all steps, or for each.
fn scales(made: &[Lent<'_>], layers: usize) -> Result<Tensor, Error> {
    const NAME: &str = "image_scales";
    match *Lent::find(made, NAME)?.shape() {
        [steps, _] if (1..=MAX_INFERENCE_STEPS).contains(&steps) => {
            take(made, NAME, &[steps, layers])
        }
        _ => {
            let all = take(made, NAME, &[layers])?;
            Ok(Tensor::new([1, layers], all.into_data()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(shape: &[usize], value: f32) -> [Lent<'static>; 1] {
        [Lent::new("image_scales", shape, vec![value; shape.iter().product()]).unwrap()]
    }

    #[test]
    fn scales_are_for_all_steps_or_for_each() {
        let shape = |shape: &[usize]| scales(&made(shape, 0.5), 3).map(|it| it.shape().to_vec());
        assert_eq!(shape(&[3]).unwrap(), [1, 3]);
        assert_eq!(shape(&[2, 3]).unwrap(), [2, 3]);
        for wrong in [&[4][..], &[0, 3], &[2, 4], &[101, 3], &[1, 1, 3], &[]] {
            assert!(shape(wrong).is_err(), "{wrong:?}");
        }
        let error = shape(&[4]).unwrap_err().message;
        assert!(error.contains("the shape [4]; the UNet takes [3]"), "{error}");
        assert!(scales(&made(&[3], f32::NAN), 3).is_err());
    }

    #[test]
    fn a_graft_that_cannot_be_one_is_told_before_any_file_is_read() {
        let files = ModelFiles::Folder("/nowhere".into());
        for (path, tokens) in [("near/by", 4), ("/far", 0), ("/far", MOST_TOKENS + 1)] {
            let graft = Graft { weights: path.into(), tokens };
            let error = fits(&graft, &files).unwrap_err();
            assert!(error.contains("absolute path"), "{error}");
        }
        let graft = Graft { weights: "/far".into(), tokens: 4 };
        assert!(fits(&graft, &files).unwrap_err().contains("does not fit the model"));
    }
}
