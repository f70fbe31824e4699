//! Powers of two on vectors, of which all exponentials are made.

use pulp::Simd;

/// Below, the power is no normal number any more; above, the rounded exponent may be that of infinity.
const RANGE: [f32; 2] = [-126.0, 127.0];
/// Adding it moves a number's whole part into the lowest bits, with the exponent's bias added: 1.5 * 2^23 + 127.
const WHOLE: f32 = 12_583_039.0;
/// 2^x for |x| <= 1/2, from x^5 down: the polynomial whose greatest relative error is smallest.
const SERIES: [f32; 6] =
    [0.001_327_647_1, 0.009_675_541, 0.055_507_13, 0.240_221_2, 0.693_146_94, 1.000_000_1];
const MANTISSA_BITS: u32 = 23;

/// 2^x to within three units in the last place; what is out of range is taken as its end, and NaN as any number.
#[inline(always)]
pub fn exp2<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    exp2_below(simd, simd.min_f32s(x, simd.splat_f32s(RANGE[1])))
}

/// The same where x is known not to be too large.
#[inline(always)]
pub fn exp2_below<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let x = simd.max_f32s(x, simd.splat_f32s(RANGE[0]));
    let shifted = simd.add_f32s(x, simd.splat_f32s(WHOLE));
    let rest = simd.sub_f32s(x, simd.sub_f32s(shifted, simd.splat_f32s(WHOLE)));
    let mut series = simd.splat_f32s(SERIES[0]);
    for factor in &SERIES[1..] {
        series = simd.mul_add_e_f32s(series, rest, simd.splat_f32s(*factor));
    }
    let exponent = simd.transmute_u32s_f32s(shifted);
    let power = simd.wrapping_dyn_shl_u32s(exponent, simd.splat_u32s(MANTISSA_BITS));
    simd.mul_f32s(series, simd.transmute_f32s_u32s(power))
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
                *vector = exp2(simd, *vector);
            }
            self.0
        }
    }

    #[test]
    fn it_is_the_standard_library_s_to_the_last_places() {
        for step in 0..11_000 {
            let x: [f32; 16] = std::array::from_fn(|lane| {
                -126.0 + (16 * step + lane) as f32 * (253.0 / (16.0 * 11_000.0))
            });
            for computed in [Arch::new().dispatch(Exps(x)), Scalar.vectorize(Exps(x))] {
                for (x, y) in x.iter().zip(computed) {
                    let exact = f64::from(*x).exp2();
                    assert!((f64::from(y) / exact - 1.0).abs() < 3.6e-7, "2^{x} is not {y}");
                }
            }
        }
    }

    #[test]
    fn what_is_out_of_range_ends_there() {
        let odd = [f32::NEG_INFINITY, -1e9, -127.0, 128.0, f32::INFINITY, 0.0, 0.0, 0.0];
        let x: [f32; 16] = std::array::from_fn(|lane| odd[lane % 8]);
        for y in [Arch::new().dispatch(Exps(x)), Scalar.vectorize(Exps(x))] {
            assert!(y[..3].iter().all(|&y| y > 0.0 && y < 1.7e-38), "{y:?}");
            assert!(y[3..5].iter().all(|&y| y.is_finite() && y > 1.6e38), "{y:?}");
            assert!((y[5] - 1.0).abs() < 2e-7);
        }
    }
}
