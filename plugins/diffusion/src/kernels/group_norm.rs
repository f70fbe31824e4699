//! Group norm, in the two passes it needs: over the values of a group, then over those of each of its channels.

use pulp::{Arch, Simd, WithSimd};

use super::exponential::exp2;

/// So few that a second look finds them in the nearest cache, and that single precision is enough.
const BLOCK: usize = 2048;

/// Number and mean of values, and the sum of their squared distances from it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Moments {
    count: f64,
    mean: f64,
    spread: f64,
}

impl Moments {
    pub fn of(values: &[f32]) -> Self {
        let arch = Arch::new();
        values
            .chunks(BLOCK)
            .map(|block| arch.dispatch(Block(block)))
            .fold(Self::default(), Self::and)
    }

    /// Of the values of both. Chan, Golub and LeVeque (1979): nothing is lost where the mean is far from zero.
    pub fn and(self, other: Self) -> Self {
        let count = self.count + other.count;
        if count == 0.0 {
            return self;
        }
        let distance = other.mean - self.mean;
        let mean = self.mean + distance * (other.count / count);
        let between = distance * distance * (self.count * other.count / count);
        Self { count, mean, spread: self.spread + other.spread + between }
    }

    /// What normalises the values and then scales and shifts them, as one factor and one summand.
    pub fn normalising(self, epsilon: f32, weight: f32, bias: f32) -> (f32, f32) {
        let variance = self.spread / self.count;
        let factor = f64::from(weight) / (variance + f64::from(epsilon)).sqrt();
        (factor as f32, (f64::from(bias) - self.mean * factor) as f32)
    }
}

struct Block<'a>(&'a [f32]);

impl WithSimd for Block<'_> {
    type Output = Moments;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Moments {
        let count = self.0.len() as f32;
        let mean = sum::<S, false>(simd, self.0, 0.0) / count;
        let spread = sum::<S, true>(simd, self.0, mean);
        Moments { count: count.into(), mean: mean.into(), spread: spread.into() }
    }
}

/// The sum of the distances from `center`, or of their squares.
#[inline(always)]
fn sum<S: Simd, const SQUARED: bool>(simd: S, values: &[f32], center: f32) -> f32 {
    let (vectors, rest) = S::as_simd_f32s(values);
    let centers = simd.splat_f32s(center);
    // Several sums, as each addition would wait for the one before.
    let mut sums = [simd.splat_f32s(0.0); 4];
    for four in vectors.chunks(4) {
        for (sum, &vector) in sums.iter_mut().zip(four) {
            let distance = simd.sub_f32s(vector, centers);
            *sum = if SQUARED {
                simd.mul_add_e_f32s(distance, distance, *sum)
            } else {
                simd.add_f32s(*sum, distance)
            };
        }
    }
    let [a, b, c, d] = sums;
    let wide = simd.reduce_sum_f32s(simd.add_f32s(simd.add_f32s(a, b), simd.add_f32s(c, d)));
    let distances = rest.iter().map(|value| value - center);
    wide + distances
        .map(|distance| if SQUARED { distance * distance } else { distance })
        .sum::<f32>()
}

/// Writes `x * factor + summand`, or SiLU of that. Both slices are of one length.
pub fn scale_and_shift(x: &[f32], y: &mut [f32], (factor, summand): (f32, f32), has_silu: bool) {
    let arch = Arch::new();
    if has_silu {
        arch.dispatch(Scaled::<true> { x, y, factor, summand });
    } else {
        arch.dispatch(Scaled::<false> { x, y, factor, summand });
    }
}

struct Scaled<'a, const SILU: bool> {
    x: &'a [f32],
    y: &'a mut [f32],
    factor: f32,
    summand: f32,
}

impl<const SILU: bool> WithSimd for Scaled<'_, SILU> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let line = (simd.splat_f32s(self.factor), simd.splat_f32s(self.summand));
        let (vectors, rest) = S::as_simd_f32s(self.x);
        let (results, rest_of_results) = S::as_mut_simd_f32s(self.y);
        for (result, &vector) in results.iter_mut().zip(vectors) {
            *result = scaled::<S, SILU>(simd, vector, line);
        }
        let last = scaled::<S, SILU>(simd, simd.partial_load_f32s(rest), line);
        simd.partial_store_f32s(rest_of_results, last);
    }
}

#[inline(always)]
fn scaled<S: Simd, const SILU: bool>(
    simd: S,
    x: S::f32s,
    (factor, summand): (S::f32s, S::f32s),
) -> S::f32s {
    let x = simd.mul_add_e_f32s(x, factor, summand);
    if !SILU {
        return x;
    }
    let below = exp2(simd, simd.mul_f32s(x, simd.splat_f32s(-std::f32::consts::LOG2_E)));
    simd.div_f32s(x, simd.add_f32s(simd.splat_f32s(1.0), below))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(count: usize, offset: f32) -> Vec<f32> {
        (0..count).map(|place| offset + (place as f32 * 0.37).sin() * 3.0).collect()
    }

    fn moments(values: &[f32]) -> (f64, f64) {
        let count = values.len() as f64;
        let mean = values.iter().map(|&value| f64::from(value)).sum::<f64>() / count;
        let spread = values.iter().map(|&value| (f64::from(value) - mean).powi(2)).sum::<f64>();
        (mean, spread / count)
    }

    #[test]
    fn moments_are_exact_also_far_from_zero_and_however_they_are_put_together() {
        for (count, offset) in [(1, 5.0), (7, 0.0), (2048, -2.0), (100_003, 4000.0)] {
            let values = values(count, offset);
            let (mean, variance) = moments(&values);
            let (first, second) = values.split_at(count / 3);
            for own in [Moments::of(&values), Moments::of(first).and(Moments::of(second))] {
                assert!((own.mean - mean).abs() < 1e-6 * mean.abs().max(1.0), "{own:?} {mean}");
                let own = own.spread / own.count;
                assert!((own - variance).abs() < 1e-5 * variance.max(0.1), "{own} {variance}");
            }
        }
        assert_eq!(Moments::of(&[]).and(Moments::default()).count, 0.0);
    }

    #[test]
    fn a_pass_normalises_and_applies_silu() {
        for count in [1, 9, 64, 1001] {
            let x = values(count, 2.0);
            let (mean, variance) = moments(&x);
            let line = Moments::of(&x).normalising(1e-3, 1.5, -0.25);
            for has_silu in [false, true] {
                let mut y = vec![f32::NAN; count];
                scale_and_shift(&x, &mut y, line, has_silu);
                for (&x, y) in x.iter().zip(y) {
                    let normed = (f64::from(x) - mean) / (variance + 1e-3).sqrt() * 1.5 - 0.25;
                    let exact = if has_silu { normed / (1.0 + (-normed).exp()) } else { normed };
                    assert!((f64::from(y) - exact).abs() < 2e-5, "{count} {x}: {y} {exact}");
                }
            }
        }
    }

    #[test]
    fn what_is_no_number_shows() {
        let mut x = values(100, 0.0);
        x[50] = f32::NAN;
        let mut y = vec![0.0; 100];
        let line = Moments::of(&x).normalising(1e-5, 1.0, 0.0);
        scale_and_shift(&x, &mut y, line, true);
        assert!(y.iter().all(|value| value.is_nan()));
    }
}
