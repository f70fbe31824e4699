//! Beside the definition, in double precision.

use proptest::prelude::*;
use pulp::{Scalar, Simd};

use super::*;
use crate::noise::Generator;

#[derive(Clone, Copy, Debug)]
struct Case {
    inputs: usize,
    outputs: usize,
    sides: [usize; 2],
    padding: [usize; 4],
    has_bias: bool,
    has_summand: bool,
    has_relu: bool,
}

const PLAIN: Case = Case {
    inputs: 1,
    outputs: 1,
    sides: [1; 2],
    padding: [1; 4],
    has_bias: true,
    has_summand: false,
    has_relu: false,
};

/// Random values for a case.
struct Given {
    case: Case,
    x: Vec<f32>,
    weights: Vec<f32>,
    bias: Vec<f32>,
    summand: Vec<f32>,
}

impl Given {
    fn new(case: Case) -> Self {
        let Case { inputs, outputs, sides: [height, width], has_bias, .. } = case;
        let mut generator = Generator::new(5);
        let mut normal = |count: usize| generator.normal([count]).into_data();
        let bias = if has_bias { normal(outputs) } else { Vec::new() };
        let mut given = Self {
            x: normal(inputs * height * width),
            weights: normal(outputs * inputs * 9),
            bias,
            summand: Vec::new(),
            case,
        };
        if case.has_summand {
            given.summand = normal(given.len());
        }
        given
    }

    fn picture(&self) -> Picture<'_> {
        Picture { values: &self.x, sides: self.case.sides, padding: self.case.padding }
    }

    fn sides(&self) -> [usize; 2] {
        self.picture().result().expect("cases are large enough")
    }

    fn len(&self) -> usize {
        self.case.outputs * self.sides().iter().product::<usize>()
    }

    /// By strips, as an operator goes about it.
    fn computed(&self) -> Vec<f32> {
        let filters = Filters::new(&self.weights, self.case.outputs, self.case.inputs);
        let finish = Finish {
            bias: &self.bias,
            summand: self.case.has_summand.then_some(&self.summand[..]),
            has_relu: self.case.has_relu,
        };
        let ([height, width], mut result) = (self.sides(), vec![f32::NAN; self.len()]);
        let lines = lines_of_strip([height, width]);
        for first in (0..height).step_by(lines) {
            let part = first * width..height.min(first + lines) * width;
            let planes = result.chunks_mut(height * width);
            let mut planes: Vec<_> = planes.map(|plane| &mut plane[part.clone()]).collect();
            filters.convolve(&self.picture(), first, &mut planes, &finish);
        }
        result
    }

    /// By the definition, in double precision.
    fn exact(&self) -> Vec<f64> {
        let Case { inputs, outputs, padding: [top, left, ..], has_relu, .. } = self.case;
        let [height, width] = self.sides();
        let mut result = Vec::new();
        for (output, y, x) in (0..outputs)
            .flat_map(|k| (0..height).flat_map(move |y| (0..width).map(move |x| (k, y, x))))
        {
            let mut sum = self.bias.get(output).copied().map_or(0.0, f64::from);
            for (input, row, column) in (0..inputs)
                .flat_map(|c| (0..3).flat_map(move |r| (0..3).map(move |column| (c, r, column))))
            {
                let weight = self.weights[((output * inputs + input) * 3 + row) * 3 + column];
                let (y, x) = ((y + row).wrapping_sub(top), (x + column).wrapping_sub(left));
                sum += f64::from(weight) * self.pixel(input, y, x);
            }
            sum += self.summand.get(result.len()).copied().map_or(0.0, f64::from);
            result.push(if has_relu { sum.max(0.0) } else { sum });
        }
        result
    }

    /// Zero beyond the picture.
    fn pixel(&self, input: usize, y: usize, x: usize) -> f64 {
        let [height, width] = self.case.sides;
        let is_inside = y < height && x < width;
        if is_inside { self.x[(input * height + y) * width + x].into() } else { 0.0 }
    }

    /// The largest difference, relative to the largest value.
    fn error(&self, computed: &[f32]) -> f64 {
        let exact = self.exact();
        let largest = exact.iter().fold(1e-3, |largest: f64, value| largest.max(value.abs()));
        let differences = computed.iter().zip(&exact).map(|(own, exact)| f64::from(*own) - exact);
        let worst = differences.fold(0.0, |worst: f64, difference| {
            if difference.is_finite() { worst.max(difference.abs()) } else { f64::INFINITY }
        });
        worst / largest
    }
}

fn cases() -> impl Strategy<Value = Case> {
    let channels = (1_usize..=130, 1_usize..=130);
    let sides = (1_usize..=40, 1_usize..=40);
    let padding = [0_usize..=2, 0..=2, 0..=2, 0..=2];
    let rest = any::<[bool; 3]>();
    let case = (channels, sides, padding, rest).prop_map(
        |((inputs, outputs), (height, width), padding, [has_bias, has_summand, has_relu])| Case {
            inputs,
            outputs,
            sides: [height, width],
            padding,
            has_bias,
            has_summand,
            has_relu,
        },
    );
    case.prop_filter("too small", |case| {
        Picture { values: &[], sides: case.sides, padding: case.padding }.result().is_some()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn it_is_a_convolution_whatever_the_channels_sides_and_padding(case in cases()) {
        let given = Given::new(case);
        let error = given.error(&given.computed());
        prop_assert!(error < 1.5e-5, "{case:?}: {error}");
    }
}

#[test]
fn every_number_of_vectors_and_rows_of_tiles_is_taken() {
    for (inputs, outputs) in [(4, 16), (16, 3), (64, 64)] {
        for side in [1, 4, 12, 16, 23, 24, 32, 33, 64, 96, 130] {
            for sides in [[side, 128], [5, side], [side, side]] {
                let given = Given::new(Case { inputs, outputs, sides, ..PLAIN });
                let error = given.error(&given.computed());
                assert!(error < 1e-5, "{inputs} {outputs} {sides:?}: {error}");
            }
        }
    }
}

#[test]
fn it_is_the_same_without_vectors() {
    let given = Given::new(Case { inputs: 5, outputs: 6, sides: [9, 14], ..PLAIN });
    let filters = Filters::new(&given.weights, 6, 5);
    let mut result = vec![f32::NAN; given.len()];
    Scalar.vectorize(Strip {
        filters: &filters,
        picture: &given.picture(),
        width: 14,
        first: 0,
        planes: &mut result.chunks_mut(9 * 14).collect::<Vec<_>>(),
        finish: &Finish { bias: &given.bias, summand: None, has_relu: false },
        scratch: &mut Default::default(),
    });
    assert!(given.error(&result) < 1e-5);
}

#[test]
fn what_is_no_number_shows() {
    for (wrong, has_relu) in [(f32::NAN, false), (f32::NAN, true), (f32::INFINITY, false)] {
        let case = Case { inputs: 3, outputs: 4, sides: [13, 40], has_relu, ..PLAIN };
        let clean = Given::new(case);
        for place in 0..clean.x.len() {
            let mut given = Given::new(case);
            given.x[place] = wrong;
            assert!(given.computed().iter().any(|value| !value.is_finite()), "{place} {wrong}");
        }
    }
}

#[test]
fn a_picture_smaller_than_the_filters_has_no_result() {
    let picture = |sides, padding| Picture { values: &[], sides, padding };
    assert_eq!(picture([2, 9], [0; 4]).result(), None);
    assert_eq!(picture([9, 1], [1, 0, 1, 1]).result(), None);
    assert_eq!(picture([1, 3], [1, 0, 1, 0]).result(), Some([1, 1]));
}
