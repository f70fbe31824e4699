//! Attention by heads so narrow that its time goes into exponentials and not into products. Products of matrices, as
//! fused attention is elsewhere made of, have next to nothing to do here, and the scores would go through known.

use pulp::{Arch, Simd, WithSimd};

use super::exponential::exp2_below;

/// Keys looked at between two looks at the highest score, in vectors.
const VECTORS: usize = 8;
/// A whole number of blocks, however wide the processor's vectors are: 4, 8 or 16.
const PADDING: usize = 16 * VECTORS;
/// The score of a key that is not there. The difference of two is a number.
const NOWHERE: f32 = -1e30;

/// The widths of heads that are taken.
pub const fn is_narrow(width: usize) -> bool {
    matches!(width, 4 | 8)
}

/// Keys and values of one row, at least one token, `[tokens, heads * width]`, turned so that those of many tokens lie
/// side by side.
pub struct KeysAndValues {
    width: usize,
    padded: usize,
    /// `[heads, width, padded]`.
    keys: Vec<f32>,
    values: Vec<f32>,
    /// 0 for tokens, then [`NOWHERE`].
    start: Vec<f32>,
    /// 0, or NaN where some key is no finite number.
    spoilt: f32,
}

impl KeysAndValues {
    pub fn new(keys: &[f32], values: &[f32], tokens: usize, width: usize) -> Self {
        let padded = tokens.next_multiple_of(PADDING);
        let mut start = vec![NOWHERE; padded];
        start[..tokens].fill(0.0);
        let turn = |values: &[f32]| turned(values, tokens, padded);
        let is_sound = keys.iter().fold(true, |is_sound, key| is_sound & key.is_finite());
        let spoilt = if is_sound { 0.0 } else { f32::NAN };
        Self { width, padded, keys: turn(keys), values: turn(values), start, spoilt }
    }

    /// What each query finds; queries and results are `[tokens, heads * width]`.
    pub fn attend(&self, queries: &[f32], results: &mut [f32]) {
        match self.width {
            4 => Arch::new().dispatch(Attend::<4> { known: self, queries, results }),
            _ => Arch::new().dispatch(Attend::<8> { known: self, queries, results }),
        }
    }
}

/// `[tokens, columns]` as `[columns, padded]`, with zeros behind.
fn turned(values: &[f32], tokens: usize, padded: usize) -> Vec<f32> {
    let columns = values.len() / tokens;
    let mut turned = vec![0.0; columns * padded];
    for (column, turned) in turned.chunks_exact_mut(padded).enumerate() {
        for (token, value) in turned.iter_mut().zip(values.chunks_exact(columns)) {
            *token = value[column];
        }
    }
    turned
}

struct Attend<'a, const WIDTH: usize> {
    known: &'a KeysAndValues,
    queries: &'a [f32],
    results: &'a mut [f32],
}

impl<const WIDTH: usize> WithSimd for Attend<'_, WIDTH> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { known, queries, results } = self;
        let size = WIDTH * known.padded;
        let heads = known.keys.chunks_exact(size).zip(known.values.chunks_exact(size)).enumerate();
        let columns = known.keys.len() / known.padded;
        let start = blocks::<S>(&known.start);
        for (number, (keys, values)) in heads {
            let [keys, values] =
                [keys, values].map(|turned| rows::<S, WIDTH>(turned, known.padded));
            let head = Head { start, spoilt: known.spoilt, keys, values };
            let tokens = queries.chunks_exact(columns).zip(results.chunks_exact_mut(columns));
            for (query, result) in tokens {
                let place = number * WIDTH..(number + 1) * WIDTH;
                let (query, _) = query[place.clone()].as_chunks::<WIDTH>();
                let (result, _) = result[place].as_chunks_mut::<WIDTH>();
                result[0] = head.attend(simd, &query[0]);
            }
        }
    }
}

/// Vectors of many tokens, in blocks.
type Blocks<'a, S> = &'a [[<S as Simd>::f32s; VECTORS]];

fn blocks<S: Simd>(values: &[f32]) -> Blocks<'_, S> {
    S::as_simd_f32s(values).0.as_chunks().0
}

fn rows<S: Simd, const WIDTH: usize>(turned: &[f32], padded: usize) -> [Blocks<'_, S>; WIDTH] {
    std::array::from_fn(|row| blocks::<S>(&turned[row * padded..(row + 1) * padded]))
}

