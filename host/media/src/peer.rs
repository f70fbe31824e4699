//! One peer connection: a publisher whose frames are decoded, or a reader who is sent what is encoded.

use crate::audio::Source;
use crate::codecs::Codec;
use crate::congestion::{Congestion, Report};
use crate::negotiate::Role;
use crate::path::PathState;
use crate::receiving::Receiving;
use crate::unit::{AudioCodec, Track, Unit};
use host_ports::SessionId;
use std::sync::Arc;
use std::time::{Duration, Instant};
use str0m::media::{Frequency, KeyframeRequestKind, MediaData, MediaTime, Mid, Pt, SenderFeedback};
use str0m::net::Transmit;
use str0m::{Event, IceConnectionState, Input, Output, Rtc};
use tokio::sync::OwnedSemaphorePermit;

/// How often a publisher is asked for a key frame until it sends one.
pub(crate) const ASK_AGAIN: Duration = Duration::from_millis(300);

/// Every peer is looked at once in this time.
const HEARTBEAT: Duration = Duration::from_secs(1);

pub(crate) struct Peer {
    pub session: SessionId,
    pub path: Arc<PathState>,
    pub role: Role,
    pub codec: Codec,
    pub rtc: Rtc,
    pub mid: Mid,
    pub pt: Pt,
    pub audio: Option<AudioTrack>,
    /// Its place among all sessions of the server.
    pub ticket: Option<OwnedSemaphorePermit>,
    /// When it wants to be looked at again.
    pub wake_at: Instant,
    pub connect_by: Instant,
    pub is_connected: bool,
    /// Remote addresses that its packets came from.
    pub addresses: usize,
    /// A publisher's half of the state, once it is connected.
    pub receiving: Option<Receiving>,
    /// When it was last asked for a key frame.
    pub asked_at: Option<Instant>,
    /// A reader that cannot go on.
    pub needs_key_frame: bool,
    /// A reader's.
    pub congestion: Congestion,
}

/// Where a peer's audio goes in its connection: always Opus.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AudioTrack {
    pub mid: Mid,
    pub pt: Pt,
}

/// How a peer stands after it was given something to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    Going,
    /// It has just been connected.
    Connected,
    Ended(String),
}

impl Peer {
    /// Does all that is due now. Must be called after everything that changes the connection.
    pub fn advance(&mut self, now: Instant, mut transmit: impl FnMut(Transmit)) -> Progress {
        let was_connected = self.is_connected;
        loop {
            match self.rtc.poll_output() {
                Ok(Output::Timeout(at)) => {
                    self.wake_at = at.min(now + HEARTBEAT);
                    break;
                }
                Ok(Output::Transmit(packet)) => transmit(packet),
                Ok(Output::Event(event)) => {
                    if let Some(reason) = self.on(event, now) {
                        return Progress::Ended(reason);
                    }
                }
                Err(error) => return Progress::Ended(error.to_string()),
            }
        }
        match (was_connected, self.is_connected) {
            _ if !self.rtc.is_alive() => {
                Progress::Ended("the peer closed the connection".to_owned())
            }
            (false, false) if now >= self.connect_by => {
                Progress::Ended("it did not connect in time".to_owned())
            }
            (false, true) => Progress::Connected,
            _ => Progress::Going,
        }
    }

    pub fn input(&mut self, input: Input) -> Result<(), String> {
        self.rtc.handle_input(input).map_err(|error| error.to_string())
    }

    /// Starts what a connected peer needs: a publisher's decoder, a reader's first key frame.
    pub fn begin(&mut self, source: Option<Source>) -> std::io::Result<()> {
        self.needs_key_frame = true;
        match source {
            None => self.path.egress.want_key_frame(self.codec),
            Some(source) => {
                self.receiving = Some(Receiving::start(&self.path, self.codec, source)?);
            }
        }
        Ok(())
    }

    /// The codec of its audio; none if there is none.
    pub fn audio_codec(&self) -> Option<AudioCodec> {
        self.audio.map(|_| AudioCodec::Opus)
    }

