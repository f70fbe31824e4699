//! A track that a publisher by hand sends, by UDP or in the connection.

use crate::rtsp_support::client::Client;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;
use str0m::unversioned::{H264Packetizer, Packetizer};
use test_peer::PATIENCE;

/// Of H264.
pub const VIDEO: Kind = Kind { name: "/0", payload_type: 96, rate: 90_000 };
/// Of Opus.
pub const AUDIO: Kind = Kind { name: "/1", payload_type: 97, rate: 48_000 };

pub const SDP: &str = "v=0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=control:0\r\n\
    m=audio 0 RTP/AVP 97\r\na=rtpmap:97 opus/48000/2\r\na=control:1\r\n";

#[derive(Clone, Copy)]
pub struct Kind {
    pub name: &'static str,
    pub payload_type: u8,
    pub rate: u32,
}

enum Way {
    Udp {
        media: UdpSocket,
        reports: UdpSocket,
    },
    /// The channel of the packets; that of the reports is the next.
    Interleaved(u8),
}

pub struct Track {
    kind: Kind,
    way: Way,
    sequence: u16,
    /// Seconds that its reports are off by.
    pub off: u64,
}

impl Track {
    pub fn by_udp(client: &mut Client, server: SocketAddr, kind: Kind) -> Self {
        let bind = || UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = |socket: &UdpSocket| socket.local_addr().unwrap().port();
        let (media, reports) = (bind(), bind());
        let ports = format!("{}-{}", port(&media), port(&reports));
        let transport = format!("Transport: RTP/AVP;unicast;client_port={ports};mode=record");
        assert_eq!(client.ask("SETUP", kind.name, &[&transport], ""), 200);
        let theirs = client.head.split("server_port=").nth(1).unwrap();
        let mut theirs = theirs.split(|each: char| !each.is_ascii_digit());
        for socket in [&media, &reports] {
            let port: u16 = theirs.next().unwrap().parse().unwrap();
            socket.connect((server.ip(), port)).unwrap();
        }
        reports.set_read_timeout(Some(PATIENCE)).unwrap();
        Self::new(kind, Way::Udp { media, reports })
    }

    pub fn in_connection(client: &mut Client, channel: u8, kind: Kind) -> Self {
        let channels = format!("{channel}-{}", channel + 1);
        let transport =
            format!("Transport: RTP/AVP/TCP;unicast;interleaved={channels};mode=record");
        assert_eq!(client.ask("SETUP", kind.name, &[&transport], ""), 200);
        Self::new(kind, Way::Interleaved(channel))
    }

    fn new(kind: Kind, way: Way) -> Self {
        Self { kind, way, sequence: 65_000, off: 0 }
    }

    /// Its clock begins anywhere, and soon turns over.
    fn timestamp(&self, time: Duration) -> u32 {
        let ticks = time.as_nanos() * u128::from(self.kind.rate) / 1_000_000_000;
        (u32::MAX - self.kind.rate).wrapping_add(ticks as u32)
    }

    pub fn picture(&mut self, client: &mut Client, time: Duration, frame: &[u8]) {
        let payloads = H264Packetizer::default().packetize(1200, frame).unwrap();
        self.send(client, time, &payloads);
    }

    /// The packets of one moment.
    pub fn send(&mut self, client: &mut Client, time: Duration, payloads: &[Vec<u8>]) {
        let payload_type = self.kind.payload_type;
        for (index, payload) in payloads.iter().enumerate() {
            self.skip(1);
            let marker = u8::from(index + 1 == payloads.len()) << 7;
            let mut packet = vec![0x80, marker | payload_type];
            packet.extend(self.sequence.to_be_bytes());
            packet.extend(self.timestamp(time).to_be_bytes());
            packet.extend([0, 0, 0, payload_type]);
            packet.extend(payload);
            self.write(client, false, &packet);
        }
    }

    /// So many packets are lost.
    pub fn skip(&mut self, packets: u16) {
        self.sequence = self.sequence.wrapping_add(packets);
    }

    /// Tells the time of day at this time.
    pub fn report(&self, client: &mut Client, time: Duration) {
        let seconds = 3_900_000_000 + self.off + time.as_secs();
        let part = (u64::from(time.subsec_nanos()) << 32) / 1_000_000_000;
        let mut packet = vec![0x80, 200, 0, 6, 0, 0, 0, self.kind.payload_type];
        packet.extend((seconds << 32 | part).to_be_bytes());
        packet.extend(self.timestamp(time).to_be_bytes());
        packet.extend([0; 8]);
        self.write(client, true, &packet);
    }

    /// The next report of the server's.
    pub fn receive(&self, client: &mut Client) -> Vec<u8> {
        match &self.way {
            Way::Udp { reports, .. } => {
                let mut bytes = vec![0; 1500];
                let length = reports.recv(&mut bytes).unwrap();
                bytes.truncate(length);
                bytes
            }
            Way::Interleaved(channel) => {
                let packet = client.packet();
                assert_eq!(packet.channel, channel + 1);
                packet.bytes
            }
        }
    }

    fn write(&self, client: &mut Client, is_report: bool, packet: &[u8]) {
        match &self.way {
            // The server may have gone.
            Way::Udp { media, reports } => {
                drop(if is_report { reports } else { media }.send(packet));
            }
            Way::Interleaved(channel) => {
                let length = u16::try_from(packet.len()).unwrap().to_be_bytes();
                let head = [b'$', channel + u8::from(is_report), length[0], length[1]];
                client.write(&[&head, packet].concat());
            }
        }
    }
}
