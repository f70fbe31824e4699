//! The transforms of Lavin and Gray (2015) for F(4x4, 3x3), along one side.

use pulp::Simd;

use super::{PATCH, PLACES, TILE};

/// From a filter's three values to six.
const FILTER: [[f64; 3]; PATCH] = [
    [1.0 / 4.0, 0.0, 0.0],
    [-1.0 / 6.0, -1.0 / 6.0, -1.0 / 6.0],
    [-1.0 / 6.0, 1.0 / 6.0, -1.0 / 6.0],
    [1.0 / 24.0, 1.0 / 12.0, 1.0 / 6.0],
    [1.0 / 24.0, -1.0 / 12.0, 1.0 / 6.0],
    [0.0, 0.0, 1.0],
];

/// A filter, by rows, along both sides.
pub fn filter(filter: &[f32; 9]) -> [f32; PLACES] {
    let along = |[a, b, c]: [f64; 3]| FILTER.map(|[x, y, z]| a * x + b * y + c * z);
    let [a, b, c] = [0, 3, 6].map(|row| along([0, 1, 2].map(|at| f64::from(filter[row + at]))));
    let mut places = [0.0; PLACES];
    for column in 0..PATCH {
        let values = along([a[column], b[column], c[column]]);
        for (row, value) in values.into_iter().enumerate() {
            places[row * PATCH + column] = value as f32;
        }
    }
    places
}

#[inline(always)]
pub fn patch<S: Simd>(simd: S, [a, b, c, d, e, f]: [S::f32s; PATCH]) -> [S::f32s; PATCH] {
    let [four, minus_four, minus_five, two] =
        [simd.splat_f32s(4.0), simd.splat_f32s(-4.0), simd.splat_f32s(-5.0), simd.splat_f32s(2.0)];
    let near = simd.mul_add_e_f32s(minus_four, c, e);
    let odd_near = simd.mul_add_e_f32s(minus_four, b, d);
    let far = simd.sub_f32s(e, c);
    let odd_far = simd.mul_f32s(two, simd.sub_f32s(d, b));
    [
        simd.mul_add_e_f32s(four, a, simd.mul_add_e_f32s(minus_five, c, e)),
        simd.add_f32s(near, odd_near),
        simd.sub_f32s(near, odd_near),
        simd.add_f32s(far, odd_far),
        simd.sub_f32s(far, odd_far),
        simd.mul_add_e_f32s(four, b, simd.mul_add_e_f32s(minus_five, d, f)),
    ]
}

#[inline(always)]
pub fn tile<S: Simd>(simd: S, [a, b, c, d, e, f]: [S::f32s; PATCH]) -> [S::f32s; TILE] {
    let [two, four, eight] = [simd.splat_f32s(2.0), simd.splat_f32s(4.0), simd.splat_f32s(8.0)];
    let (even_near, odd_near) = (simd.add_f32s(b, c), simd.sub_f32s(b, c));
    let (even_far, odd_far) = (simd.add_f32s(d, e), simd.sub_f32s(d, e));
    [
        simd.add_f32s(simd.add_f32s(a, even_near), even_far),
        simd.mul_add_e_f32s(two, odd_far, odd_near),
        simd.mul_add_e_f32s(four, even_far, even_near),
        simd.add_f32s(simd.mul_add_e_f32s(eight, odd_far, odd_near), f),
    ]
}
