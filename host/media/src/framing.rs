//! RFC 4571: datagrams on a TCP stream, each led by its length in two bytes.

/// Longer than any packet of ours or a browser's; what claims more is no peer of ours.
pub(crate) const MAX_PACKET: usize = 2048;

const LENGTH: usize = 2;

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a packet of {length} bytes was announced, at most {MAX_PACKET} are taken")]
pub(crate) struct PacketTooLong {
    length: usize,
}

/// Takes a TCP stream apart into packets. Holds at most one of them.
#[derive(Default)]
pub(crate) struct Deframer {
    pending: Vec<u8>,
}

impl Deframer {
    /// Takes received bytes and hands over each packet that they complete.
    pub fn push(
        &mut self,
        mut bytes: &[u8],
        mut packet: impl FnMut(&[u8]),
    ) -> Result<(), PacketTooLong> {
        while !bytes.is_empty() {
            let missing = self.missing()?.min(bytes.len());
            self.pending.extend_from_slice(&bytes[..missing]);
            bytes = &bytes[missing..];
            if self.pending.len() >= LENGTH && self.missing()? == 0 {
                packet(&self.pending[LENGTH..]);
                self.pending.clear();
            }
        }
        Ok(())
    }

    /// Bytes until the length, or after it the packet, is complete.
    fn missing(&self) -> Result<usize, PacketTooLong> {
        let [high, low, rest @ ..] = self.pending.as_slice() else {
            return Ok(LENGTH - self.pending.len());
        };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        if length > MAX_PACKET {
            return Err(PacketTooLong { length });
        }
        Ok(length - rest.len())
    }
}

/// Appends a packet with its length before it; false if it is too long to be sent.
pub(crate) fn frame(packet: &[u8], out: &mut Vec<u8>) -> bool {
    let Some(length) = u16::try_from(packet.len()).ok().filter(|_| packet.len() <= MAX_PACKET)
    else {
        return false;
    };
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(packet);
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn packets_survive_any_cutting_of_the_stream(
            packets in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..8),
            cuts in prop::collection::vec(1..50usize, 1..20),
        ) {
            let mut stream = Vec::new();
            for packet in &packets {
                prop_assert!(frame(packet, &mut stream));
            }
            let (mut deframer, mut received, mut rest) = (Deframer::default(), Vec::new(), stream.as_slice());
            for cut in cuts.iter().cycle() {
                let (bytes, later) = rest.split_at((*cut).min(rest.len()));
                deframer.push(bytes, |packet| received.push(packet.to_vec())).unwrap();
                rest = later;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(received, packets);
        }
    }

    #[test]
    fn a_packet_that_claims_too_much_ends_the_stream() {
        let announced = u16::try_from(MAX_PACKET + 1).unwrap().to_be_bytes();
        let refused = Deframer::default()
            .push(&[announced[0], announced[1], 0], |_| panic!("no packet is complete"));
        assert_eq!(refused, Err(PacketTooLong { length: MAX_PACKET + 1 }));
        assert!(!frame(&[0; MAX_PACKET + 1], &mut Vec::new()));
    }
}
