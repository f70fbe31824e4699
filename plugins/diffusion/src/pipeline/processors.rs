//! Image processors of other plugins: what a plan says of them, and those of one stream, opened.

use plugin_api::{
    Artefact, Error, ErrorCode, FieldError, Frame, FrameFormat, FrameMut, Host, LogLevel, Outcome,
    Params, Plan, Processor, Unsupported,
};
use serde_json::{Map, Value};

use crate::stream::Source;
use crate::stream::hooks::{Asked, Hooks, ImageStep};
use crate::stream::pictures::{ImageProcessors, Picture, Place};

/// Adds what the processors say to a plan: sizes, errors, warnings, memory, and what needs a reload.
pub(super) fn plan(plan: &mut Plan, host: &Host, hooks: &Hooks, old: Option<&Hooks>) {
    let worked = plan.formats.input;
    for place in [Place::Before, Place::After] {
        let previous = old.map(|old| place.steps(old));
        let left = plan_list(plan, host, (place, worked), place.steps(hooks), previous);
        match place {
            Place::Before if left != worked => plan.warnings.push(format!(
                "{} ends with pictures of {left}, which are scaled to {worked} for diffusion.",
                place.field()
            )),
            Place::Before => {}
            Place::After => plan.formats.output = left,
        }
    }
}

/// Gives the size of the pictures that leave the list.
fn plan_list(
    plan: &mut Plan,
    host: &Host,
    (place, mut size): (Place, FrameFormat),
    steps: &[ImageStep],
    old: Option<&[ImageStep]>,
) -> FrameFormat {
    let mut old = old.map(|old| old.iter().collect::<Vec<_>>());
    for step in steps {
        let ImageStep::Processor { name, params, asked } = step else { continue };
        let origin = Origin { place, asked, name };
        let previous = old.as_mut().map(|old| {
            let at = old.iter().position(|old| old.params_of(name).is_some())?;
            old.remove(at).params_of(name)
        });
        let wanted = Params::of_lent(name, params, size);
        match Processor::plan(host, &wanted, previous.flatten()) {
            Ok(said) => {
                size = said.formats.output;
                let is_heavy = previous == Some(None) && said.memory_bytes > 0;
                add(plan, said, is_heavy, &origin);
            }
            Err(error) if error.code == ErrorCode::Invalid && origin.is_listed() => {
                plan.errors.push(FieldError { pointer: origin.pointer(), message: error.message })
            }
            Err(error) => plan.unsupported.push(Unsupported {
                field: origin.field().into(),
                reason: origin.told(&error.message),
            }),
        }
    }
    size
}

/// `is_heavy` where it is new to a stream and has something to load, which would hold up frames. For the safety checker they
/// wait: it is hot, and a reload would show more that is not checked.
fn add(plan: &mut Plan, said: Plan, is_heavy: bool, origin: &Origin<'_>) {
    let pointer = origin.pointer();
    plan.errors.extend(said.errors.into_iter().map(|error| FieldError {
        pointer: format!("{pointer}{}", error.pointer),
        message: error.message,
    }));
    let reason = |one: &Unsupported| origin.told(&format!("{}: {}", one.field, one.reason));
    add_missing(plan, origin.field(), (said.unsupported, said.artefacts), reason);
    if (is_heavy && origin.is_listed()) || !said.reload.is_empty() {
        plan.reload.push(origin.field().into());
    }
    plan.warnings.extend(said.warnings);
    plan.add_part(origin.name, said.memory_bytes);
}

/// One processor, as the client asked for it.
struct Origin<'a> {
    place: Place,
    asked: &'a Asked,
    name: &'a str,
}

impl Origin<'_> {
    fn is_listed(&self) -> bool {
        matches!(self.asked, Asked::Listed(_))
    }

    fn field(&self) -> &'static str {
        match self.asked {
            Asked::Listed(_) => self.place.field(),
            Asked::ForSafety => "use_safety_checker",
        }
    }

    fn pointer(&self) -> String {
        match self.asked {
            Asked::Listed(index) => format!("/{}/processors/{index}/params", self.field()),
            Asked::ForSafety => format!("/{}", self.field()),
        }
    }

    /// Why it does not work.
    fn told(&self, reason: &str) -> String {
        let name = self.name;
        match self.asked {
            Asked::Listed(_) => format!("{name}: {reason}"),
            Asked::ForSafety => format!("pictures are shown unchecked: {name}: {reason}"),
        }
    }
}

/// Adds what has no effect, by `reason`, and what is to be fetched: what that would cure is still the same text. Two that
/// need the same need it once.
pub(super) fn add_missing(
    plan: &mut Plan,
    field: &str,
    (unsupported, mut artefacts): (Vec<Unsupported>, Vec<Artefact>),
    reason: impl Fn(&Unsupported) -> String,
) {
    for one in unsupported {
        let reason = reason(&one);
        for artefact in artefacts.iter_mut().filter(|artefact| artefact.without == one.reason) {
            artefact.without.clone_from(&reason);
        }
        plan.unsupported.push(Unsupported { field: field.into(), reason });
    }
    artefacts.retain(|artefact| !plan.artefacts.contains(artefact));
    plan.artefacts.extend(artefacts);
}

