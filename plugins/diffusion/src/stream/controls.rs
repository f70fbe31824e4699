//! ControlNets: which of a batch's rows each of them steers and how strongly, and what all of them add to the UNet.
//!
//! The networks belong to other plugins. Rows are at different steps, so when a ControlNet begins and ends holds for each of
//! them alone.

use serde_json::{Map, Value};

use super::Source;
use super::pictures::Picture;
use crate::schedule::Step;
use crate::tensor::Tensor;

/// One that is in use.
#[derive(Clone, Debug, PartialEq)]
pub struct Control {
    /// The value of its slot.
    pub name: String,
    /// `conditioning_scale`.
    pub scale: f32,
    /// `control_guidance_start` and `control_guidance_end`: shares of the schedule.
    pub span: [f32; 2],
    /// Makes its picture of a frame; none where the frame is the picture.
    pub preprocessor: Option<(String, Map<String, Value>)>,
    /// What the plugin that has it is told.
    pub params: Map<String, Value>,
    /// Whether each row is steered by the picture of the frame that it belongs to, and not all by the newest one's.
    pub is_per_frame: bool,
    /// Its place in the list that the client sent.
    pub index: usize,
}

/// The rows of a batch, as one of them is to steer them.
pub struct Steered<'a> {
    /// The UNet's inputs.
    pub given: &'a [&'a Tensor],
    /// How strongly each row is steered.
    pub weights: &'a [f32],
    /// The frame of each row; none where all are steered by the newest one.
    pub frames: &'a [Source],
}

/// What ControlNets of other plugins do for a stream.
pub trait ControlNets {
    /// The frame that pictures are steered to from now on. So many of the newest ones may be asked for, this one among them.
    fn look(&mut self, picture: Picture, frame: Source, kept: usize);

    /// Adds what the one at `at` of the settings makes of the UNet's inputs to `sum`.
    fn add(&mut self, at: usize, rows: &Steered<'_>, sum: &mut [Tensor]);
}

impl Control {
    /// How strongly it steers rows at these timesteps.
    fn weights(&self, timesteps: &[f32], schedule: &Schedule) -> Vec<f32> {
        let weight =
            |&timestep| if self.is_on(schedule.place(timestep)) { self.scale } else { 0.0 };
        timesteps.iter().map(weight).collect()
    }

    /// As diffusers has it for the steps of a whole schedule: those that lie within the span.
    fn is_on(&self, [begin, end]: [f32; 2]) -> bool {
        begin >= self.span[0] && end <= self.span[1]
    }
}

/// Where in the schedule timesteps are, and to which frames a batch's rows belong.
pub(super) struct Schedule {
    /// Timesteps, and what share of the schedule lies before and up to the end of their step.
    places: Vec<(f32, [f32; 2])>,
    /// Of each row, those for guidance among them; none where it is not known.
    frames: Vec<Source>,
}

impl Schedule {
    pub(super) fn new(steps: &[Step], t_index_list: &[usize], num_inference_steps: usize) -> Self {
        let total = num_inference_steps as f32;
        let place = |(step, &index): (&Step, &usize)| {
            // An index equal to the number of steps is the last one.
            let index = index.min(num_inference_steps.saturating_sub(1)) as f32;
            (step.timestep as f32, [index / total, (index + 1.0) / total])
        };
        let places = steps.iter().zip(t_index_list).map(place).collect();
        Self { places, frames: Vec::new() }
    }

    pub(super) fn with_frames(self, frames: Vec<Source>) -> Self {
        Self { frames, ..self }
    }

