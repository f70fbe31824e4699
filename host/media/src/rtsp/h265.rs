//! H265 in packets (RFC 7798): units whole, several together, or in fragments; ours are never several.

use super::nal;

/// Each unit begins with so many bytes, its type among them.
const HEAD: usize = 2;
/// A fragment has one byte more, which says where in the unit it lies.
const FRAGMENT_HEAD: usize = 3;
const TOGETHER: u8 = 48;
const FRAGMENT: u8 = 49;
/// Types from here on are no units, and nothing that is sent without having been agreed on.
const UNKNOWN: std::ops::RangeInclusive<u8> = 50..=63;
const BEGINS: u8 = 0x80;
const ENDS: u8 = 0x40;

const fn kind(first: u8) -> u8 {
    first >> 1 & 0x3f
}

/// The first byte of a unit, with another type.
const fn with_kind(first: u8, kind: u8) -> u8 {
    first & 0x81 | kind << 1
}

/// A picture's packets of at most so many bytes.
pub fn cut(picture: &[u8], size: usize) -> Vec<Vec<u8>> {
    nal::units(picture).flat_map(|unit| cut_unit(unit, size)).collect()
}

fn cut_unit(unit: &[u8], size: usize) -> Vec<Vec<u8>> {
    let (&[first, second], true) = (&unit[..unit.len().min(HEAD)], unit.len() > size) else {
        return vec![unit.to_vec()];
    };
    let pieces = unit[HEAD..].chunks(size - FRAGMENT_HEAD);
    let last = pieces.len() - 1;
    let wrap = |(index, piece): (usize, &[u8])| {
        let begins = if index == 0 { BEGINS } else { 0 };
        let ends = if index == last { ENDS } else { 0 };
        let head = [with_kind(first, FRAGMENT), second, begins | ends | kind(first)];
        [&head, piece].concat()
    };
    pieces.enumerate().map(wrap).collect()
}

/// Puts a packet's units, or its part of one, at the end of a picture; none if it is not whole.
pub fn join(packet: &[u8], picture: &mut Vec<u8>) -> Option<()> {
    let (&[first, second], rest) = packet.split_first_chunk::<HEAD>()?;
    match kind(first) {
        FRAGMENT => {
            let (place, piece) = rest.split_first()?;
            if place & BEGINS != 0 {
                picture.extend(nal::START_CODE);
                picture.extend([with_kind(first, place & 0x3f), second]);
            }
            picture.extend_from_slice(piece);
        }
        TOGETHER => {
            let mut rest = rest;
            while let Some((length, units)) = rest.split_first_chunk::<2>() {
                let (unit, after) = units.split_at_checked(u16::from_be_bytes(*length).into())?;
                picture.extend(nal::START_CODE);
                picture.extend_from_slice(unit);
                rest = after;
            }
        }
        kind if UNKNOWN.contains(&kind) => return None,
        _ => {
            picture.extend(nal::START_CODE);
            picture.extend_from_slice(packet);
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn several_units_in_a_packet_are_taken_apart() {
        let packet = [0x60, 1, 0, 3, 0x40, 1, 7, 0, 2, 0x44, 1];
        let mut picture = Vec::new();
        assert!(join(&packet, &mut picture).is_some());
        assert_eq!(picture, [0, 0, 0, 1, 0x40, 1, 7, 0, 0, 0, 1, 0x44, 1]);
        assert_eq!(join(&packet[..9], &mut picture), None, "the second is not whole");
        assert_eq!(join(&[0x62, 1], &mut picture), None, "a fragment has a third byte");
        assert_eq!(join(&[0x64, 1, 0, 0], &mut picture), None, "no unit has this type");
    }

    proptest! {
        #[test]
        fn what_is_cut_is_joined_again(
            units in prop::collection::vec((0_u8..48, prop::collection::vec(1_u8.., 1..300)), 1..4)
        ) {
            let picture: Vec<_> = units
                .into_iter()
                .flat_map(|(kind, data)| [&[0, 0, 0, 1, kind << 1, 1][..], &data].concat())
                .collect();
            let packets = cut(&picture, 100);
            let mut joined = Vec::new();
            for packet in &packets {
                prop_assert!(packet.len() <= 100 && join(packet, &mut joined).is_some());
            }
            prop_assert_eq!(joined, picture);
        }
    }
}
