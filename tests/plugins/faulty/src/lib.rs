//! The plugin `faulty`: copies pictures until it is told to fail, and then fails for real.
//!
//! Its params say what goes wrong (`fault`), in which call (`phase`) and from which frame on (`at_frame`); the host's
//! tests use it to see that a plugin harms nobody but its own streams. Without a fault it is a proper plugin. Its param
//! `mark` becomes the colour of the pictures, which tells by which params a picture was made, and so does the mean colour
//! of the picture that its param `picture` points to. Its image processor does the same, in pictures of any size, and its
//! pipeline puts pictures through any image processor (`processor`). Its residual conditioners fail as their names say.

mod conditioner;
mod fault;
mod picture;
mod processor;

use fault::{Fault, Phase, Wishes};
use plugin_api::{
    Error, Formats, Frame, FrameFormat, FrameMut, Host, Outcome, Params, Pipeline, Plan,
    PlanRequest, Plugin, Stream,
};
use processor::Chosen;
use std::thread;
use std::time::Duration;

/// Steps of loading, each as long as `delay_ms` and a part of `load_ms`.
const LOADING_STEPS: u16 = 10;

/// Names the plugin for the export.
pub struct Faulty;

/// Nothing is loaded, however long it takes.
pub struct Nothing;

/// A stream and what is to go wrong in it.
pub struct Failing {
    format: FrameFormat,
    wishes: Wishes,
    frames: u64,
    colour: Option<[u8; 3]>,
    processor: Chosen,
}

impl Plugin for Faulty {
    type Pipeline = Nothing;

    fn plan(request: &PlanRequest<'_>) -> Result<Plan, Error> {
        let wishes = Wishes::read(request.params.values)?;
        wishes.fail_in(Phase::Plan)?;
        let input = request.params.input.unwrap_or(wishes.format);
        let mut plan = Plan { formats: Formats::same(input), ..Plan::default() };
        Chosen::plan(request, input, &mut plan)?;
        Ok(plan)
    }

    fn open(host: &Host, params: &Params<'_>) -> Result<Nothing, Error> {
        let wishes = Wishes::read(params.values)?;
        for step in 0..LOADING_STEPS {
            if host.is_cancelled() {
                return Err(Error::cancelled());
            }
            host.progress(f32::from(step) / f32::from(LOADING_STEPS), "pretending to load");
            thread::sleep(wishes.delay + wishes.loading / u32::from(LOADING_STEPS));
        }
        wishes.fail_in(Phase::Open)?;
        Ok(Nothing)
    }
}

impl Pipeline for Nothing {
    type Stream = Failing;

    fn open_stream(&self, host: &Host, params: &Params<'_>) -> Result<Failing, Error> {
        let wishes = Wishes::read(params.values)?;
        let mut format = params.input.unwrap_or(wishes.format);
        let processor = Chosen::open(host, params, format)?;
        if wishes.fault == Fault::WrongSize {
            format.width += 8;
        }
        let colour = picture::mean_colour(params.values)?;
        Ok(Failing { format, wishes, frames: 0, colour, processor })
    }
}

impl Stream for Failing {
    fn formats(&self) -> Formats {
        Formats::same(self.format)
    }

    fn update(&mut self, params: &Params<'_>) -> Result<(), Error> {
        let wishes = Wishes::read(params.values)?;
        wishes.fail_in(Phase::Update)?;
        let colour = picture::mean_colour(params.values)?;
        self.processor.update(params, self.format)?;
        self.colour = colour;
        self.wishes = wishes;
        Ok(())
    }

    fn process(&mut self, input: &Frame<'_>, output: &mut FrameMut<'_>) -> Result<Outcome, Error> {
        self.frames += 1;
        thread::sleep(self.wishes.delay);
        if self.frames >= self.wishes.at_frame {
            self.wishes.fail_in(Phase::Process)?;
        }
        for (target, source) in output.rows_mut().zip(input.rows()) {
            target.copy_from_slice(source);
        }
        let [_, _, _, _, _, mark @ ..] = self.wishes.mark.to_be_bytes();
        let mark = Some(mark).filter(|mark| *mark != [0; 3]);
        if let Some(mark) = self.colour.or(mark) {
            output
                .rows_mut()
                .flat_map(|row| row.chunks_exact_mut(3))
                .for_each(|pixel| pixel.copy_from_slice(&mark));
        }
        self.processor.process(output);
        Ok(Outcome::Produced)
    }
}

/// How long `slow` takes in the chosen phase.
const SLOW: Duration = Duration::from_millis(100);

plugin_api::export_plugin!(
    Faulty,
    image_processors = Faulty,
    residual_conditioners = conditioner::Conditioners,
    manifest = include_str!("../manifest.json")
);
