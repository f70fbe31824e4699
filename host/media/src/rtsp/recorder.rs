//! A publisher: its packets, put in order and together, given to its path.

use super::announce::{self, Announcement};
use super::assemble::{Assembly, Piece};
use super::reorder::Reorder;
use super::rtp::{Packet, SenderReport, write_picture_loss};
use super::statistics::Statistics;
use super::way::{self, Event, Way};
use crate::audio::Nanos;
use crate::peer::ASK_AGAIN;
use crate::publisher::Publisher;
use crate::rtp_clock::RtpClock;
use bytes::{Bytes, BytesMut};
use std::time::{Duration, Instant};

/// How long a packet by UDP is waited for. In a connection none is overtaken.
const PATIENCE: Duration = Duration::from_millis(40);
const REPORT: Duration = Duration::from_secs(5);

/// What was announced, and the ways of its tracks as they are set up.
pub struct Prepared {
    pub stream: String,
    pub announcement: Announcement,
    pub ways: Vec<Option<Way>>,
}

impl Prepared {
    pub fn new(stream: String, announcement: Announcement) -> Self {
        let ways = announcement.tracks.iter().map(|_| None).collect();
        Self { stream, announcement, ways }
    }

    /// Gives a track its way, and its `Transport` for the answer.
    pub fn set_up(&mut self, track: usize, way: Way) -> Option<String> {
        let mut others = self.ways.iter().enumerate().filter(|(other, _)| *other != track);
        if others.any(|(_, other)| other.as_ref().is_some_and(|other| other.overlaps(&way))) {
            return None;
        }
        let header = way.header(None);
        *self.ways.get_mut(track)? = Some(way);
        Some(header)
    }

    pub fn has_video(&self) -> bool {
        let mut tracks = self.announcement.tracks.iter().zip(&self.ways);
        tracks.any(|(track, way)| matches!(track.kind, announce::Kind::Video(..)) && way.is_some())
    }
}

pub struct Recorder {
    publisher: Publisher,
    tracks: Vec<Incoming>,
    /// How the clocks of audio and video are related, as last told.
    skew: Option<Nanos>,
    /// When its last packet came.
    pub heard_at: Instant,
    /// Who we are in reports.
    source: u32,
    report_at: Instant,
    /// The last picture could not be decoded.
    is_lost: bool,
    /// When it was last asked for a key frame.
    asked_at: Option<Instant>,
    whole: Vec<Piece>,
}

struct Incoming {
    payload_type: u8,
    way: Option<Way>,
    reorder: Reorder,
    /// Whose packets come.
    source: Option<u32>,
    clock: RtpClock,
    is_audio: bool,
    assembly: Assembly,
    statistics: Statistics,
}

impl Recorder {
    pub fn new(publisher: Publisher, prepared: Prepared) -> Self {
        let tracks = prepared.announcement.tracks.into_iter().zip(prepared.ways);
        let tracks = tracks.map(|(track, way)| {
            let is_udp = way.as_ref().is_some_and(Way::is_udp);
            Incoming {
                payload_type: track.payload_type,
                way,
                reorder: Reorder::new(if is_udp { PATIENCE } else { Duration::ZERO }),
                source: None,
                clock: RtpClock::new(track.rate),
                is_audio: matches!(track.kind, announce::Kind::Audio(..)),
                assembly: Assembly::new(&track.kind),
                statistics: Statistics::new(track.rate),
            }
        });
        let now = Instant::now();
        Self {
            publisher,
            tracks: tracks.collect(),
            skew: None,
            heard_at: now,
            source: uuid::Uuid::new_v4().as_u128() as u32,
            report_at: now + REPORT,
            is_lost: false,
            asked_at: None,
            whole: Vec::new(),
        }
    }

    /// What there is to do next. May be dropped and called again.
    pub async fn next(&mut self, datagram: &mut Vec<u8>) -> Event {
        tokio::select! {
            () = self.publisher.ended().cancelled() => Event::Over("replaced by a newer publisher, or the stream ended"),
            event = way::receive(|| self.ways(), datagram) => event,
        }
    }

    pub fn ways(&self) -> impl Iterator<Item = (usize, &Way)> {
        self.tracks
            .iter()
            .enumerate()
            .filter_map(|(index, track)| Some((index, track.way.as_ref()?)))
    }