struct Head<'a, S: Simd, const WIDTH: usize> {
    start: Blocks<'a, S>,
    spoilt: f32,
    keys: [Blocks<'a, S>; WIDTH],
    values: [Blocks<'a, S>; WIDTH],
}

impl<S: Simd, const WIDTH: usize> Head<'_, S, WIDTH> {
    /// Adds what a query has in common with the keys of a block.
    #[inline(always)]
    fn score(
        &self,
        simd: S,
        place: usize,
        query: &[S::f32s; WIDTH],
        scores: &mut [S::f32s; VECTORS],
    ) {
        for (keys, &query) in self.keys.iter().zip(query) {
            for (score, &key) in scores.iter_mut().zip(&keys[place]) {
                *score = simd.mul_add_e_f32s(query, key, *score);
            }
        }
    }

    /// One pass over the keys: what was found is scaled down when a higher score comes. Milakov and Gimelshein (2018).
    #[inline(always)]
    fn attend(&self, simd: S, query: &[f32; WIDTH]) -> [f32; WIDTH] {
        let scale = (WIDTH as f32).sqrt().recip() * std::f32::consts::LOG2_E;
        let zero = simd.splat_f32s(0.0);
        let mut spread = [zero; WIDTH];
        for (spread, query) in spread.iter_mut().zip(query) {
            *spread = simd.splat_f32s(query * scale);
        }
        let mut highest = NOWHERE;
        let mut total = zero;
        let mut found = [zero; WIDTH];
        for (place, start) in self.start.iter().enumerate() {
            let mut scores = *start;
            self.score(simd, place, &spread, &mut scores);
            let mut best = scores[0];
            for &score in &scores[1..] {
                best = simd.max_f32s(best, score);
            }
            let best = simd.reduce_max_f32s(best);
            if best > highest {
                let fade = exp2_below(simd, simd.splat_f32s(highest - best));
                total = simd.mul_f32s(total, fade);
                for found in &mut found {
                    *found = simd.mul_f32s(*found, fade);
                }
                highest = best;
            }
            let offset = simd.splat_f32s(highest);
            for (vector, &score) in scores.iter().enumerate() {
                let weight = exp2_below(simd, simd.sub_f32s(score, offset));
                total = simd.add_f32s(total, weight);
                for (found, values) in found.iter_mut().zip(&self.values) {
                    *found = simd.mul_add_e_f32s(weight, values[place][vector], *found);
                }
            }
        }
        // Queries and keys that are no numbers, or infinite, have scores that weigh something, and must show.
        let spoilt = 0.0 * (highest + query.iter().sum::<f32>()) + self.spoilt;
        let total = simd.reduce_sum_f32s(total) + spoilt;
        let mut result = [0.0; WIDTH];
        for (result, found) in result.iter_mut().zip(found) {
            *result = simd.reduce_sum_f32s(found) / total;
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By the definition, in double precision.
    fn plainly(
        queries: &[f32],
        keys: &[f32],
        values: &[f32],
        heads: usize,
        width: usize,
    ) -> Vec<f32> {
        let columns = heads * width;
        let mut results = Vec::new();
        for query in queries.chunks_exact(columns) {
            for head in 0..heads {
                let place = head * width..(head + 1) * width;
                let score = |key: &[f32]| -> f64 {
                    let products = query[place.clone()].iter().zip(&key[place.clone()]);
                    let sum: f64 = products.map(|(&q, &k)| f64::from(q) * f64::from(k)).sum();
                    sum / (width as f64).sqrt()
                };
                let scores: Vec<f64> = keys.chunks_exact(columns).map(score).collect();
                let highest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let weights: Vec<f64> = scores.iter().map(|s| (s - highest).exp()).collect();
                let total: f64 = weights.iter().sum();
                results.extend(place.map(|column| {
                    let values = values.chunks_exact(columns).map(|value| f64::from(value[column]));
                    (weights.iter().zip(values).map(|(w, v)| w * v).sum::<f64>() / total) as f32
                }));
            }
        }
        results
    }

    fn wave(count: usize, step: f32, height: f32) -> Vec<f32> {
        (0..count).map(|place| height * (place as f32 * step).sin()).collect()
    }

    #[test]
    fn it_is_attention_for_any_number_of_tokens_and_height_of_scores() {
        for (tokens, heads, width) in [(1, 1, 4), (77, 8, 4), (128, 2, 8), (300, 3, 8)] {
            for height in [0.1, 3.0, 12.0] {
                // Scores grow by the square, and with them what single precision cannot tell apart.
                let close = 2e-6 * (1.0 + height * height);
                let columns = heads * width;
                let queries = wave(5 * columns, 0.7, height);
                let keys = wave(tokens * columns, 1.3, height);
                let values = wave(tokens * columns, 2.1, 2.0);
                let mut results = vec![0.0; queries.len()];
                KeysAndValues::new(&keys, &values, tokens, width).attend(&queries, &mut results);
                for (own, exact) in
                    results.iter().zip(plainly(&queries, &keys, &values, heads, width))
                {
                    assert!(
                        (own - exact).abs() < close,
                        "{tokens} {width} {height}: {own} {exact}"
                    );
                }
            }
        }
    }

    #[test]
    fn what_is_no_number_shows() {
        let (tokens, columns) = (40, 8);
        let clean = wave(tokens * columns, 1.3, 1.0);
        for (spoilt, wrong) in
            (0..3).flat_map(|spoilt| [(spoilt, f32::NAN), (spoilt, f32::INFINITY)])
        {
            let mut inputs = [clean.clone(), clean.clone(), clean.clone()];
            inputs[spoilt][9] = wrong;
            let [queries, keys, values] = inputs;
            let mut results = vec![0.0; queries.len()];
            KeysAndValues::new(&keys, &values, tokens, 4).attend(&queries, &mut results);
            assert!(results.iter().any(|value| !value.is_finite()), "{spoilt} {wrong}");
        }
    }
}
