//! The units of an H264 byte stream, and the parameter sets among them.

/// Of a unit's first byte.
pub fn kind(unit: &[u8]) -> u8 {
    unit.first().map_or(0, |byte| byte & 0x1f)
}

pub const KEY_SLICE: u8 = 5;
pub const SEQUENCE_SET: u8 = 7;
pub const PICTURE_SET: u8 = 8;

/// Before each unit of a byte stream.
pub const START_CODE: [u8; 4] = [0, 0, 0, 1];

/// The units between start codes of three or four bytes.
pub fn units(stream: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = after_start_code(stream);
    std::iter::from_fn(move || {
        let unit = rest?;
        let end = start_code(unit);
        rest = end.and_then(|end| after_start_code(&unit[end..]));
        let unit = &unit[..end.unwrap_or(unit.len())];
        // The zero of a longer start code, and zeros that fill up, belong to no unit.
        let zeros = unit.iter().rev().take_while(|byte| **byte == 0).count();
        Some(&unit[..unit.len() - zeros])
    })
    .filter(|unit| !unit.is_empty())
}

fn start_code(stream: &[u8]) -> Option<usize> {
    stream.windows(3).position(|bytes| bytes == [0, 0, 1])
}

fn after_start_code(stream: &[u8]) -> Option<&[u8]> {
    start_code(stream).map(|at| &stream[at + 3..])
}

/// The newest parameter sets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ParameterSets {
    pub sequence: Vec<u8>,
    pub picture: Vec<u8>,
}

impl ParameterSets {
    pub fn take(&mut self, unit: &[u8]) {
        match kind(unit) {
            SEQUENCE_SET => self.sequence = unit.to_vec(),
            PICTURE_SET => self.picture = unit.to_vec(),
            _ => {}
        }
    }

    pub fn of(stream: &[u8]) -> Self {
        let mut sets = Self::default();
        units(stream).for_each(|unit| sets.take(unit));
        sets
    }

    pub fn is_complete(&self) -> bool {
        self.sequence.len() >= 4 && !self.picture.is_empty()
    }

    /// As a byte stream.
    pub fn to_stream(&self) -> Vec<u8> {
        [&START_CODE, &self.sequence[..], &START_CODE, &self.picture[..]].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_stand_between_start_codes_of_either_length() {
        let stream = [9, 0, 0, 0, 1, 0x67, 1, 2, 3, 0, 0, 1, 0x68, 4, 0, 0, 0, 1, 0x65, 5, 0];
        let found: Vec<_> = units(&stream).collect();
        assert_eq!(found, [&[0x67, 1, 2, 3][..], &[0x68, 4], &[0x65, 5]]);
        assert_eq!(units(&[0, 0, 1]).chain(units(&[])).chain(units(&[1, 2, 3])).count(), 0);
        let sets = ParameterSets::of(&stream);
        assert!(sets.is_complete());
        assert_eq!(ParameterSets::of(&sets.to_stream()), sets);
    }
}
