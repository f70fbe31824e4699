//! VP9 in packets (RFC 9628): a descriptor before each piece of a picture, which we write in its plainest form.

use crate::access_unit::is_key_frame;
use crate::codecs::Codec;

const HAS_PICTURE_ID: u8 = 0x80;
const IS_PREDICTED: u8 = 0x40;
const HAS_LAYERS: u8 = 0x20;
const IS_FLEXIBLE: u8 = 0x10;
const BEGINS_FRAME: u8 = 0x08;
const ENDS_FRAME: u8 = 0x04;
const HAS_STRUCTURE: u8 = 0x02;
/// Of our descriptors.
const DESCRIPTOR: usize = 3;

/// A picture's packets of at most so many bytes. The number of a picture has 15 bits.
pub fn cut(picture: &[u8], number: u16, size: usize) -> Vec<Vec<u8>> {
    let is_predicted = if is_key_frame(Codec::Vp9, picture) { 0 } else { IS_PREDICTED };
    let pieces = picture.chunks(size - DESCRIPTOR);
    let last = pieces.len().saturating_sub(1);
    let describe = |(index, piece): (usize, &[u8])| {
        let begins = if index == 0 { BEGINS_FRAME } else { 0 };
        let ends = if index == last { ENDS_FRAME } else { 0 };
        let [high, low] = (number | 0x8000).to_be_bytes();
        [&[HAS_PICTURE_ID | is_predicted | begins | ends, high, low], piece].concat()
    };
    pieces.enumerate().map(describe).collect()
}

/// What follows the descriptor; none if that is not whole.
pub fn piece(packet: &[u8]) -> Option<&[u8]> {
    let (flags, mut rest) = packet.split_first()?;
    let has = |flag| flags & flag != 0;
    if has(HAS_PICTURE_ID) {
        let is_long = rest.first()? & 0x80 != 0;
        rest = rest.get(1 + usize::from(is_long)..)?;
    }
    if has(HAS_LAYERS) {
        rest = rest.get(1 + usize::from(!has(IS_FLEXIBLE))..)?;
    }
    if has(IS_FLEXIBLE) && has(IS_PREDICTED) {
        // Up to three references, each of which says whether another follows.
        let goes_on = rest.iter().take(2).take_while(|reference| **reference & 1 != 0).count();
        rest = rest.get(1 + goes_on..)?;
    }
    if has(HAS_STRUCTURE) { after_structure(rest) } else { Some(rest) }
}

/// The structure tells sizes of layers, and which pictures refer to which.
fn after_structure(structure: &[u8]) -> Option<&[u8]> {
    let (head, mut rest) = structure.split_first()?;
    if head & 0x10 != 0 {
        rest = rest.get(4 * (usize::from(head >> 5) + 1)..)?;
    }
    if head & 0x08 != 0 {
        let (pictures, mut group) = rest.split_first()?;
        for _ in 0..*pictures {
            let references = group.first()? >> 2 & 3;
            group = group.get(1 + usize::from(references)..)?;
        }
        rest = group;
    }
    Some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn descriptors_of_every_form_are_left_out() {
        for (packet, wanted) in [
            (&[0x0c, 7][..], Some(&[7][..])),
            (&[0x80, 0x7f, 7], Some(&[7])),
            (&[0x80, 0x81, 0, 7], Some(&[7])),
            (&[0xa0, 1, 2, 3, 7], Some(&[7])),
            (&[0x50, 3, 3, 2, 7], Some(&[7])),
            (&[0x50, 3, 2, 7], Some(&[7])),
            // One layer with its size, and a group of two pictures with no and one reference.
            (&[0x0a, 0x18, 2, 0, 1, 0, 2, 0, 4, 9, 7], Some(&[7])),
            (&[0x80], None),
            (&[0x0a, 0x18, 2, 0], None),
            (&[], None),
        ] {
            assert_eq!(piece(packet), wanted, "{packet:x?}");
        }
    }

    proptest! {
        #[test]
        fn pieces_are_the_picture_again(picture in prop::collection::vec(any::<u8>(), 1..100), size in 4..20_usize) {
            let packets = cut(&picture, 5, size);
            prop_assert!(packets.iter().all(|packet| packet.len() <= size));
            let joined: Vec<u8> = packets.iter().flat_map(|packet| piece(packet).unwrap().to_vec()).collect();
            prop_assert_eq!(joined, picture);
        }

        #[test]
        fn any_bytes_have_a_descriptor_or_none(bytes in prop::collection::vec(any::<u8>(), 0..16)) {
            prop_assert!(piece(&bytes).is_none_or(|piece| piece.len() < bytes.len()));
        }
    }
}
