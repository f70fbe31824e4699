//! The first bytes of an Opus packet (RFC 6716, section 3): how long it sounds.

use super::sync::Nanos;

/// No packet is longer.
const LONGEST: Nanos = 120_000_000;

/// None if it is no Opus packet.
pub(crate) fn duration(packet: &[u8]) -> Option<Nanos> {
    let first = *packet.first()?;
    let microseconds = match (first >> 3, first >> 3 & 3) {
        (0..=11, length) => [10_000, 20_000, 40_000, 60_000][usize::from(length)],
        (12..=15, length) => [10_000, 20_000][usize::from(length & 1)],
        (_, length) => [2_500, 5_000, 10_000, 20_000][usize::from(length)],
    };
    let frames = match first & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => Nanos::from(packet.get(1)? & 0x3f),
    };
    Some(frames * microseconds * 1000).filter(|duration| (1..=LONGEST).contains(duration))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn nothing_sounds_longer_than_a_packet_can(packet in proptest::collection::vec(any::<u8>(), 0..4)) {
            prop_assert!(duration(&packet).is_none_or(|nanos| (2_500_000..=LONGEST).contains(&nanos)));
        }
    }

    #[test]
    fn the_first_byte_tells_the_length_of_a_frame_and_their_number() {
        let ms = |packet: &[u8]| duration(packet).map(|nanos| nanos as f64 / 1e6);
        assert_eq!(ms(&[31 << 3]), Some(20.0));
        assert_eq!(ms(&[28 << 3 | 1]), Some(5.0));
        assert_eq!(ms(&[12 << 3 | 2]), Some(20.0));
        assert_eq!(ms(&[3 << 3]), Some(60.0));
        assert_eq!(ms(&[31 << 3 | 3, 6]), Some(120.0));
    }

    #[test]
    fn what_cannot_be_is_no_packet() {
        assert_eq!(duration(&[]), None);
        assert_eq!(duration(&[31 << 3 | 3]), None);
        assert_eq!(duration(&[31 << 3 | 3, 0]), None);
        assert_eq!(duration(&[31 << 3 | 3, 7]), None);
    }
}