    /// Takes a packet of a track, or a report on it. What is to be sent goes to `out`.
    pub fn take(&mut self, track: usize, is_report: bool, bytes: Bytes, out: &mut BytesMut) {
        let now = Instant::now();
        match is_report {
            true => self.take_report(track, &bytes, now),
            false => self.take_packet(track, bytes, now),
        }
        self.relate();
        self.ask_for_key_frame(now, out);
        if now >= self.report_at {
            self.report_at = now + REPORT;
            self.report(now, out);
        }
    }

    fn take_report(&mut self, track: usize, bytes: &[u8], now: Instant) {
        let report = SenderReport::parse(bytes);
        if let Some((report, track)) = report.zip(self.tracks.get_mut(track)) {
            track.statistics.take(&report, now);
            if track.source.is_none_or(|source| source == report.source)
                && let Some(wall) = report.wall()
            {
                track.clock.report(report.timestamp, wall);
            }
        }
    }

    fn take_packet(&mut self, track: usize, bytes: Bytes, now: Instant) {
        let (Some(track), Some(packet)) = (self.tracks.get_mut(track), Packet::parse(&bytes))
        else {
            return;
        };
        if packet.payload_type != track.payload_type {
            return;
        }
        self.heard_at = now;
        track.reorder.push(packet.sequence, bytes, now);
        while let Some(turn) = track.reorder.pop(now) {
            let counters = &self.publisher.path.ingress_counters;
            counters.packets_received.add(1);
            counters.packets_lost.add(turn.missing);
            if turn.is_renumbered {
                track.statistics.begin_anew();
            }
            if let Some(packet) = Packet::parse(&turn.bytes) {
                track.statistics.note(turn.number, packet.timestamp, packet.source, now);
                if track.source.replace(packet.source).is_some_and(|last| last != packet.source) {
                    track.clock.restart();
                }
                let time = track.clock.read(packet.timestamp);
                track.assembly.take((&packet, time), turn.missing == 0, &mut self.whole);
            }
        }
        for piece in self.whole.drain(..) {
            match piece {
                Piece::Video(data, time) => self.is_lost = !self.publisher.video(data, time, now),
                Piece::Audio(format, data, time) => self.publisher.audio(&format, data, time, now),
            }
        }
    }

    /// Tells how the tracks' clocks are related, once their reports say so and whenever that changes.
    fn relate(&mut self) {
        let clock = |is_audio| {
            self.tracks.iter().find(|track| track.is_audio == is_audio).map(|track| &track.clock)
        };
        let skew = clock(true).zip(clock(false)).and_then(|(audio, video)| audio.skew(video));
        if let Some(skew) = skew.filter(|skew| self.skew.replace(*skew) != Some(*skew)) {
            self.publisher.related(skew);
        }
    }

    /// Asks the publisher for a key frame if nothing can be decoded before one. Whatever was announced: who does not know the
    /// request leaves it aside, and the next key frame comes when it comes.
    fn ask_for_key_frame(&mut self, now: Instant, out: &mut BytesMut) {
        let Some(video) = self.tracks.iter_mut().find(|track| !track.is_audio) else { return };
        let is_waiting = self.is_lost || video.assembly.needs_key_frame();
        let is_patient = self.asked_at.is_some_and(|asked_at| now < asked_at + ASK_AGAIN);
        if is_waiting && !is_patient {
            self.asked_at = Some(now);
            video.report((self.source, true), now, out);
        }
    }

    fn report(&mut self, now: Instant, out: &mut BytesMut) {
        for track in &mut self.tracks {
            track.report((self.source, false), now, out);
        }
    }
}

impl Incoming {
    /// Tells the publisher what came of it, and that a key frame is needed, if it is.
    fn report(
        &mut self,
        (own_source, needs_key_frame): (u32, bool),
        now: Instant,
        out: &mut BytesMut,
    ) {
        let Some(way) = &self.way else { return };
        let mut report = BytesMut::new();
        self.statistics.report(own_source, now).write(&mut report);
        if let Some(source) = self.source.filter(|_| needs_key_frame) {
            write_picture_loss(&mut report, own_source, source);
        }
        way.send(true, &report, out);
    }
}
