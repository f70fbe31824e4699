//! The units of an H264 or H265 byte stream, and the parameter sets among them.

use crate::codecs::Codec;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    KeySlice,
    /// H265's alone.
    VideoSet,
    SequenceSet,
    PictureSet,
    Other,
}

/// Told by a unit's first byte.
pub fn kind(codec: Codec, unit: &[u8]) -> Kind {
    let first = unit.first().copied().unwrap_or_default();
    match (codec, first & 0x1f, first >> 1 & 0x3f) {
        (Codec::H264, 5, _) | (Codec::H265, _, 16..=21) => Kind::KeySlice,
        (Codec::H265, _, 32) => Kind::VideoSet,
        (Codec::H264, 7, _) | (Codec::H265, _, 33) => Kind::SequenceSet,
        (Codec::H264, 8, _) | (Codec::H265, _, 34) => Kind::PictureSet,
        _ => Kind::Other,
    }
}

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
    /// H265's alone.
    pub video: Vec<u8>,
    pub sequence: Vec<u8>,
    pub picture: Vec<u8>,
}

impl ParameterSets {
    pub fn take(&mut self, codec: Codec, unit: &[u8]) {
        match kind(codec, unit) {
            Kind::VideoSet => self.video = unit.to_vec(),
            Kind::SequenceSet => self.sequence = unit.to_vec(),
            Kind::PictureSet => self.picture = unit.to_vec(),
            Kind::KeySlice | Kind::Other => {}
        }
    }

    pub fn of(codec: Codec, stream: &[u8]) -> Self {
        let mut sets = Self::default();
        units(stream).for_each(|unit| sets.take(codec, unit));
        sets
    }

    pub fn is_complete(&self, codec: Codec) -> bool {
        let has_video = codec != Codec::H265 || !self.video.is_empty();
        has_video && self.sequence.len() >= 4 && !self.picture.is_empty()
    }

    /// As a byte stream.
    pub fn to_stream(&self) -> Vec<u8> {
        let sets = [&self.video, &self.sequence, &self.picture];
        let present = sets.into_iter().filter(|set| !set.is_empty());
        present.flat_map(|set| [&START_CODE, &set[..]].concat()).collect()
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
        let sets = ParameterSets::of(Codec::H264, &stream);
        assert!(sets.is_complete(Codec::H264) && !sets.is_complete(Codec::H265));
        assert_eq!(ParameterSets::of(Codec::H264, &sets.to_stream()), sets);
    }

    #[test]
    fn h265_has_a_set_more() {
        let stream = [
            &[0, 0, 0, 1, 0x40, 1, 9][..],
            &[0, 0, 0, 1, 0x42, 1, 1, 2],
            &[0, 0, 0, 1, 0x44, 1],
            &[0, 0, 1, 0x26, 1, 5],
        ];
        let sets = ParameterSets::of(Codec::H265, &stream.concat());
        assert!(sets.is_complete(Codec::H265));
        assert_eq!(sets.to_stream(), stream[..3].concat());
        assert_eq!(kind(Codec::H265, &[0x26, 1]), Kind::KeySlice);
        assert_eq!(kind(Codec::H265, &[0x02, 1]), Kind::Other);
    }
}
