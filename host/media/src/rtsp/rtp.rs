//! Packets of media and the reports on them (RFC 3550): as many of their fields as are used.

use crate::audio::Nanos;
use bytes::{BufMut, BytesMut};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const HEAD: usize = 12;
/// From 1900, where NTP counts from, to 1970.
const NTP_TO_UNIX: u64 = 2_208_988_800;
const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
const DESCRIPTION: u8 = 202;
const FEEDBACK: u8 = 206;
/// What both ends are called in reports.
const NAME: &[u8] = b"streamdiffusion-host";

#[derive(Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    pub payload_type: u8,
    /// The last of its frame.
    pub has_marker: bool,
    pub sequence: u16,
    pub timestamp: u32,
    pub source: u32,
    pub payload: &'a [u8],
}

impl<'a> Packet<'a> {
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (head, mut payload) = bytes.split_at_checked(HEAD)?;
        let (has_padding, has_extension) = (head[0] & 0x20 != 0, head[0] & 0x10 != 0);
        if head[0] >> 6 != 2 {
            return None;
        }
        payload = payload.get(4 * usize::from(head[0] & 0x0f)..)?;
        if has_extension {
            let words = u16::from_be_bytes([*payload.get(2)?, *payload.get(3)?]);
            payload = payload.get(4 + 4 * usize::from(words)..)?;
        }
        if has_padding {
            let padding = usize::from(*payload.last()?);
            payload = payload.get(..payload.len().checked_sub(padding.max(1))?)?;
        }
        let word =
            |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        Some(Self {
            payload_type: head[1] & 0x7f,
            has_marker: head[1] & 0x80 != 0,
            sequence: u16::from_be_bytes([head[2], head[3]]),
            timestamp: word(4),
            source: word(8),
            payload,
        })
    }

    pub fn write(&self, out: &mut BytesMut) {
        out.put_u8(0x80);
        out.put_u8(u8::from(self.has_marker) << 7 | self.payload_type);
        out.put_u16(self.sequence);
        out.put_u32(self.timestamp);
        out.put_u32(self.source);
        out.put_slice(self.payload);
    }
}

/// Which time of day a track's time is, so that a reader can bring tracks together.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct SenderReport {
    pub source: u32,
    /// In NTP's form: seconds since 1900, and 2^32 parts of one.
    pub ntp: u64,
    pub timestamp: u32,
    pub packets: u32,
    pub bytes: u32,
}

impl SenderReport {
    pub fn write(&self, out: &mut BytesMut) {
        head(out, 0, SENDER_REPORT, 6);
        out.put_u32(self.source);
        out.put_u64(self.ntp);
        out.put_u32(self.timestamp);
        out.put_u32(self.packets);
        out.put_u32(self.bytes);
        describe(out, self.source);
    }

    /// The report that a compound packet begins with.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let word = |at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        if bytes.first()? >> 6 != 2 || *bytes.get(1)? != SENDER_REPORT {
            return None;
        }
        Some(Self {
            source: word(4)?,
            ntp: u64::from(word(8)?) << 32 | u64::from(word(12)?),
            timestamp: word(16)?,
            packets: word(20)?,
            bytes: word(24)?,
        })
    }

    /// Its time of day, of some year; none where the sender has none to tell.
    pub fn wall(&self) -> Option<Nanos> {
        let part = ((self.ntp & 0xffff_ffff) * 1_000_000_000) >> 32;
        let nanos = (self.ntp >> 32) * 1_000_000_000 + part;
        Nanos::try_from(nanos).ok().filter(|_| self.ntp != 0)
    }
}

/// What a receiver has of one source.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ReceiverReport {
    pub own_source: u32,
    pub source: u32,
    /// Of 256, since the last report.
    pub fraction_lost: u8,
    pub lost: u32,
    /// With the turns of the 16 bits above.
    pub highest_sequence: u32,
    /// In ticks of the track's clock.
    pub jitter: u32,
    /// The middle of the last sender report's time, and how long ago it came, in 65536 parts of a second.
    pub last_report: u32,
    pub since_last_report: u32,
}