    fn place(&self, timestep: f32) -> [f32; 2] {
        let found = self.places.iter().find(|(known, _)| *known == timestep);
        found.map_or([0.0, 1.0], |(_, place)| *place)
    }
}

/// What all of them add, in the UNet's shapes: zeros where none has anything to say.
pub(super) fn residuals(
    controls: &[Control],
    schedule: &Schedule,
    given: &[&Tensor],
    shapes: &[[usize; 4]],
    nets: &mut dyn ControlNets,
) -> Vec<Tensor> {
    let mut sum: Vec<Tensor> = shapes.iter().map(|&shape| Tensor::zeros(shape)).collect();
    for (at, control) in controls.iter().enumerate() {
        let weights = control.weights(given[1].data(), schedule);
        if weights.iter().any(|&weight| weight != 0.0) {
            let frames = if control.is_per_frame { &schedule.frames[..] } else { &[] };
            nets.add(at, &Steered { given, weights: &weights, frames }, &mut sum);
        }
    }
    sum
}

/// The frames of a batch's rows: the newest ones at the first step, and at each further step those that were given a call
/// earlier. `under_way` has the oldest first. A stream that has only begun has the frames it has in all of its rows.
pub(super) fn frames_of_rows(
    newest: &[Source],
    under_way: &[Source],
    (rows, negative): (usize, usize),
) -> Vec<Source> {
    if newest.is_empty() {
        return Vec::new();
    }
    let mut groups = std::iter::once(newest).chain(under_way.rchunks_exact(newest.len()));
    let mut frames = Vec::with_capacity(negative + rows);
    let mut last = newest;
    while frames.len() < rows {
        last = groups.next().unwrap_or(last);
        frames.extend_from_slice(last);
    }
    frames.truncate(rows);
    // Rows with the negative prompt come first and are copies of the first ones.
    let guided = frames[..negative.min(rows)].to_vec();
    [guided, frames].concat()
}

/// Adds rows of values, each multiplied by its weight.
pub fn add_weighted(sum: &mut Tensor, values: &[f32], weights: &[f32]) {
    let width = sum.row_len();
    let rows = sum.data_mut().chunks_exact_mut(width).zip(values.chunks_exact(width));
    for ((sum, values), &weight) in rows.zip(weights).filter(|(_, weight)| **weight != 0.0) {
        sum.iter_mut().zip(values).for_each(|(sum, &value)| *sum += weight * value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn control(scale: f32, span: [f32; 2]) -> Control {
        let (params, name) = (Map::new(), "net".to_owned());
        Control { name, scale, span, preprocessor: None, params, is_per_frame: false, index: 0 }
    }

    /// Steps 0, 25 and 49 of 50.
    fn schedule() -> Schedule {
        let places = [(999.0, 0.0), (499.0, 25.0), (19.0, 49.0)];
        let place =
            |(timestep, index): (f32, f32)| (timestep, [index / 50.0, (index + 1.0) / 50.0]);
        Schedule { places: places.map(place).to_vec(), frames: Vec::new() }
    }

    #[test]
    fn each_row_is_steered_while_its_own_step_is_within_the_span() {
        let rows = [999.0, 499.0, 19.0, 999.0];
        let weights = |span| control(0.5, span).weights(&rows, &schedule());
        assert_eq!(weights([0.0, 1.0]), [0.5; 4]);
        assert_eq!(weights([0.0, 0.52]), [0.5, 0.5, 0.0, 0.5], "the step ends with the span");
        assert_eq!(weights([0.0, 0.51]), [0.5, 0.0, 0.0, 0.5]);
        assert_eq!(weights([0.5, 1.0]), [0.0, 0.5, 0.5, 0.0]);
        assert_eq!(weights([0.2, 0.3]), [0.0; 4]);
    }

    #[test]
    fn who_has_no_row_to_steer_is_not_asked_and_sums_are_by_rows() {
        struct Nets(Vec<usize>);
        impl ControlNets for Nets {
            fn look(&mut self, _: Picture, _: Source, _: usize) {}
            fn add(&mut self, at: usize, rows: &Steered<'_>, sum: &mut [Tensor]) {
                self.0.push(at);
                add_weighted(&mut sum[0], &[1.0, 2.0, 3.0, 4.0], rows.weights);
            }
        }
        let controls =
            [control(0.0, [0.0, 1.0]), control(1.0, [0.0, 0.1]), control(10.0, [0.0, 1.0])];
        let timesteps = Tensor::new([2], vec![999.0, 499.0]);
        let latents = Tensor::zeros([2, 4, 1, 1]);
        let mut nets = Nets(Vec::new());
        let given = [&latents, &timesteps];
        let sum = residuals(&controls, &schedule(), &given, &[[2, 2, 1, 1]], &mut nets);
        assert_eq!(nets.0, [1, 2]);
        assert_eq!(sum[0].data(), [11.0, 22.0, 30.0, 40.0]);
    }

    #[test]
    fn rows_belong_to_the_frames_that_were_given_a_call_earlier_at_each_step() {
        let sources = |ids: &[u64]| -> Vec<Source> {
            ids.iter().map(|&id| Source { id, captured_ns: 0 }).collect()
        };
        let frames = |newest: &[u64], under_way: &[u64], rows| -> Vec<u64> {
            let frames = frames_of_rows(&sources(newest), &sources(under_way), rows);
            frames.iter().map(|frame| frame.id).collect()
        };
        assert_eq!(frames(&[9], &[7, 8], (3, 0)), [9, 8, 7]);
        assert_eq!(frames(&[9], &[7, 8], (3, 3)), [9, 8, 7, 9, 8, 7]);
        assert_eq!(frames(&[9], &[7, 8], (3, 1)), [9, 9, 8, 7]);
        assert_eq!(frames(&[5, 6], &[1, 2, 3, 4], (6, 2)), [5, 6, 5, 6, 3, 4, 1, 2]);
        assert_eq!(frames(&[5, 6], &[], (2, 0)), [5, 6], "steps one after another");
        assert_eq!(frames(&[1], &[], (3, 0)), [1, 1, 1], "it has only begun");
        assert_eq!(frames(&[], &[1], (2, 0)), [0u64; 0]);
    }
}