    /// Sends what was encoded to a reader.
    pub fn send(&mut self, unit: &Unit) {
        if !self.is_connected || self.role != Role::Reader {
            return;
        }
        match &unit.track {
            Track::Video(codec) if *codec == self.codec => self.send_video(unit),
            Track::Audio(format) if format.codec == AudioCodec::Opus => self.send_audio(unit),
            Track::Video(_) | Track::Audio(_) => {}
        }
    }

    fn send_audio(&mut self, unit: &Unit) {
        let Some(AudioTrack { mid, pt }) = self.audio else { return };
        let Some(writer) = self.rtc.writer(mid) else { return };
        let time = MediaTime::new(unit.ticks(48_000), Frequency::FORTY_EIGHT_KHZ);
        match writer.write(pt, unit.shown_at, time, unit.data.clone()) {
            Ok(()) => self.path.egress.counters.bytes_sent.add(unit.data.len() as u64),
            Err(error) => tracing::debug!(error = %error, "audio not sent"),
        }
    }

    fn send_video(&mut self, unit: &Unit) {
        if self.needs_key_frame && !unit.is_key_frame {
            return self.path.egress.want_key_frame(self.codec);
        }
        let Some(writer) = self.rtc.writer(self.mid) else { return };
        // The browser shows frames as they come instead of collecting them against jitter.
        let now = MediaTime::from_90khz(0);
        let time = MediaTime::from_90khz(unit.ticks(90_000));
        let written =
            writer.playout_delay(now, now).write(self.pt, unit.shown_at, time, unit.data.clone());
        match written {
            Ok(()) => {
                self.needs_key_frame = false;
                self.path.egress.counters.bytes_sent.add(unit.data.len() as u64);
            }
            Err(error) => tracing::debug!(error = %error, "frame not sent"),
        }
    }

    fn on(&mut self, event: Event, now: Instant) -> Option<String> {
        match event {
            Event::Connected => self.is_connected = true,
            Event::KeyframeRequest(_) => self.path.egress.want_key_frame(self.codec),
            Event::MediaEgressStats(report)
                if report.mid == self.mid && self.role == Role::Reader =>
            {
                if let Some(lost) = report.loss {
                    self.congest(Report { lost, round_trip: report.rtt });
                }
            }
            Event::MediaData(data) if self.role == Role::Publisher => self.receive(data, now),
            Event::SenderFeedback(report) => self.report(&report),
            Event::IceConnectionStateChange(IceConnectionState::Disconnected) => {
                return Some("the peer is not heard of any more".to_owned());
            }
            _ => {}
        }
        None
    }

    fn congest(&mut self, report: Report) {
        let egress = &self.path.egress;
        if let Some(sent_kbps) = egress.bitrate(self.codec) {
            let kbps = self.congestion.note(report, sent_kbps);
            egress.note_estimate(&self.session, self.codec, kbps);
        }
    }

    fn receive(&mut self, data: MediaData, now: Instant) {
        let Some(receiving) = &mut self.receiving else { return };
        if self.audio.is_some_and(|audio| audio.mid == data.mid) {
            receiving.audio(data, now);
        } else if !receiving.video(data, now) {
            self.ask_for_key_frame(now);
        }
    }

    fn report(&mut self, report: &SenderFeedback) {
        let is_audio = self.audio.is_some_and(|audio| audio.mid == report.mid);
        if let Some(receiving) = &mut self.receiving {
            receiving.report(report, is_audio);
        }
    }

    fn ask_for_key_frame(&mut self, now: Instant) {
        if self.asked_at.is_some_and(|asked_at| now < asked_at + ASK_AGAIN) {
            return;
        }
        self.asked_at = Some(now);
        let asked = self
            .rtc
            .writer(self.mid)
            .map(|mut writer| writer.request_keyframe(None, KeyframeRequestKind::Pli));
        if let Some(Err(error)) = asked {
            tracing::debug!(error = %error, "key frame not asked for");
        }
    }
}
