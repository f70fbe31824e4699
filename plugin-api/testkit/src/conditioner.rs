//! The checks of a conditioner: what it answers, and what it refuses.

use crate::Report;
use crate::host::{Notices, context, stream_context};
use plugin_api::loader::{Library, LoadedStream, Wanted};
use plugin_api::{Error, Feature, FrameFormat, LentTensors, Plan, Tensor};
use std::sync::Arc;

/// Size of pictures that it is told.
const PICTURE: FrameFormat = FrameFormat::new(64, 64);

/// A conditioner of a library, and what to try it with.
pub(crate) struct Conditioner<'a> {
    pub(crate) library: &'a Arc<Library>,
    pub(crate) feature: Feature,
    pub(crate) name: &'a str,
    pub(crate) params: &'a str,
    pub(crate) given: &'a [Tensor<'static>],
    pub(crate) notices: Arc<Notices>,
}

impl Conditioner<'_> {
    pub(crate) fn check(&self, report: &mut Report) {
        let mut add =
            |check: &str, outcome| report.add(&format!("{}: {check}", self.name), outcome);
        add("plan accepts the params", self.plan());
        add("plan refuses what is no JSON object, with a reason", self.plan_refuses_nonsense());
        let mut stream = match self.open() {
            Ok(stream) => stream,
            Err(error) => return add("the conditioner opens", Err(error.message)),
        };
        add("it answers with finite tensors of different names", self.answers_well(&mut stream));
        add("the same question has an answer of the same shapes", self.answers_again(&mut stream));
        add("an answer is released by whoever made it, once", self.releases(&mut stream));
        // One that is asked with nothing lacks nothing.
        if !self.given.is_empty() {
            add("a question that lacks tensors is refused with a reason", refuses(&mut stream));
            add("it goes on after that", self.ask(&mut stream).map(drop));
        }
        add("what it tells users is short text, in one line", self.notices.check());
        drop(stream);
        add("it opens again after it was closed", self.open().map(drop).map_err(|e| e.message));
    }

    fn wanted<'w>(&'w self, values: &'w str) -> Wanted<'w> {
        Wanted::lent(self.feature, self.name, values, PICTURE)
    }

    fn plan(&self) -> Result<(), String> {
        let text = self.library.plan(&context(), self.wanted(self.params), None);
        let text = text.map_err(|error| error.message)?;
        let plan: Plan =
            serde_json::from_str(&text).map_err(|error| format!("{error} in {text}"))?;
        if plan.errors.is_empty() { Ok(()) } else { Err(format!("{:?}", plan.errors)) }
    }

    fn plan_refuses_nonsense(&self) -> Result<(), String> {
        match self.library.plan(&context(), self.wanted("[]"), None) {
            Err(error) if !error.message.is_empty() => Ok(()),
            Err(_) => Err("it is refused without a reason".into()),
            Ok(plan) => Err(format!("it is accepted: {plan}")),
        }
    }

    fn open(&self) -> Result<LoadedStream, Error> {
        let wanted = self.wanted(self.params);
        self.library.load(context(), wanted)?.open_stream(stream_context(&self.notices), wanted)
    }

    fn ask(&self, stream: &mut LoadedStream) -> Result<LentTensors, String> {
        stream.condition(self.given).map_err(|error| error.message)
    }

    fn answers_well(&self, stream: &mut LoadedStream) -> Result<(), String> {
        let made = self.ask(stream)?;
        let made = made.as_slice();
        if made.is_empty() {
            return Err("it has no tensor".into());
        }
        for (index, tensor) in made.iter().enumerate() {
            if !tensor.values().iter().all(|value| value.is_finite()) {
                return Err(format!("`{}` has values that are not finite", tensor.name()));
            }
            if made[..index].iter().any(|other| other.name() == tensor.name()) {
                return Err(format!("`{}` is there twice", tensor.name()));
            }
        }
        Ok(())
    }

    fn answers_again(&self, stream: &mut LoadedStream) -> Result<(), String> {
        let shapes = |made: &LentTensors| {
            let shape = |tensor: &Tensor<'_>| (tensor.name().to_owned(), tensor.shape().to_vec());
            made.as_slice().iter().map(shape).collect::<Vec<_>>()
        };
        let (first, second) = (self.ask(stream)?, self.ask(stream)?);
        let (first, second) = (shapes(&first), shapes(&second));
        if first == second { Ok(()) } else { Err(format!("{first:?}, then {second:?}")) }
    }

    fn releases(&self, stream: &mut LoadedStream) -> Result<(), String> {
        self.ask(stream)?.release().map_err(|error| error.message)
    }
}

fn refuses(stream: &mut LoadedStream) -> Result<(), String> {
    match stream.condition(&[]) {
        Err(error) if !error.message.is_empty() => Ok(()),
        Err(_) => Err("it is refused without a reason".into()),
        Ok(_) => Err("it is answered".into()),
    }
}
