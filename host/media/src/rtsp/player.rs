//! A reader: units of its path, cut into packets, with reports that bring its tracks together.

use super::describe;
use super::message::{Response, Status};
use super::nal::ParameterSets;
use super::pack::Sender;
use super::rtp::ntp_now;
use super::way::{self, Event, Way};
use crate::codecs::Codec;
use crate::feed::Feed;
use crate::path::Path;
use crate::unit::{AudioCodec, Track, Unit};
use bytes::BytesMut;
use std::net::IpAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// How long the first key frame may take.
const KEY_FRAME: Duration = Duration::from_secs(5);
/// How long a publisher's audio is waited for before only video is described.
const AUDIO: Duration = Duration::from_millis(250);
/// Units that a reader may be behind. One that is further goes on at the newest picture.
const MAX_BEHIND: usize = 64;
const REPORT: Duration = Duration::from_secs(5);

pub struct Player {
    feed: Feed,
    tracks: Vec<Outgoing>,
    sets: ParameterSets,
    pub is_playing: bool,
    report_at: Instant,
}

struct Outgoing {
    track: Track,
    sender: Sender,
    /// None until it is set up.
    way: Option<Way>,
}

impl Player {
    /// Listens until it is known what there is to describe.
    pub async fn open(path: &Path) -> Result<Self, Response> {
        let codec = choose(path);
        let mut feed =
            path.listen(codec, Some(AudioCodec::Aac)).map_err(|error| Response::of(&error))?;
        let begun = Instant::now();
        let is_audio_possible = path.state.ingress_counters.is_publishing.load(Relaxed);
        let audio_by = if is_audio_possible { begun + AUDIO } else { begun };
        // Audio may come before the first key frame.
        feed.needs_key_frame = false;
        let (mut key_frame, mut audio) = (None, None);
        while key_frame.is_none() || (audio.is_none() && Instant::now() < audio_by) {
            let deadline = if key_frame.is_none() { begun + KEY_FRAME } else { audio_by };
            match tokio::time::timeout_at(deadline.into(), feed.next()).await {
                Ok(Some(Unit { track: Track::Audio(format), .. })) => audio = Some(format),
                Ok(Some(unit)) if unit.is_key_frame => key_frame = Some(unit),
                Ok(Some(_)) => {}
                Ok(None) => {
                    return Err(Response::refusal(Status::NotFound, "the stream is being deleted"));
                }
                Err(_) => break,
            }
        }
        let Some(key_frame) = key_frame else {
            return Err(Response::refusal(
                Status::ServiceUnavailable,
                "no picture was encoded in time",
            ));
        };
        let tracks = std::iter::once(Track::Video(codec)).chain(audio.map(Track::Audio));
        let tracks = tracks.enumerate().map(|(index, track)| {
            let sender = Sender::new(&track, describe::payload_type(index));
            Outgoing { track, sender, way: None }
        });
        let sets = ParameterSets::of(codec, &key_frame.data);
        Ok(Self { feed, tracks: tracks.collect(), sets, is_playing: false, report_at: begun })
    }

    pub fn describe(&self, local: IpAddr) -> String {
        let tracks: Vec<_> = self.tracks.iter().map(|each| each.track.clone()).collect();
        describe::describe(&tracks, &self.sets, local)
    }

    /// The track that the URL of a request names.
    pub fn find(&self, url: &str) -> Option<usize> {
        let is_named = |index: &usize| url.ends_with(&describe::control(*index));
        (0..self.tracks.len()).find(is_named)
    }

    /// Gives a track its way, and its `Transport` for the answer.
    pub fn set_up(&mut self, track: usize, way: Way) -> Option<String> {
        if self.tracks.iter().enumerate().any(|(other, each)| {
            other != track && each.way.as_ref().is_some_and(|other| other.overlaps(&way))
        }) {
            return None;
        }
        let Outgoing { sender, way: own, .. } = self.tracks.get_mut(track)?;
        let header = way.header(Some(sender.source()));
        *own = Some(way);
        Some(header)
    }

    pub fn ways(&self) -> impl Iterator<Item = (usize, &Way)> {
        ways(&self.tracks)
    }

    /// Begins with the next key frame.
    pub fn play(&mut self) {
        self.is_playing = true;
        self.report_at = Instant::now();
        self.feed.restart();
    }

    /// What there is to do next. May be dropped and called again.
    pub async fn next(&mut self, datagram: &mut Vec<u8>) -> Event {
        if self.is_playing && self.feed.units.len() > MAX_BEHIND {
            self.feed.restart();
        }
        let (is_playing, ended) = (self.is_playing, self.feed.ended.clone());
        tokio::select! {
            unit = self.feed.next(), if is_playing => unit.map_or(ENDED, Event::Send),
            () = ended.cancelled(), if !is_playing => ENDED,
            event = way::receive(|| ways(&self.tracks), datagram) => event,
        }
    }

    pub fn send(&mut self, unit: &Unit, out: &mut BytesMut) {
        let now = Instant::now();
        if now >= self.report_at {
            self.report_at = now + REPORT;
            self.report(now, out);
        }
        // Audio of another form than was described cannot be told to the reader any more.
        let Some(Outgoing { sender, way: Some(way), .. }) =
            self.tracks.iter_mut().find(|each| each.track == unit.track)
        else {
            return;
        };
        sender.send(unit, |packet| way.send(false, packet, out));
    }

    fn report(&self, now: Instant, out: &mut BytesMut) {
        let since_opened = now.saturating_duration_since(self.feed.path.egress.opened_at);
        let ntp = ntp_now();
        for Outgoing { sender, way, .. } in &self.tracks {
            let ticks = since_opened.as_nanos() * u128::from(sender.rate()) / 1_000_000_000;
            if let Some(way) = way {
                way.send(true, &sender.report(ntp, ticks as u64), out);
            }
        }
    }
}

/// As the stream's params have it, if that can be encoded here, else the best that can.
fn choose(path: &Path) -> Codec {
    let codecs = || path.context.codecs.encoders().map(|(codec, _)| codec);
    let preferred = path.state.egress.preferred_codec();
    let preferred = preferred.filter(|preferred| codecs().any(|codec| codec == *preferred));
    preferred.or_else(|| codecs().next()).unwrap_or(Codec::H264)
}

const ENDED: Event = Event::Over("the stream ended");

fn ways(tracks: &[Outgoing]) -> impl Iterator<Item = (usize, &Way)> {
    tracks.iter().enumerate().filter_map(|(index, track)| Some((index, track.way.as_ref()?)))
}
