//! ControlNets of other plugins: what a plan says of them, and those of one stream, opened.

use plugin_api::{
    Conditioner, Error, ErrorCode, Feature, FieldError, FrameFormat, Host, Params, Plan, Processor,
    Unsupported,
};

use super::processors::{Running, add_missing, follow, make};
use super::seen::{Look, Seen};
use crate::image::to_planes;
use crate::stream::Source;
use crate::stream::controls::{Control, ControlNets, Steered, add_weighted};
use crate::stream::pictures::Picture;
use crate::tensor::Tensor;
use std::sync::Arc;

const FIELD: &str = "controlnets";
const FEATURE: Feature = Feature::ResidualConditioner;
/// Beside the UNet's own inputs: the picture of the frame, and that of the frame before.
const PICTURE: &str = "controlnet_cond";
const PREVIOUS: &str = "previous_frame";

/// Adds what the ControlNets and their preprocessors say to a plan.
pub(super) fn plan(plan: &mut Plan, host: &Host, controls: &[Control]) {
    let worked = plan.formats.input;
    for control in controls {
        let pointer = format!("/{FIELD}/{}", control.index);
        let wanted = Params::of_lent(&control.name, &control.params, worked);
        let said = Conditioner::plan(host, FEATURE, &wanted, None);
        add(plan, said, &control.name, &pointer);
        if let Some((name, params)) = &control.preprocessor {
            let wanted = Params::of_lent(name, params, worked);
            let said = Processor::plan(host, &wanted, None);
            add(plan, said, name, &format!("{pointer}/preprocessor_params"));
        }
    }
}

fn add(plan: &mut Plan, said: Result<Plan, Error>, name: &str, pointer: &str) {
    let said = match said {
        Ok(said) => said,
        Err(error) if error.code == ErrorCode::Invalid => {
            let pointer = pointer.to_owned();
            return plan.errors.push(FieldError { pointer, message: error.message });
        }
        Err(error) => {
            let reason = format!("{name}: {}", error.message);
            return plan.unsupported.push(Unsupported { field: FIELD.into(), reason });
        }
    };
    plan.errors.extend(said.errors.into_iter().map(|error| FieldError {
        pointer: format!("{pointer}{}", error.pointer),
        message: error.message,
    }));
    let reason = |one: &Unsupported| format!("{name}: {}", one.reason);
    add_missing(plan, FIELD, (said.unsupported, said.artefacts), reason);
    plan.warnings.extend(said.warnings);
    plan.add_part(name, said.memory_bytes);
}

/// Those of one stream.
pub(super) struct Opened {
    host: Host,
    nets: Vec<Net>,
    /// What makes pictures of frames; those that are equal once, for all ControlNets. None that does not work.
    makers: Vec<Option<Running>>,
    seen: Seen,
}

struct Net {
    name: String,
    /// None where it does not work.
    conditioner: Option<Conditioner>,
    /// In `makers`; none where the frame is the picture.
    maker: Option<usize>,
}

impl Opened {
    /// Opens what the controls name, for pictures of the size that diffusion works at. What cannot be opened is left out;
    /// the host and the plan tell the user.
    pub(super) fn new(host: &Host, controls: &[Control], worked: FrameFormat) -> Self {
        let (nets, makers) = (Vec::new(), Vec::new());
        let mut opened = Self { host: host.clone(), nets, makers, seen: Seen::default() };
        for control in controls {
            let wanted = Params::of_lent(&control.name, &control.params, worked);
            let conditioner =
                opened.or_left_out(&control.name, Conditioner::open(host, FEATURE, &wanted));
            let maker = control
                .preprocessor
                .as_ref()
                .map(|(name, params)| opened.maker(&Params::of_lent(name, params, worked)));
            opened.nets.push(Net { name: control.name.clone(), conditioner, maker });
        }
        opened
    }

    /// The place of what makes pictures by these params.
    fn maker(&mut self, wanted: &Params<'_>) -> usize {
        let same = |one: &Option<Running>| one.as_ref().is_some_and(|running| running.is(wanted));
        if let Some(at) = self.makers.iter().position(same) {
            return at;
        }
        let running = follow(&self.host, &mut Vec::new(), wanted);
        let running = self.or_left_out(wanted.pipeline, running);
        self.makers.push(running);
        self.makers.len() - 1
    }

    fn or_left_out<T>(&self, name: &str, result: Result<T, Error>) -> Option<T> {
        result.inspect_err(|error| tell(&self.host, name, error)).ok()
    }
}

/// For as long as the stream is open: what is left out stays so.
fn tell(host: &Host, name: &str, error: &Error) {
    host.notice(name, Some(&format!("{name} is left out: {error}")));
}

impl ControlNets for Opened {
    fn look(&mut self, picture: Picture, frame: Source, kept: usize) {
        let seen = &self.seen;
        let make_one = |(at, maker): (usize, &mut Option<Running>)| {
            let made = match make(maker.as_mut()?, &picture, frame) {
                // Nothing new: the last one goes on.
                Ok(None) => return seen.last_made(at),
                Ok(Some(made)) => made.scaled_to(picture.width, picture.height),
                // The host does not call it again, and tells why.
                Err(_) => {
                    *maker = None;
                    return None;
                }
            };
            Some(Arc::new(to_planes(&made.rgb, made.width, made.height)))
        };
        let made = self.makers.iter_mut().enumerate().map(make_one).collect();
        let picture = Arc::new(to_planes(&picture.rgb, picture.width, picture.height));
        self.seen.add(Look { frame, picture, made }, kept);
    }

    fn add(&mut self, at: usize, rows: &Steered<'_>, sum: &mut [Tensor]) {
        let Some(net) = self.nets.get_mut(at) else { return };
        let Some(conditioner) = &mut net.conditioner else { return };
        let Some(pictures) = self.seen.pictures(net.maker, rows.frames) else { return };
        if let Err(error) = condition(conditioner, rows, pictures.each_ref(), sum) {
            tell(&self.host, &net.name, &error);
            net.conditioner = None;
        }
    }
}

/// The names of the UNet's own inputs, as the networks of diffusers have them; without a text as a whole there are three.
const INPUTS: [&str; 5] =
    ["sample", "timestep", "encoder_hidden_states", "text_embeds", "time_ids"];

fn lend<'t>((name, tensor): (&'static str, &'t Tensor)) -> Result<plugin_api::Tensor<'t>, Error> {
    plugin_api::Tensor::new(name, tensor.shape(), tensor.data())
}

fn condition(
    conditioner: &mut Conditioner,
    rows: &Steered<'_>,
    [picture, previous]: [&Tensor; 2],
    sum: &mut [Tensor],
) -> Result<(), Error> {
    let pictures = [(PICTURE, picture), (PREVIOUS, previous)];
    let given = INPUTS.into_iter().zip(rows.given.iter().copied()).chain(pictures).map(lend);
    let made = conditioner.condition(&given.collect::<Result<Vec<_>, _>>()?)?;
    let made = made.as_slice();
    if made.len() != sum.len() {
        let (made, wanted) = (made.len(), sum.len());
        return Err(Error::invalid(format!("it made {made} residuals; the UNet takes {wanted}")));
    }
    if let Some((made, sum)) =
        made.iter().zip(&*sum).find(|(made, sum)| made.shape() != sum.shape())
    {
        return Err(Error::invalid(format!(
            "its residual {} has the shape {:?}; the UNet takes {:?}",
            made.name(),
            made.shape(),
            sum.shape()
        )));
    }
    for (made, sum) in made.iter().zip(sum) {
        add_weighted(sum, made.values(), rows.weights);
    }
    Ok(())
}
