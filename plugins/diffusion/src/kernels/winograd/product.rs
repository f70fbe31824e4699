//! For each place, the product of the filters' matrix and that of the tiles.

use pulp::Simd;

use super::{PLACES, TOGETHER};

/// All places of `N` vectors of tiles, in one channel.
pub type Places<S, const N: usize> = [[<S as Simd>::f32s; N]; PLACES];

/// `filters` are `[places, outputs / TOGETHER, inputs]`; `tiles` are of all inputs, `products` of all outputs.
#[inline(always)]
pub fn multiply<S: Simd, const N: usize>(
    simd: S,
    filters: &[[f32; TOGETHER]],
    tiles: &[Places<S, N>],
    products: &mut [Places<S, N>],
) {
    let (products, _) = products.as_chunks_mut::<TOGETHER>();
    let mut filters = filters.chunks_exact(tiles.len());
    for place in 0..PLACES {
        for products in products.iter_mut() {
            let Some(filters) = filters.next() else { return };
            let mut sums = [[simd.splat_f32s(0.0); N]; TOGETHER];
            for (input, filters) in filters.iter().enumerate() {
                let tiles = &tiles[input][place];
                for (sums, &filter) in sums.iter_mut().zip(filters) {
                    let filter = simd.splat_f32s(filter);
                    for (sum, &tile) in sums.iter_mut().zip(tiles) {
                        *sum = simd.mul_add_e_f32s(filter, tile, *sum);
                    }
                }
            }
            for (product, sums) in products.iter_mut().zip(sums) {
                product[place] = sums;
            }
        }
    }
}
