//! The little that has to be read of compressed frames before a decoder sees them.

use crate::codecs::Codec;

/// Beyond this a picture is refused before a decoder takes memory for it.
pub(crate) const MAX_SIDE: u32 = 4096;

/// Whether decoding can start here.
pub(crate) fn is_key_frame(codec: Codec, unit: &[u8]) -> bool {
    match codec {
        Codec::Vp8 => unit.first().is_some_and(|tag| tag & 1 == 0),
        // An IDR slice, or parameter sets: encoders with gradual refresh send no IDR after the first.
        Codec::H264 => nal_types(unit).any(|kind| kind == 5 || kind == 7),
    }
}

/// Types of the units of an H264 byte stream.
fn nal_types(unit: &[u8]) -> impl Iterator<Item = u8> {
    unit.windows(4).filter(|window| window.starts_with(&[0, 0, 1])).map(|window| window[3] & 0x1f)
}

/// Whether a frame's own header asks for a picture beyond the limit. H264 hides that in its parameter sets: there the
/// parser in front of the decoder tells.
pub(crate) fn is_oversized(codec: Codec, unit: &[u8]) -> bool {
    let (Codec::Vp8, [_, _, _, 0x9d, 0x01, 0x2a, w0, w1, h0, h1, ..]) = (codec, unit) else {
        return false;
    };
    let side = |low: u8, high: u8| u32::from(u16::from_le_bytes([low, high]) & 0x3fff);
    side(*w0, *w1) > MAX_SIDE || side(*h0, *h1) > MAX_SIDE
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
        assert!(!is_key_frame(Codec::H264, &[]) && !is_key_frame(Codec::Vp8, &[]));
    }

    #[test]
    fn a_vp8_picture_beyond_the_limit_is_seen() {
        let frame = |width: u16| {
            [&[0x10, 0, 0, 0x9d, 1, 0x2a], &width.to_le_bytes()[..], &[16, 0]].concat()
        };
        assert!(!is_oversized(Codec::Vp8, &frame(4096)) && is_oversized(Codec::Vp8, &frame(4097)));
    }
}
