//! The little that has to be read of compressed frames before a decoder sees them.

use crate::codecs::Codec;

/// Beyond this a picture is refused before a decoder takes memory for it.
pub(crate) const MAX_SIDE: u32 = 4096;

/// Whether decoding can start here.
pub(crate) fn is_key_frame(codec: Codec, unit: &[u8]) -> bool {
    match codec {
        Codec::Vp8 => unit.first().is_some_and(|tag| tag & 1 == 0),
        Codec::Vp9 => vp9_size(unit).is_some(),
        // An IDR slice, or parameter sets: encoders with gradual refresh send no IDR after the first.
        Codec::H264 => nal_headers(unit).any(|head| matches!(head & 0x1f, 5 | 7)),
        // A slice that nothing before is needed for, or the sets that come before one; picture sets come at any time.
        Codec::H265 => nal_headers(unit).any(|head| matches!(head >> 1 & 0x3f, 16..=21 | 32 | 33)),
    }
}

/// The first byte of each unit of an H264 or H265 byte stream, which tells its type.
fn nal_headers(unit: &[u8]) -> impl Iterator<Item = u8> {
    unit.windows(4).filter(|window| window.starts_with(&[0, 0, 1])).map(|window| window[3])
}

/// Whether a frame's own header asks for a picture beyond the limit. H264 and H265 hide that in their parameter sets:
/// there the parser in front of the decoder tells.
pub(crate) fn is_oversized(codec: Codec, unit: &[u8]) -> bool {
    let size = match codec {
        Codec::H264 | Codec::H265 => None,
        Codec::Vp8 => vp8_size(unit),
        Codec::Vp9 => vp9_size(unit),
    };
    size.is_some_and(|(width, height)| width > MAX_SIDE || height > MAX_SIDE)
}

/// Width and height that a key frame's header tells (RFC 6386, 9.1).
fn vp8_size(unit: &[u8]) -> Option<(u32, u32)> {
    let [_, _, _, 0x9d, 0x01, 0x2a, w0, w1, h0, h1, ..] = unit else { return None };
    let side = |low: u8, high: u8| u32::from(u16::from_le_bytes([low, high]) & 0x3fff);
    Some((side(*w0, *w1), side(*h0, *h1)))
}

/// Width and height that a key frame's header tells, of profile 0, which alone is negotiated (VP9 bitstream, 6.2).
fn vp9_size(unit: &[u8]) -> Option<(u32, u32)> {
    let [first, 0x49, 0x83, 0x42, sides @ ..] = unit else { return None };
    // Marker 2, profile 0, not a frame shown again, a key frame.
    if first & 0b1111_1100 != 0b1000_0000 {
        return None;
    }
    // Colours first, four bits; then two sides of 16 bits, each less one.
    let bits = sides.get(..5)?.iter().fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
    let side = |shift: u32| (bits >> shift & 0xffff) as u32 + 1;
    Some((side(20), side(4)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_frames_are_told_by_their_first_bits_or_their_units() {
        assert!(
            is_key_frame(Codec::Vp8, &[0x10, 0, 0]) && !is_key_frame(Codec::Vp8, &[0x11, 0, 0])
        );
        assert!(is_key_frame(Codec::H264, &[0, 0, 0, 1, 0x67, 66, 0, 0, 1, 0x65, 0]));
        assert!(!is_key_frame(Codec::H264, &[0, 0, 0, 1, 0x41, 9, 9]));
        assert!(is_key_frame(Codec::H265, &[0, 0, 0, 1, 0x40, 1, 0, 0, 1, 0x26, 1]));
        assert!(!is_key_frame(Codec::H265, &[0, 0, 1, 0x44, 1, 0, 0, 1, 0x02, 1, 9]));
        assert!(!is_key_frame(Codec::H264, &[]) && !is_key_frame(Codec::Vp8, &[]));
    }

    #[test]
    fn vp9_key_frames_tell_their_size() {
        // Colours 2 and 0; 1920 and 1080, each less one.
        let key = [0x82, 0x49, 0x83, 0x42, 0x40, 0x77, 0xf0, 0x43, 0x70, 0];
        assert_eq!(vp9_size(&key), Some((1920, 1080)));
        assert!(is_key_frame(Codec::Vp9, &key) && !is_oversized(Codec::Vp9, &key));
        let large = [&key[..4], &[0x4f, 0xff, 0xff, 0xff, 0xf0]].concat();
        assert!(is_oversized(Codec::Vp9, &large));
        for other in [0x86, 0xa2, 0x8a] {
            assert!(!is_key_frame(Codec::Vp9, &[&[other], &key[1..]].concat()), "{other:x}");
        }
    }

    #[test]
    fn a_vp8_picture_beyond_the_limit_is_seen() {
        let frame = |width: u16| {
            [&[0x10, 0, 0, 0x9d, 1, 0x2a], &width.to_le_bytes()[..], &[16, 0]].concat()
        };
        assert!(!is_oversized(Codec::Vp8, &frame(4096)) && is_oversized(Codec::Vp8, &frame(4097)));
    }
}
