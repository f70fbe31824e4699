//! Packets become a publisher's units again: pictures whole and decodable, audio frame by frame.

use super::announce::{AacPacking, Kind};
use super::nal::{self, ParameterSets};
use super::rtp::Packet;
use super::{h265, vp9};
use crate::access_unit::is_key_frame;
use crate::codecs::Codec;
use crate::unit::AudioFormat;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use str0m::format::CodecExtra;
use str0m::unversioned::{Depacketizer, H264Depacketizer, Vp8Depacketizer};

/// Far more than a picture of the largest size has.
const MAX_PICTURE: usize = 8 << 20;
/// A frame's length has 13 bits.
const MAX_AAC_FRAME: usize = 1 << 13;

/// What came whole.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece {
    /// With the publisher's time of it, as all.
    Video(Arc<[u8]>, Duration),
    Audio(Arc<AudioFormat>, Arc<[u8]>, Duration),
}

#[derive(Debug)]
pub enum Assembly {
    Video(Pictures),
    Audio(Sounds),
}

impl Assembly {
    pub fn new(kind: &Kind) -> Self {
        match kind {
            Kind::Video(codec, sets) => Self::Video(Pictures::new(*codec, sets.clone())),
            Kind::Audio(format, packing) => {
                Self::Audio(Sounds { format: format.clone(), packing: *packing, partial: None })
            }
        }
    }

    /// Takes the next packet in order, with its time; `is_contiguous` unless some are missing before it.
    pub fn take(
        &mut self,
        packet: (&Packet<'_>, Duration),
        is_contiguous: bool,
        whole: &mut Vec<Piece>,
    ) {
        match self {
            Self::Video(pictures) => pictures.take(packet, is_contiguous, whole),
            Self::Audio(sounds) => sounds.take(packet, is_contiguous, whole),
        }
    }

    /// Whether nothing comes out before the next key frame.
    pub fn needs_key_frame(&self) -> bool {
        matches!(self, Self::Video(pictures) if pictures.needs_key_frame)
    }
}

/// Of one codec. What follows a loss is left out up to the next key frame, since it cannot be decoded as it was meant.
pub struct Pictures {
    codec: Codec,
    joiner: Joiner,
    /// H264's, as announced and then as they came.
    sets: ParameterSets,
    data: Vec<u8>,
    /// Bytes of packets since the last whole picture.
    taken: usize,
    /// Of the packets since then.
    time: Option<Duration>,
    is_broken: bool,
    needs_key_frame: bool,
}

impl fmt::Debug for Pictures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pictures").field("codec", &self.codec).finish_non_exhaustive()
    }
}

impl Pictures {
    fn new(codec: Codec, sets: ParameterSets) -> Self {
        Self {
            codec,
            joiner: Joiner::of(codec),
            sets,
            data: Vec::new(),
            taken: 0,
            time: None,
            is_broken: false,
            needs_key_frame: false,
        }
    }

    fn take(
        &mut self,
        (packet, time): (&Packet<'_>, Duration),
        is_contiguous: bool,
        whole: &mut Vec<Piece>,
    ) {
        if !is_contiguous {
            self.start_over();
            // How much of this picture is missing is not known.
            (self.is_broken, self.needs_key_frame) = (true, true);
            self.time = Some(time);
        }
        if self.time.is_some_and(|last| last != time) {
            // Not everyone marks a picture's last packet.
            self.finish(whole);
        }
        self.time = Some(time);
        self.taken += packet.payload.len();
        // Packets that only fill up have nothing in them.
        if !self.is_broken && !packet.payload.is_empty() {
            let is_joined = self.joiner.join(packet.payload, &mut self.data);
            self.is_broken = !is_joined || self.taken > MAX_PICTURE;
        }
        if packet.has_marker {
            self.finish(whole);
        }
    }

    fn finish(&mut self, whole: &mut Vec<Piece>) {
        let data = std::mem::take(&mut self.data);
        let (is_broken, time) = (self.is_broken, self.time);
        self.start_over();
        self.needs_key_frame |= is_broken;
        let Some(time) = time.filter(|_| !is_broken && !data.is_empty()) else { return };
        let data = self.with_parameter_sets(data);
        self.needs_key_frame &= !is_key_frame(self.codec, &data);
        if !self.needs_key_frame {
            whole.push(Piece::Video(data.into(), time));
        }
    }

    fn start_over(&mut self) {
        self.data.clear();
        self.joiner = Joiner::of(self.codec);
        self.time = None;
        (self.taken, self.is_broken) = (0, false);
    }

    /// Decoders start at key frames, which publishers often send without the sets that they announced.
    fn with_parameter_sets(&mut self, data: Vec<u8>) -> Vec<u8> {
        if !matches!(self.codec, Codec::H264 | Codec::H265) {
            return data;
        }
        let (mut has_key_slice, mut has_sets) = (false, false);
        for unit in nal::units(&data) {
            self.sets.take(self.codec, unit);
            has_key_slice |= nal::kind(self.codec, unit) == nal::Kind::KeySlice;
            has_sets |= nal::kind(self.codec, unit) == nal::Kind::SequenceSet;
        }
        if !has_key_slice || has_sets || !self.sets.is_complete(self.codec) {
            return data;
        }
        [self.sets.to_stream(), data].concat()
    }
}

/// Puts a picture's pieces together.
enum Joiner {
    Library(Box<dyn Depacketizer + Send + Sync>),
    Vp9,
    H265,
}

impl Joiner {
    fn of(codec: Codec) -> Self {
        match codec {
            Codec::H264 => Self::Library(Box::new(H264Depacketizer::default())),
            Codec::Vp8 => Self::Library(Box::new(Vp8Depacketizer::default())),
            Codec::Vp9 => Self::Vp9,
            Codec::H265 => Self::H265,
        }
    }

