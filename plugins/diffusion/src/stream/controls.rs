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
    /// Its place in the list that the client sent.
    pub index: usize,
}

/// What ControlNets of other plugins do for a stream.
pub trait ControlNets {
    /// The frame that pictures are steered to from now on.
    fn look(&mut self, picture: Picture, frame: Source);

    /// Adds what the one at `at` of the settings makes of the UNet's inputs to `sum`, each row as strongly as `weights` say.
    fn add(&mut self, at: usize, given: &[&Tensor], weights: &[f32], sum: &mut [Tensor]);
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

/// Where in the schedule timesteps are.
pub(super) struct Schedule {
    /// Timesteps, and what share of the schedule lies before and up to the end of their step.
    places: Vec<(f32, [f32; 2])>,
}

impl Schedule {
    pub(super) fn new(steps: &[Step], t_index_list: &[usize], num_inference_steps: usize) -> Self {
        let total = num_inference_steps as f32;
        let place = |(step, &index): (&Step, &usize)| {
            // An index equal to the number of steps is the last one.
            let index = index.min(num_inference_steps.saturating_sub(1)) as f32;
            (step.timestep as f32, [index / total, (index + 1.0) / total])
        };
        Self { places: steps.iter().zip(t_index_list).map(place).collect() }
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
            nets.add(at, given, &weights, &mut sum);
        }
    }
    sum
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
        Control { name, scale, span, preprocessor: None, params, index: 0 }
    }

    /// Steps 0, 25 and 49 of 50.
    fn schedule() -> Schedule {
        let places = [(999.0, 0.0), (499.0, 25.0), (19.0, 49.0)];
        let place =
            |(timestep, index): (f32, f32)| (timestep, [index / 50.0, (index + 1.0) / 50.0]);
        Schedule { places: places.map(place).to_vec() }
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
            fn look(&mut self, _: Picture, _: Source) {}
            fn add(&mut self, at: usize, _: &[&Tensor], weights: &[f32], sum: &mut [Tensor]) {
                self.0.push(at);
                add_weighted(&mut sum[0], &[1.0, 2.0, 3.0, 4.0], weights);
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
}
