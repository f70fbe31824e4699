//! A tensor in host memory: what goes into a network and what comes out of it.
//!
//! Everything is `f32` here, whatever the weights are stored in; token ids are exact in `f32` far beyond any
//! vocabulary. Arithmetic on tensors lives with its users (`stream`, `image`) or in the back ends.

/// Row-major `f32` values with a shape.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    shape: Vec<usize>,
    data: Vec<f32>,
}

impl Tensor {
    /// Wraps values; their number must be the product of `shape`.
    ///
    /// # Panics
    /// When it is not: shapes are computed by this crate, never taken from outside unchecked.
    pub fn new(shape: impl Into<Vec<usize>>, data: Vec<f32>) -> Self {
        let shape = shape.into();
        assert_eq!(
            shape.iter().product::<usize>(),
            data.len(),
            "shape {shape:?} does not fit the data"
        );
        Self { shape, data }
    }

    pub fn zeros(shape: impl Into<Vec<usize>>) -> Self {
        let shape = shape.into();
        let data = vec![0.0; shape.iter().product()];
        Self { shape, data }
    }

    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    pub fn data(&self) -> &[f32] {
        &self.data
    }

    pub fn data_mut(&mut self) -> &mut [f32] {
        &mut self.data
    }

    pub fn into_data(self) -> Vec<f32> {
        self.data
    }

    /// Whether all values are numbers, and none infinite.
    pub fn is_finite(&self) -> bool {
        /// The bits of infinity; those of everything that is no number are above, without the sign.
        const INFINITE: u32 = 0x7f80_0000;
        // Without a branch for every value, since whole pictures are looked at.
        let largest = self.data.iter().map(|value| value.to_bits() & 0x7fff_ffff).fold(0, u32::max);
        largest < INFINITE
    }

    /// The values of one row, an entry of the first axis.
    pub fn row(&self, index: usize) -> &[f32] {
        let width = self.row_len();
        &self.data[index * width..(index + 1) * width]
    }

    /// Number of values in one row.
    pub fn row_len(&self) -> usize {
        self.shape[1..].iter().product()
    }

    /// The first `count` rows.
    pub fn head(&self, count: usize) -> Self {
        let mut shape = self.shape.clone();
        shape[0] = count;
        Self { shape, data: self.data[..count * self.row_len()].to_vec() }
    }

    /// The last `count` rows.
    pub fn tail(&self, count: usize) -> Self {
        let mut shape = self.shape.clone();
        shape[0] = count;
        Self { shape, data: self.data[self.data.len() - count * self.row_len()..].to_vec() }
    }

    /// Every row as a tensor of its own.
    pub fn into_rows(self) -> Vec<Self> {
        if self.shape[0] == 1 {
            return vec![self];
        }
        let shape = [&[1], &self.shape[1..]].concat();
        let row = |row| Self::new(shape.clone(), self.row(row).to_vec());
        (0..self.shape[0]).map(row).collect()
    }

    /// The rows of several tensors, one after another.
    ///
    /// # Panics
    /// When there are none, or their rows differ in size.
    pub fn stack(parts: &[&Self]) -> Self {
        let mut shape = parts[0].shape.clone();
        shape[0] = parts.iter().map(|part| part.shape[0]).sum();
        let data: Vec<&[f32]> = parts.iter().map(|part| part.data()).collect();
        Self::new(shape, data.concat())
    }

    /// Tensors that differ in the last axis alone, one after another along it.
    ///
    /// # Panics
    /// When there are none, or they differ in more.
    pub fn join(parts: &[&Self]) -> Self {
        let width = |part: &Self| part.shape.last().copied().unwrap_or(1);
        let mut shape = parts[0].shape.clone();
        if let Some(last) = shape.last_mut() {
            *last = parts.iter().map(|part| width(part)).sum();
        }
        let rows = parts[0].data.len() / width(parts[0]).max(1);
        let mut data = Vec::with_capacity(shape.iter().product());
        for row in 0..rows {
            for part in parts {
                data.extend_from_slice(&part.data[row * width(part)..(row + 1) * width(part)]);
            }
        }
        Self::new(shape, data)
    }

    /// The same row `count` times, along the first axis.
    pub fn repeat_rows(&self, count: usize) -> Self {
        let mut shape = self.shape.clone();
        shape[0] *= count;
        Self { shape, data: self.data.repeat(count) }
    }
}

#[cfg(test)]
mod tests {
    use super::Tensor;

    #[test]
    fn one_value_that_is_no_number_is_found_among_finite_ones() {
        let with = |value: f32| Tensor::new([3], vec![f32::MAX, value, -1.0]);
        for value in [0.0, -0.0, f32::MIN, f32::MIN_POSITIVE / 2.0] {
            assert!(with(value).is_finite(), "{value}");
        }
        for value in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert!(!with(value).is_finite(), "{value}");
        }
        assert!(Tensor::zeros([0]).is_finite());
    }
}