impl Place {
    fn field(self) -> &'static str {
        match self {
            Self::Before => "image_preprocessing",
            Self::After => "image_postprocessing",
        }
    }

    fn steps(self, hooks: &Hooks) -> &[ImageStep] {
        match self {
            Self::Before => &hooks.image_preprocessing,
            Self::After => &hooks.image_postprocessing,
        }
    }
}

impl ImageStep {
    fn params_of(&self, wanted: &str) -> Option<&Map<String, Value>> {
        match self {
            Self::Processor { name, params, .. } if name == wanted => Some(params),
            _ => None,
        }
    }
}

/// Those of one stream.
#[derive(Default)]
pub(super) struct Opened {
    before: Vec<Slot>,
    after: Vec<Slot>,
}

/// For each step of a list; none for feedback, and for what does not work.
type Slot = Option<Running>;

pub(super) struct Running {
    name: String,
    params: Map<String, Value>,
    processor: Processor,
}

impl Opened {
    /// Opens what the hooks name and is not open yet, for pictures of the size that diffusion works at. What cannot be
    /// opened is left out; the host and the plan tell the user.
    pub(super) fn follow(&mut self, host: &Host, hooks: &Hooks, worked: FrameFormat) {
        for place in [Place::Before, Place::After] {
            let old = std::mem::take(self.list(place)).into_iter();
            let mut old: Vec<Running> = old.flatten().collect();
            let mut size = worked;
            let slots = place.steps(hooks).iter().map(|step| {
                let ImageStep::Processor { name, params, .. } = step else { return None };
                let wanted = Params::of_lent(name, params, size);
                let running = follow(host, &mut old, &wanted);
                let running = running.inspect_err(|error| {
                    host.log(LogLevel::Warn, &format!("{name} is left out: {error}"));
                });
                let running = running.ok()?;
                size = running.processor.formats().output;
                Some(running)
            });
            let slots = slots.collect();
            *self.list(place) = slots;
        }
    }

    /// The size of the pictures that leave, of those that diffusion makes.
    pub(super) fn output(&self, worked: FrameFormat) -> FrameFormat {
        let last = self.after.iter().flatten().next_back();
        last.map_or(worked, |last| last.processor.formats().output)
    }

    fn list(&mut self, place: Place) -> &mut Vec<Slot> {
        match place {
            Place::Before => &mut self.before,
            Place::After => &mut self.after,
        }
    }
}

/// An old one of this name with new params, where it takes them, else one that is opened.
pub(super) fn follow(
    host: &Host,
    old: &mut Vec<Running>,
    wanted: &Params<'_>,
) -> Result<Running, Error> {
    let fits = |old: &Running| {
        old.name == wanted.pipeline && Some(old.processor.formats().input) == wanted.input
    };
    let name = wanted.pipeline.to_owned();
    let params = wanted.values.clone();
    if let Some(mut old) = old.iter().position(fits).map(|at| old.remove(at))
        && (old.params == params || old.processor.update(wanted).is_ok())
    {
        return Ok(Running { params, ..old });
    }
    Ok(Running { name, params, processor: Processor::open(host, wanted)? })
}

impl ImageProcessors for Opened {
    fn process(
        &mut self,
        place: Place,
        index: usize,
        picture: &Picture,
        frame: Source,
    ) -> Option<Picture> {
        let slot = self.list(place).get_mut(index)?;
        let formats = slot.as_ref()?.processor.formats();
        let size = FrameFormat::new(picture.width as u32, picture.height as u32);
        // One before it was left out or failed meanwhile.
        let scaled = (size != formats.input).then(|| {
            let FrameFormat { width, height } = formats.input;
            picture.clone().scaled_to(width as usize, height as usize)
        });
        let picture = scaled.as_ref().unwrap_or(picture);
        match make(slot.as_mut()?, picture, frame) {
            Ok(made) => made,
            Err(_) => {
                // The host does not call it again, and tells why.
                *slot = None;
                None
            }
        }
    }
}

impl Running {
    /// Whether it is what these params come to.
    pub(super) fn is(&self, wanted: &Params<'_>) -> bool {
        self.name == wanted.pipeline && self.params == *wanted.values
    }
}

/// None where the processor has nothing new.
pub(super) fn make(
    running: &mut Running,
    picture: &Picture,
    Source { id, captured_ns }: Source,
) -> Result<Option<Picture>, Error> {
    let processor = &mut running.processor;
    let FrameFormat { width, height } = processor.formats().output;
    let row = |width: u32| width as usize * plugin_api::PIXEL_BYTES;
    let mut rgb = vec![0; row(width) * height as usize];
    let input = Frame {
        id,
        captured_ns,
        width: picture.width as u32,
        height: picture.height as u32,
        stride: row(picture.width as u32),
        pixels: &picture.rgb,
    };
    let mut output =
        FrameMut { id, captured_ns, width, height, stride: row(width), pixels: &mut rgb };
    let outcome = processor.process(&input, &mut output)?;
    let made = Picture { width: width as usize, height: height as usize, rgb };
    Ok((outcome == Outcome::Produced).then_some(made))
}