impl ReceiverReport {
    pub fn write(&self, out: &mut BytesMut) {
        head(out, 1, RECEIVER_REPORT, 7);
        out.put_u32(self.own_source);
        out.put_u32(self.source);
        out.put_u32(u32::from(self.fraction_lost) << 24 | self.lost.min(0x7f_ffff));
        out.put_u32(self.highest_sequence);
        out.put_u32(self.jitter);
        out.put_u32(self.last_report);
        out.put_u32(self.since_last_report);
        describe(out, self.own_source);
    }
}

/// Asks a source for a key frame (RFC 4585, 6.3.1). A report comes before it.
pub fn write_picture_loss(out: &mut BytesMut, own_source: u32, source: u32) {
    // What counts in reports says here which kind of feedback it is.
    head(out, 1, FEEDBACK, 2);
    out.put_u32(own_source);
    out.put_u32(source);
}

fn head(out: &mut BytesMut, count: u8, kind: u8, words: u16) {
    out.put_u8(0x80 | count);
    out.put_u8(kind);
    out.put_u16(words);
}

/// A report is followed by the name of who reports.
fn describe(out: &mut BytesMut, source: u32) {
    // Ends with at least one zero, on a whole word.
    let words = (2 + NAME.len()) / 4 + 1;
    head(out, 1, DESCRIPTION, words as u16 + 1);
    out.put_u32(source);
    out.put_u8(1);
    out.put_u8(NAME.len() as u8);
    out.put_slice(NAME);
    out.put_bytes(0, words * 4 - 2 - NAME.len());
}

/// Now, in NTP's form.
pub fn ntp_now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    to_ntp(since + Duration::from_secs(NTP_TO_UNIX))
}

fn to_ntp(since: Duration) -> u64 {
    let fraction = (u64::from(since.subsec_nanos()) << 32) / 1_000_000_000;
    since.as_secs() << 32 | fraction
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_packet_is_read_as_it_was_written_without_what_is_not_used() {
        let packet = Packet {
            payload_type: 96,
            has_marker: true,
            sequence: 65535,
            timestamp: 7,
            source: 9,
            payload: &[1, 2, 3],
        };
        let mut bytes = BytesMut::new();
        packet.write(&mut bytes);
        assert_eq!(Packet::parse(&bytes), Some(packet));
        let mut extended = vec![0xb1];
        extended.extend_from_slice(&bytes[1..12]);
        // One contributor, an extension of one word, two bytes of padding.
        extended.extend_from_slice(&[0, 0, 0, 1, 0xbe, 0xde, 0, 1, 0, 0, 0, 0, 1, 2, 3, 0, 2]);
        assert_eq!(Packet::parse(&extended).unwrap().payload, [1, 2, 3]);
    }

    #[test]
    fn reports_are_whole_words_and_read_as_written() {
        let report =
            SenderReport { source: 1, ntp: 5 << 32 | 6, timestamp: 3, packets: 4, bytes: 5 };
        let mut bytes = BytesMut::new();
        report.write(&mut bytes);
        assert_eq!(SenderReport::parse(&bytes), Some(report));
        for (write, first) in [(bytes.clone(), 28), (written(ReceiverReport::default()), 32)] {
            let length = |at: usize| {
                4 * (1 + usize::from(u16::from_be_bytes([write[at + 2], write[at + 3]])))
            };
            assert_eq!((length(0), write[first + 1]), (first, DESCRIPTION));
            assert_eq!(first + length(first), write.len());
        }
        let ntp = to_ntp(Duration::from_millis(1500));
        assert_eq!(ntp, 3 << 31);
        let wall = |ntp| SenderReport { ntp, ..SenderReport::default() }.wall();
        assert_eq!(
            [0, ntp, u64::MAX].map(wall),
            [None, Some(1_500_000_000), Some(4_294_967_295_999_999_999)]
        );
    }

    fn written(report: ReceiverReport) -> BytesMut {
        let mut bytes = BytesMut::new();
        report.write(&mut bytes);
        bytes
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_packet_or_none(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Some(packet) = Packet::parse(&bytes) {
                prop_assert!(packet.payload.len() <= bytes.len() - HEAD);
            }
            let _ = SenderReport::parse(&bytes);
        }
    }
}
