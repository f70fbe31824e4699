//! The exponential function on vectors.

use pulp::Simd;

/// Below, `exp` is under the smallest normal number; above, beyond the largest.
const RANGE: [f32; 2] = [-87.0, 88.0];
/// Adding it moves a number's whole part into the lowest bits, with the exponent's bias already added: 1.5 * 2^23 + 127.
const WHOLE: f32 = 12_583_039.0;
/// ln 2 in two parts, so that a multiple of it can be taken away without losing bits; the first is exact.
const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
/// The series of Cephes' `expf` for |x| <= ln(2)/2, from x^7 down to x^2.
const SERIES: [f32; 6] =
    [1.987_569_1e-4, 1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5];
const MANTISSA_BITS: u32 = 23;

/// `exp(x)` to within two units in the last place; what is out of range is taken as its end, and NaN as any number.
#[inline(always)]
pub fn exp<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let x = simd.max_f32s(x, simd.splat_f32s(RANGE[0]));
    let x = simd.min_f32s(x, simd.splat_f32s(RANGE[1]));
    let shifted =
        simd.mul_add_e_f32s(x, simd.splat_f32s(std::f32::consts::LOG2_E), simd.splat_f32s(WHOLE));
    let whole = simd.sub_f32s(shifted, simd.splat_f32s(WHOLE));
    let rest = simd.mul_add_e_f32s(whole, simd.splat_f32s(-LN_2[0]), x);
    let rest = simd.mul_add_e_f32s(whole, simd.splat_f32s(-LN_2[1]), rest);
    let mut series = simd.splat_f32s(SERIES[0]);
    for factor in &SERIES[1..] {
        series = simd.mul_add_e_f32s(series, rest, simd.splat_f32s(*factor));
    }
    let near_one = simd.mul_add_e_f32s(simd.mul_f32s(rest, rest), series, rest);
    let near_one = simd.add_f32s(near_one, simd.splat_f32s(1.0));
    let exponent = simd.transmute_u32s_f32s(shifted);
    let power = simd.wrapping_dyn_shl_u32s(exponent, simd.splat_u32s(MANTISSA_BITS));
    simd.mul_f32s(near_one, simd.transmute_f32s_u32s(power))
}

#[cfg(test)]
mod tests {
    use super::*;
    use pulp::{Arch, Scalar, WithSimd};

    struct Exps([f32; 16]);

    impl WithSimd for Exps {
        type Output = [f32; 16];

        #[inline(always)]
        fn with_simd<S: Simd>(mut self, simd: S) -> [f32; 16] {
            let (vectors, rest) = S::as_mut_simd_f32s(&mut self.0);
            assert!(rest.is_empty());
            for vector in vectors {
                *vector = exp(simd, *vector);
            }
            self.0
        }
    }

    #[test]
    fn it_is_the_standard_library_s_to_the_last_places() {
        for step in 0..11_000 {
            let x: [f32; 16] = std::array::from_fn(|lane| {
                -87.0 + (16 * step + lane) as f32 * (175.0 / (16.0 * 11_000.0))
            });
            for computed in [Arch::new().dispatch(Exps(x)), Scalar.vectorize(Exps(x))] {
                for (x, y) in x.iter().zip(computed) {
                    let exact = f64::from(*x).exp();
                    assert!((f64::from(y) / exact - 1.0).abs() < 2.4e-7, "exp({x}) is not {y}");
                }
            }
        }
    }

    #[test]
    fn what_is_out_of_range_ends_there() {
        let odd = [f32::NEG_INFINITY, -1e9, -88.0, 89.0, f32::INFINITY, 0.0, 0.0, 0.0];
        let x: [f32; 16] = std::array::from_fn(|lane| odd[lane % 8]);
        for y in [Arch::new().dispatch(Exps(x)), Scalar.vectorize(Exps(x))] {
            assert!(y[..3].iter().all(|&y| y > 0.0 && y < 1.7e-38), "{y:?}");
            assert!(y[3..5].iter().all(|&y| y.is_finite() && y > 1.6e38), "{y:?}");
            assert_eq!(y[5], 1.0);
        }
    }
}
