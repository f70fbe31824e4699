//! One client: its requests, and the session that they make. Bytes come in and go out by the caller.

use super::announce::Announcement;
use super::credentials::{CHALLENGE, stream_key};
use super::message::{self, Message, MessageError, Request, Response, Status};
use super::player::Player;
use super::recorder::{Prepared, Recorder};
use super::transport::Transport;
use super::url::Target;
use super::way::{Ends, Event, Way};
use crate::paths::Paths;
use bytes::{Bytes, BytesMut};
use host_ports::{OfferError, StreamKeys};
use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A client that has no media to take or give says something within this time.
const IDLE: Duration = Duration::from_secs(30);
/// The same of a reader by UDP, whose end nothing else tells. Clients are told, and keep it.
const READER_IDLE: Duration = Duration::from_secs(75);
/// What a client is told of it: it may be late.
const TOLD_IDLE: Duration = Duration::from_secs(60);
/// A publisher that sends no media for so long is gone.
const PUBLISHER_IDLE: Duration = Duration::from_secs(10);
/// Wrong or missing keys, then the connection is closed. Clients begin without one.
const MAX_REFUSED: u32 = 4;

const METHODS: &str = "OPTIONS, DESCRIBE, ANNOUNCE, SETUP, PLAY, PAUSE, RECORD, GET_PARAMETER, SET_PARAMETER, TEARDOWN";

/// What all connections share.
pub struct Shared {
    pub paths: Arc<Paths>,
    pub keys: Arc<dyn StreamKeys>,
}

pub struct Exchange {
    shared: Arc<Shared>,
    ends: Ends,
    /// How the client names its session.
    session: String,
    state: State,
    heard_at: Instant,
    /// Since when it has no session.
    idle_since: Instant,
    refused: u32,
    datagram: Vec<u8>,
}

enum State {
    Idle,
    /// A reader, with the stream it watches.
    Watching(String, Box<Player>),
    Announced(Prepared),
    Recording(Box<Recorder>),
}

impl Exchange {
    pub fn new(shared: Arc<Shared>, ends: Ends) -> Self {
        Self {
            shared,
            ends,
            session: uuid::Uuid::new_v4().simple().to_string(),
            state: State::Idle,
            heard_at: Instant::now(),
            idle_since: Instant::now(),
            refused: 0,
            datagram: Vec::new(),
        }
    }

    /// Takes what was received. What is to be sent goes to `out`.
    pub async fn receive(
        &mut self,
        received: &mut BytesMut,
        out: &mut BytesMut,
    ) -> Result<(), MessageError> {
        while let Some(message) = message::read(received)? {
            self.heard_at = Instant::now();
            match message {
                Message::Request(request) => {
                    let response = self.answer(&request).await;
                    tracing::trace!(
                        method = request.method,
                        status = response.status as u16,
                        "RTSP"
                    );
                    response.write(request.header("cseq"), out);
                }
                Message::Packet(channel, bytes) => self.packet(channel, bytes, out),
                Message::Response => {}
            }
        }
        Ok(())
    }

