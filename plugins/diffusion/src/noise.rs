//! Torch's CPU random generator, so that a seed gives the same noise here as in Python.
//!
//! The generator is the 32-bit Mersenne Twister; normal values are made from it in two ways, depending on how many are
//! asked for at once, and the stream of raw numbers goes on from call to call.

use std::f32::consts::PI;

use crate::tensor::Tensor;

const STATE: usize = 624;
const SHIFT: usize = 397;

/// A seeded generator.
#[derive(Clone)]
pub struct Generator {
    state: [u32; STATE],
    next: usize,
    /// The second value of a pair drawn one by one.
    kept: Option<f64>,
}

impl Generator {
    /// Only the lower 32 bits of the seed count, as in torch.
    pub fn new(seed: u64) -> Self {
        let mut state = [seed as u32; STATE];
        for index in 1..STATE {
            let previous = state[index - 1];
            state[index] = 1_812_433_253u32
                .wrapping_mul(previous ^ (previous >> 30))
                .wrapping_add(index as u32);
        }
        Self { state, next: STATE, kept: None }
    }

    /// Values from the standard normal distribution.
    pub fn normal(&mut self, shape: impl Into<Vec<usize>>) -> Tensor {
        let shape = shape.into();
        let count = shape.iter().product();
        let data = if count < 16 {
            (0..count).map(|_| self.normal_one() as f32).collect()
        } else {
            self.normal_many(count)
        };
        Tensor::new(shape, data)
    }

    /// Values spread evenly over [0, 1).
    pub fn uniform(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.uniform_one()).collect()
    }

    fn normal_many(&mut self, count: usize) -> Vec<f32> {
        let mut values = self.uniform(count);
        for block in values.chunks_exact_mut(16) {
            box_muller(block);
        }
        if !count.is_multiple_of(16) {
            // Torch fills an incomplete last block by drawing the last sixteen values anew.
            let tail = &mut values[count - 16..];
            tail.fill_with(|| self.uniform_one());
            box_muller(tail);
        }
        values
    }

    fn normal_one(&mut self) -> f64 {
        if let Some(kept) = self.kept.take() {
            return kept;
        }
        let (angle, length) = (self.uniform_double(), self.uniform_double());
        let radius = (-2.0 * (-length).ln_1p()).sqrt();
        let (sine, cosine) = (2.0 * std::f64::consts::PI * angle).sin_cos();
        self.kept = Some(radius * sine);
        radius * cosine
    }

    fn uniform_one(&mut self) -> f32 {
        (self.draw() & 0xff_ffff) as f32 / (1 << 24) as f32
    }

    fn uniform_double(&mut self) -> f64 {
        let high = u64::from(self.draw());
        let bits = (high << 32) | u64::from(self.draw());
        (bits & ((1 << 53) - 1)) as f64 / (1u64 << 53) as f64
    }

    fn draw(&mut self) -> u32 {
        if self.next == STATE {
            self.refill();
        }
        let mut value = self.state[self.next];
        self.next += 1;
        value ^= value >> 11;
        value ^= (value << 7) & 0x9d2c_5680;
        value ^= (value << 15) & 0xefc6_0000;
        value ^ (value >> 18)
    }

    fn refill(&mut self) {
        for index in 0..STATE {
            let mixed =
                (self.state[index] & 0x8000_0000) | (self.state[(index + 1) % STATE] & 0x7fff_ffff);
            let twist = if mixed & 1 == 1 { 0x9908_b0df } else { 0 };
            self.state[index] = self.state[(index + SHIFT) % STATE] ^ (mixed >> 1) ^ twist;
        }
        self.next = 0;
    }
}

/// Sixteen uniform values to sixteen normal ones: eight lengths, eight angles.
fn box_muller(block: &mut [f32]) {
    for index in 0..8 {
        let (length, angle) = (1.0 - block[index], 2.0 * PI * block[index + 8]);
        let radius = (-2.0 * length.ln()).sqrt();
        block[index] = radius * angle.cos();
        block[index + 8] = radius * angle.sin();
    }
}
