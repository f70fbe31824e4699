//! An access unit as containers want it: each NAL unit led by its length, the parameter sets apart.

/// What a decoder must know before the first picture.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ParameterSets {
    pub sequence: Vec<u8>,
    pub picture: Vec<u8>,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// Those that came with it, if both did.
    pub parameter_sets: Option<ParameterSets>,
    pub data: Vec<u8>,
}

impl Frame {
    /// Of an H264 byte stream.
    pub fn of(unit: &[u8]) -> Self {
        let mut sets = ParameterSets::default();
        let mut data = Vec::with_capacity(unit.len() + 16);
        for nal in nal_units(unit) {
            match nal[0] & 0x1f {
                7 => sets.sequence = nal.to_vec(),
                8 => sets.picture = nal.to_vec(),
                // Delimiters and fillers mean nothing here.
                9 | 12 => {}
                _ => {
                    // An encoded picture of 4 GiB is none.
                    let Ok(length) = u32::try_from(nal.len()) else { continue };
                    data.extend_from_slice(&length.to_be_bytes());
                    data.extend_from_slice(nal);
                }
            }
        }
        let is_whole = !sets.sequence.is_empty() && !sets.picture.is_empty();
        Self { parameter_sets: is_whole.then_some(sets), data }
    }
}

/// The units between start codes, none of them empty.
fn nal_units(stream: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = after_start_code(stream).unwrap_or_default();
    std::iter::from_fn(move || {
        while !rest.is_empty() {
            let end = start_code(rest).unwrap_or(rest.len());
            let (unit, next) = rest.split_at(end);
            rest = after_start_code(next).unwrap_or_default();
            // Zeros before a start code belong to it, and no unit ends with one.
            let length = unit.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            if length > 0 {
                return Some(&unit[..length]);
            }
        }
        None
    })
}

fn start_code(stream: &[u8]) -> Option<usize> {
    stream.windows(3).position(|window| window == [0, 0, 1])
}

fn after_start_code(stream: &[u8]) -> Option<&[u8]> {
    Some(&stream[start_code(stream)? + 3..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn parameter_sets_are_taken_out_and_pictures_led_by_their_lengths() {
        let unit = [&[0, 0, 0, 1, 9, 0xf0][..], &[0, 0, 0, 1, 0x67, 66, 1], &[0, 0, 0, 1, 0x68, 5]]
            .concat();
        let unit = [&unit[..], &[0, 0, 1, 0x65, 7, 8, 0, 0, 0, 1, 0x65, 9]].concat();
        let frame = Frame::of(&unit);
        let sets = ParameterSets { sequence: vec![0x67, 66, 1], picture: vec![0x68, 5] };
        assert_eq!(frame.parameter_sets, Some(sets));
        assert_eq!(frame.data, [0, 0, 0, 3, 0x65, 7, 8, 0, 0, 0, 2, 0x65, 9]);
        assert_eq!(Frame::of(&[0, 0, 1, 0x41, 7]).parameter_sets, None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken_apart(bytes in prop::collection::vec(0_u8..3, 0..64)) {
            let frame = Frame::of(&bytes);
            prop_assert!(frame.data.len() <= bytes.len() * 2 + 4);
        }
    }
}