    /// False if the packet is damaged.
    fn join(&mut self, payload: &[u8], picture: &mut Vec<u8>) -> bool {
        match self {
            Self::Library(library) => {
                library.depacketize(payload, picture, &mut CodecExtra::None).is_ok()
            }
            Self::Vp9 => {
                vp9::piece(payload).map(|piece| picture.extend_from_slice(piece)).is_some()
            }
            Self::H265 => h265::join(payload, picture).is_some(),
        }
    }
}

#[derive(Debug)]
pub struct Sounds {
    format: Arc<AudioFormat>,
    /// Of AAC; a packet of Opus is its one frame.
    packing: Option<AacPacking>,
    /// The first part of a frame that fits no packet, and how long it will be.
    partial: Option<(Vec<u8>, usize)>,
}

impl Sounds {
    fn take(
        &mut self,
        (packet, begin): (&Packet<'_>, Duration),
        is_contiguous: bool,
        whole: &mut Vec<Piece>,
    ) {
        if !is_contiguous {
            self.partial = None;
        }
        let frames = match self.packing {
            None => vec![packet.payload.to_vec()],
            Some(packing) => self.frames(packing, packet.payload).unwrap_or_default(),
        };
        for (index, frame) in frames.into_iter().enumerate().filter(|(_, frame)| !frame.is_empty())
        {
            let samples = index as u64 * AacPacking::SAMPLES;
            let after = samples * 1_000_000_000 / u64::from(self.format.rate.max(1));
            let time = begin + Duration::from_nanos(after);
            whole.push(Piece::Audio(self.format.clone(), frame.into(), time));
        }
    }

    /// The frames in a packet of AAC (RFC 3640, section 3); none if it is damaged.
    fn frames(&mut self, packing: AacPacking, payload: &[u8]) -> Option<Vec<Vec<u8>>> {
        let (bits, rest) = payload.split_first_chunk()?;
        let bits = usize::from(u16::from_be_bytes(*bits));
        let (headers, mut data) = rest.split_at_checked(bits.div_ceil(8))?;
        let sizes = packing.sizes(headers, bits)?;
        if let Some((mut frame, size)) = self.partial.take().filter(|(_, size)| sizes == [*size]) {
            frame.extend_from_slice(data);
            if frame.len() < size {
                self.partial = Some((frame, size));
                return None;
            }
            return (frame.len() == size).then(|| vec![frame]);
        }
        if let [size] = sizes[..]
            && (data.len() + 1..=MAX_AAC_FRAME).contains(&size)
        {
            self.partial = Some((data.to_vec(), size));
            return None;
        }
        let mut frames = Vec::new();
        for size in sizes {
            let (frame, rest) = data.split_at_checked(size)?;
            frames.push(frame.to_vec());
            data = rest;
        }
        Some(frames)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unit::AudioCodec;
    use proptest::prelude::*;

    fn packet(timestamp: u32, has_marker: bool, payload: &[u8]) -> Packet<'_> {
        Packet { payload_type: 96, has_marker, sequence: 0, timestamp, source: 1, payload }
    }

    fn time(packet: &Packet<'_>) -> Duration {
        Duration::from_secs(packet.timestamp.into())
    }

    fn sets() -> ParameterSets {
        ParameterSets {
            sequence: vec![0x67, 66, 0, 30],
            picture: vec![0x68, 1],
            ..ParameterSets::default()
        }
    }

    fn h264() -> Assembly {
        Assembly::new(&Kind::Video(Codec::H264, sets()))
    }

    /// The kinds of units of each picture that comes out.
    fn pictures(packets: &[(Packet<'_>, bool)]) -> Vec<Vec<u8>> {
        let (mut assembly, mut whole) = (h264(), Vec::new());
        for (packet, is_contiguous) in packets {
            assembly.take((packet, time(packet)), *is_contiguous, &mut whole);
        }
        let kinds = |piece: &Piece| match piece {
            Piece::Video(data, _) => nal::units(data).map(|unit| unit[0] & 0x1f).collect(),
            Piece::Audio(..) => panic!("no audio"),
        };
        whole.iter().map(kinds).collect()
    }

    #[test]
    fn key_frames_get_the_announced_sets_unless_they_bring_their_own() {
        let own = [24, 0, 4, 0x67, 66, 0, 31, 0, 2, 0x68, 2, 0, 2, 0x65, 9];
        let seen = pictures(&[
            (packet(1, true, &[0x65, 1]), true),
            (packet(2, true, &[0x41, 1]), true),
            (packet(3, true, &own), true),
        ]);
        assert_eq!(seen, [&[7, 8, 5][..], &[1], &[7, 8, 5]]);
    }

    #[test]
    fn a_picture_ends_with_its_mark_or_where_the_next_begins() {
        let seen = pictures(&[
            (packet(1, false, &[28, 0x85, 1, 2]), true),
            (packet(1, false, &[28, 0x45, 3]), true),
            (packet(2, false, &[0x41, 1]), true),
            (packet(3, true, &[0x41, 1]), true),
        ]);
        assert_eq!(seen, [&[7, 8, 5][..], &[1], &[1]]);
    }

    #[test]
    fn after_a_loss_pictures_are_left_out_up_to_the_next_key_frame() {
        let seen = pictures(&[
            (packet(1, true, &[0x65, 1]), true),
            (packet(2, false, &[28, 0x81, 1]), true),
            (packet(3, true, &[0x41, 1]), false),
            (packet(4, true, &[0x41, 1]), true),
            (packet(5, true, &[0x65, 1]), true),
            (packet(6, true, &[0x41, 1]), true),
        ]);
        assert_eq!(seen, [&[7, 8, 5][..], &[7, 8, 5], &[1]]);
    }

    fn aac() -> Assembly {
        let (config, codec) = (Arc::from([0x11, 0x90]), AudioCodec::Aac);
        let format = Arc::new(AudioFormat { codec, rate: 48_000, channels: 2, config });
        Assembly::new(&Kind::Audio(format, Some(AacPacking { size_bits: 13, index_bits: 3 })))
    }

    fn sounds(packets: &[Packet<'_>]) -> Vec<(Vec<u8>, Duration)> {
        let (mut assembly, mut whole) = (aac(), Vec::new());
        packets.iter().for_each(|packet| assembly.take((packet, time(packet)), true, &mut whole));
        let heard = |piece: Piece| match piece {
            Piece::Audio(_, data, time) => (data.to_vec(), time),
            Piece::Video(..) => panic!("no video"),
        };
        whole.into_iter().map(heard).collect()
    }

    #[test]
    fn a_packet_of_aac_has_several_frames_or_a_part_of_one() {
        let two = [0, 32, 0, 2 << 3, 0, 1 << 3, 7, 8, 9];
        let heard = sounds(&[packet(0, true, &two)]);
        assert_eq!((&heard[0].0[..], &heard[1].0[..], heard.len()), (&[7, 8][..], &[9][..], 2));
        assert_eq!((heard[1].1 - heard[0].1).as_micros(), 21_333);
        let part = |piece: u8| [0, 16, 0, 3 << 3, piece];
        let (a, b, c) = (part(1), part(2), part(3));
        let heard = sounds(&[packet(0, false, &a), packet(0, false, &b), packet(0, true, &c)]);
        assert_eq!((&heard[0].0[..], heard.len()), (&[1, 2, 3][..], 1));
    }

    proptest! {
        #[test]
        fn any_packets_are_taken(
            packets in prop::collection::vec(
                (0..4_u32, any::<bool>(), any::<bool>(), prop::collection::vec(any::<u8>(), 0..40)), 0..12),
        ) {
            let vp8 = Assembly::new(&Kind::Video(Codec::Vp8, ParameterSets::default()));
            let vp9 = Assembly::new(&Kind::Video(Codec::Vp9, ParameterSets::default()));
            let h265 = Assembly::new(&Kind::Video(Codec::H265, ParameterSets::default()));
            for mut assembly in [h264(), h265, vp8, vp9, aac()] {
                let mut whole = Vec::new();
                for (timestamp, has_marker, is_contiguous, payload) in &packets {
                    let packet = packet(*timestamp, *has_marker, payload);
                    assembly.take((&packet, time(&packet)), *is_contiguous, &mut whole);
                }
            }
        }
    }
}
