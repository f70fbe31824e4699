//! For the fuzz target: what a publisher sends, read and put together without sockets, sessions and threads.

use super::announce::Announcement;
use super::assemble::{Assembly, Piece};
use super::credentials::stream_key;
use super::message::{Message, Request, read};
use super::reorder::Reorder;
use super::rtp::{Packet, SenderReport};
use super::transport::Transport;
use crate::rtp_clock::RtpClock;
use bytes::{Bytes, BytesMut};
use std::time::{Duration, Instant};

#[derive(Default)]
struct Publisher {
    tracks: Vec<(Reorder, RtpClock, Assembly)>,
    whole: Vec<Piece>,
}

/// Whether a picture or a sound came out.
pub fn publish(data: &[u8]) -> bool {
    let (mut received, mut publisher) = (BytesMut::from(data), Publisher::default());
    while let Ok(Some(message)) = read(&mut received) {
        match message {
            Message::Request(request) => publisher.request(&request),
            Message::Packet(channel, bytes) => publisher.packet(channel, bytes),
            Message::Response => {}
        }
    }
    !publisher.whole.is_empty()
}

impl Publisher {
    fn request(&mut self, request: &Request) {
        let _ = (stream_key(request), request.header("transport").and_then(Transport::choose));
        if let Ok(announced) = Announcement::parse(&request.body) {
            let _ = announced.find(&request.url);
            let tracks = announced.tracks.iter().map(|track| {
                let (clock, assembly) = (RtpClock::new(track.rate), Assembly::new(&track.kind));
                (Reorder::new(Duration::ZERO), clock, assembly)
            });
            self.tracks = tracks.collect();
        }
    }

    fn packet(&mut self, channel: u8, bytes: Bytes) {
        let now = Instant::now();
        let Some((reorder, clock, assembly)) = self.tracks.get_mut(usize::from(channel / 2)) else {
            return;
        };
        let report = SenderReport::parse(&bytes);
        if let Some((wall, report)) = report.and_then(|report| Some((report.wall()?, report))) {
            clock.report(report.timestamp, wall);
        }
        let Some(packet) = Packet::parse(&bytes) else {
            return;
        };
        reorder.push(packet.sequence, bytes.clone(), now);
        while let Some(turn) = reorder.pop(now) {
            if let Some(packet) = Packet::parse(&turn.bytes) {
                let time = clock.read(packet.timestamp);
                assembly.take((&packet, time), turn.missing == 0, &mut self.whole);
            }
        }
    }
}