    /// When it has to be looked at, unless something happens before.
    pub fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Recording(recorder) => Some(recorder.heard_at + PUBLISHER_IDLE),
            State::Watching(_, player) if player.is_playing => {
                player.ways().any(|(_, way)| way.is_udp()).then(|| self.heard_at + READER_IDLE)
            }
            // What it says here leads nowhere, however often.
            State::Idle => Some(self.idle_since + IDLE),
            _ => Some(self.heard_at + READER_IDLE),
        }
    }

    /// Whether it showed no key so often that it is let go.
    pub fn is_suspect(&self) -> bool {
        self.refused >= MAX_REFUSED
    }

    /// What there is to do next for its media. May be dropped and called again.
    pub async fn next(&mut self) -> Event {
        match &mut self.state {
            State::Idle | State::Announced(_) => pending().await,
            State::Watching(_, player) => player.next(&mut self.datagram).await,
            State::Recording(recorder) => recorder.next(&mut self.datagram).await,
        }
    }

    /// Does it; what is to be sent goes to `out`. False if the session is over.
    pub fn on(&mut self, event: Event, out: &mut BytesMut) -> bool {
        match (event, &mut self.state) {
            (Event::Over(reason), _) => {
                tracing::debug!(reason, "RTSP session ended");
                return false;
            }
            (Event::Send(unit), State::Watching(_, player)) => player.send(&unit, out),
            (Event::Datagram { track, is_report, length }, State::Recording(recorder)) => {
                let bytes = Bytes::copy_from_slice(&self.datagram[..length]);
                recorder.take(track, is_report, bytes, out);
            }
            // A reader's report says that it is there.
            (Event::Datagram { .. }, _) => self.heard_at = Instant::now(),
            (Event::Send(_), _) => {}
        }
        true
    }

    fn packet(&mut self, channel: u8, bytes: Bytes, out: &mut BytesMut) {
        let State::Recording(recorder) = &mut self.state else { return };
        let mut ways =
            recorder.ways().filter_map(|(track, way)| Some((track, way.carries(channel)?)));
        if let Some((track, is_report)) = ways.next() {
            drop(ways);
            recorder.take(track, is_report, bytes, out);
        }
    }

    async fn answer(&mut self, request: &Request) -> Response {
        // Such as a way back for sound: who insists on it must know that it is not there.
        if let Some(option) = request.header("require") {
            return Response::new(Status::OptionNotSupported).with("Unsupported", option);
        }
        let answered = match request.method.as_str() {
            "OPTIONS" => Ok(Response::ok().with("Public", METHODS)),
            "DESCRIBE" => self.describe(request).await,
            "ANNOUNCE" => self.announce(request),
            "SETUP" => self.set_up(request).await,
            "PLAY" => self.of_session(request).and_then(|()| self.play()),
            "PAUSE" => self.of_session(request).and_then(|()| self.pause()),
            "RECORD" => self.of_session(request).and_then(|()| self.record()),
            "TEARDOWN" => self.of_session(request).map(|()| {
                self.state = State::Idle;
                self.idle_since = Instant::now();
                Response::ok()
            }),
            // Clients ask for nothing by them but to be heard.
            "GET_PARAMETER" | "SET_PARAMETER" => self.of_session(request).map(|()| Response::ok()),
            _ => Ok(Response::new(Status::NotImplemented).with("Allow", METHODS)),
        };
        answered.unwrap_or_else(|refusal| refusal)
    }

    /// Refuses a session that is not this connection's.
    fn of_session(&self, request: &Request) -> Result<(), Response> {
        let named = request.header("session").and_then(|session| session.split(';').next());
        match named {
            Some(named) if named.trim() != self.session => {
                Err(Response::new(Status::SessionNotFound))
            }
            _ => Ok(()),
        }
    }

    async fn describe(&mut self, request: &Request) -> Result<Response, Response> {
        let local = self.ends.local.to_canonical();
        let sdp = self.watch(&request.url).await?.describe(local);
        let base = format!("{}/", request.url.trim_end_matches('/'));
        Ok(Response::ok().with("Content-Base", base).with_body("application/sdp", sdp))
    }

    /// Becomes a reader of what the URL names, unless it is one already.
    async fn watch(&mut self, url: &str) -> Result<&mut Player, Response> {
        let unknown = || {
            Response::refusal(Status::NotFound, "there is no such output; it is at /{stream}_out")
        };
        let path = Target::parse(url).path;
        let path = path.split('/').next().unwrap_or_default();
        let stream = Target { path, query: "" }.output_of().ok_or_else(unknown)?;
        if !matches!(&self.state, State::Watching(watched, _) if watched == stream) {
            if !matches!(self.state, State::Idle | State::Watching(..)) {
                return Err(Response::new(Status::NotValidInThisState));
            }
            // The place of the one before is free for it.
            self.state = State::Idle;
            let path = self.shared.paths.get(stream).ok_or_else(unknown)?;
            let player = Player::open(&path).await?;
            self.state = State::Watching(stream.to_owned(), Box::new(player));
        }
        match &mut self.state {
            State::Watching(_, player) => Ok(player),
            _ => Err(unknown()),
        }
    }

    fn announce(&mut self, request: &Request) -> Result<Response, Response> {
        if !matches!(self.state, State::Idle | State::Announced(_)) {
            return Err(Response::new(Status::NotValidInThisState));
        }
        let stream = Target::parse(&request.url).path.to_owned();
        // Found by a hash that nobody outside can compute: how long that takes tells nothing of a key.
        let owner = stream_key(request).and_then(|key| self.shared.keys.stream_of(&key));
        if owner.is_none_or(|owner| owner != stream) {
            self.refused += 1;
            let reason = "publish to /{stream} with its stream key as password, or as ?key=";
            let refusal = Response::refusal(Status::Unauthorized, reason);
            return Err(refusal.with("WWW-Authenticate", CHALLENGE));
        }
        let announcement = Announcement::parse(&request.body)?;
        self.state = State::Announced(Prepared::new(stream, announcement));
        Ok(Response::ok())
    }

    async fn set_up(&mut self, request: &Request) -> Result<Response, Response> {
        self.of_session(request)?;
        let transport =
            request.header("transport").and_then(Transport::choose).ok_or_else(|| {
                let supported = "RTP/AVP/TCP;unicast and RTP/AVP;unicast;client_port=…";
                Response::refusal(
                    Status::UnsupportedTransport,
                    format!("supported are {supported}"),
                )
            })?;
        let ends = self.ends;
        let open = |track| {
            Way::open(transport, ends, track).map_err(|error| {
                let reason = format!("no UDP ports for the track: {error}");
                Response::refusal(Status::ServiceUnavailable, reason)
            })
        };
        let unknown = || Response::refusal(Status::NotFound, "there is no such track");
        let header = match &mut self.state {
            State::Announced(prepared) => {
                let track = prepared.announcement.find(&request.url).ok_or_else(unknown)?;
                prepared.set_up(track, open(track)?)
            }
            State::Recording(_) => return Err(Response::new(Status::NotValidInThisState)),
            State::Idle | State::Watching(..) => {
                let player = self.watch(&request.url).await?;
                if player.is_playing {
                    return Err(Response::new(Status::NotValidInThisState));
                }
                let track = player.find(&request.url).ok_or_else(unknown)?;
                player.set_up(track, open(track)?)
            }
        };
        let header = header.ok_or_else(|| {
            Response::refusal(Status::UnsupportedTransport, "another track has these channels")
        })?;
        Ok(self.in_session().with("Transport", header))
    }

    fn play(&mut self) -> Result<Response, Response> {
        match &mut self.state {
            State::Watching(stream, player) if player.ways().next().is_some() => {
                if !player.is_playing {
                    player.play();
                    tracing::info!(path = stream, "RTSP reader plays");
                }
                Ok(self.in_session().with("Range", "npt=now-"))
            }
            _ => Err(Response::new(Status::NotValidInThisState)),
        }
    }

    fn pause(&mut self) -> Result<Response, Response> {
        match &mut self.state {
            State::Watching(_, player) => {
                player.is_playing = false;
                Ok(self.in_session())
            }
            _ => Err(Response::new(Status::NotValidInThisState)),
        }
    }

    fn record(&mut self) -> Result<Response, Response> {
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Announced(prepared) if prepared.has_video() => {
                let gone =
                    || Response::refusal(Status::NotFound, "the stream was deleted meanwhile");
                let path = self.shared.paths.get(&prepared.stream).ok_or_else(gone)?;
                let publisher = path.begin_publishing(prepared.announcement.codec);
                let publisher = publisher.map_err(|error| Response::of(&error))?;
                tracing::info!(path = prepared.stream, "RTSP publisher records");
                self.state = State::Recording(Box::new(Recorder::new(publisher, prepared)));
                Ok(self.in_session())
            }
            State::Recording(recorder) => {
                self.state = State::Recording(recorder);
                Ok(self.in_session())
            }
            other => {
                self.state = other;
                Err(Response::new(Status::NotValidInThisState))
            }
        }
    }

    fn in_session(&self) -> Response {
        let value = format!("{};timeout={}", self.session, TOLD_IDLE.as_secs());
        Response::ok().with("Session", value)
    }
}

impl Response {
    /// Why a session is not let in.
    pub fn of(error: &OfferError) -> Self {
        let status = match error {
            OfferError::Invalid { .. } => Status::BadRequest,
            OfferError::NoCommonCodec { .. } => Status::UnsupportedMediaType,
            OfferError::NotReady => Status::NotFound,
            OfferError::TooManyReaders { .. } => Status::NotEnoughBandwidth,
            OfferError::Unavailable { .. } => Status::ServiceUnavailable,
        };
        Self::refusal(status, error)
    }
}
