//! Units become packets: how each codec's data is cut, and how a track's packets and reports are counted.

use super::rtp::{Packet, SenderReport};
use super::{h265, vp9};
use crate::codecs::Codec;
use crate::unit::{AudioCodec, Track, Unit};
use bytes::BytesMut;
use std::fmt;
use str0m::unversioned::{H264Packetizer, Packetizer, Vp8Packetizer};

/// Of a packet without its head: fits the packets of all usual networks.
const MAX_PAYLOAD: usize = 1400;
/// What AAC's packets say of the one frame in them: its length in bits of this header, and the length of that.
const AAC_HEADER_BITS: u16 = 16;
/// A frame's length has 13 bits.
const MAX_AAC_FRAME: usize = (1 << 13) - 1;

/// One track on its way to one reader.
#[derive(Debug)]
pub struct Sender {
    cut: Cut,
    payload_type: u8,
    /// Ticks of its clock in a second.
    rate: u32,
    source: u32,
    sequence: u16,
    /// What the first tick counts as.
    offset: u32,
    packets: u32,
    bytes: u32,
}

enum Cut {
    Video(Box<dyn Packetizer + Send + Sync>),
    /// The number of the next picture.
    Vp9(u16),
    H265,
    Aac,
    Opus,
}

impl fmt::Debug for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Video(_) => "Video",
            Self::Vp9(_) => "Vp9",
            Self::H265 => "H265",
            Self::Aac => "Aac",
            Self::Opus => "Opus",
        })
    }
}

impl Sender {
    pub fn new(track: &Track, payload_type: u8) -> Self {
        let (cut, rate) = match track {
            Track::Video(Codec::H264) => (Cut::Video(Box::new(H264Packetizer::default())), 90_000),
            Track::Video(Codec::Vp8) => (Cut::Video(Box::new(Vp8Packetizer::default())), 90_000),
            Track::Video(Codec::Vp9) => (Cut::Vp9(0), 90_000),
            Track::Video(Codec::H265) => (Cut::H265, 90_000),
            Track::Audio(format) => match format.codec {
                AudioCodec::Aac => (Cut::Aac, format.rate),
                AudioCodec::Opus => (Cut::Opus, format.rate),
            },
        };
        let random = uuid::Uuid::new_v4().as_u128();
        Self {
            cut,
            payload_type,
            rate,
            source: random as u32,
            sequence: (random >> 96) as u16,
            offset: (random >> 64) as u32,
            packets: 0,
            bytes: 0,
        }
    }

    pub fn source(&self) -> u32 {
        self.source
    }

    /// Gives each of a unit's packets to `send`.
    pub fn send(&mut self, unit: &Unit, mut send: impl FnMut(&[u8])) {
        let payloads = self.cut.payloads(&unit.data);
        let timestamp = self.timestamp(unit.ticks(self.rate));
        let mut bytes = BytesMut::with_capacity(MAX_PAYLOAD + 12);
        for (index, payload) in payloads.iter().enumerate() {
            let packet = Packet {
                payload_type: self.payload_type,
                has_marker: index + 1 == payloads.len(),
                sequence: self.sequence,
                timestamp,
                source: self.source,
                payload,
            };
            bytes.clear();
            packet.write(&mut bytes);
            self.sequence = self.sequence.wrapping_add(1);
            self.packets = self.packets.wrapping_add(1);
            self.bytes = self.bytes.wrapping_add(payload.len() as u32);
            send(&bytes);
        }
    }

    /// That so many ticks of its clock are now.
    pub fn report(&self, ntp: u64, ticks: u64) -> BytesMut {
        let report = SenderReport {
            source: self.source,
            ntp,
            timestamp: self.timestamp(ticks),
            packets: self.packets,
            bytes: self.bytes,
        };
        let mut bytes = BytesMut::new();
        report.write(&mut bytes);
        bytes
    }

    pub fn rate(&self) -> u32 {
        self.rate
    }

    /// Clocks of packets have 32 bits and turn over.
    fn timestamp(&self, ticks: u64) -> u32 {
        self.offset.wrapping_add(ticks as u32)
    }
}

impl Cut {
    fn payloads(&mut self, data: &[u8]) -> Vec<Vec<u8>> {
        match self {
            // Neither of the two ever fails.
            Self::Video(packetizer) => packetizer.packetize(MAX_PAYLOAD, data).unwrap_or_default(),
            Self::Vp9(number) => {
                *number = number.wrapping_add(1);
                vp9::cut(data, *number, MAX_PAYLOAD)
            }
            Self::H265 => h265::cut(data, MAX_PAYLOAD),
            Self::Opus => vec![data.to_vec()],
            Self::Aac if data.len() > MAX_AAC_FRAME => Vec::new(),
            Self::Aac => {
                let length = (data.len() as u16) << 3;
                let cut = |piece: &[u8]| {
                    [&AAC_HEADER_BITS.to_be_bytes(), &length.to_be_bytes(), piece].concat()
                };
                data.chunks(MAX_PAYLOAD - 4).map(cut).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    #[test]
    fn a_units_packets_follow_each_other_and_the_last_is_marked() {
        let track = Track::Video(Codec::H264);
        let mut sender = Sender::new(&track, 96);
        let mut data = vec![0, 0, 0, 1, 0x67, 1, 2, 3, 0, 0, 0, 1, 0x68, 1, 0, 0, 0, 1, 0x65];
        data.extend([7; 3000]);
        let time = Duration::from_millis(100);
        let unit = Unit {
            path: 1,
            track,
            data: Arc::from(data),
            is_key_frame: true,
            shown_at: Instant::now(),
            time,
        };
        let mut sent = Vec::new();
        sender.send(&unit, |bytes| sent.push(bytes.to_vec()));
        let packets: Vec<_> = sent.iter().map(|bytes| Packet::parse(bytes).unwrap()).collect();
        // The parameter sets in one, the slice in three.
        assert_eq!(packets.len(), 4);
        assert_eq!(packets[0].payload[0] & 0x1f, 24);
        for (before, after) in packets.iter().zip(&packets[1..]) {
            assert_eq!(after.sequence, before.sequence.wrapping_add(1));
            assert!(!before.has_marker && after.timestamp == before.timestamp);
        }
        assert!(packets[3].has_marker && sent.iter().all(|bytes| bytes.len() <= 1412));
        let report = SenderReport::parse(&sender.report(0, 9000)).unwrap();
        assert_eq!((report.timestamp, report.packets), (packets[0].timestamp, 4));
    }
}
