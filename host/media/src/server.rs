//! Starts the media server, opens paths on it, and negotiates their sessions.

use crate::answer;
use crate::audio::{Audio, Outlet};
use crate::codecs::{Codec, Codecs};
use crate::config::{MediaConfig, MediaStartError};
use crate::congestion::Congestion;
use crate::egress::{Egress, EgressState};
use crate::hub::{Command, Hub, HubHandle, Inbox};
use crate::negotiate::{Choice, Role, choose};
use crate::net::Net;
use crate::offer::{Offer, invalid};
use crate::outputs::Outputs;
use crate::path::{Path, PathState};
use crate::paths::Paths;
use crate::peer::{AudioTrack, Peer};
use crate::recording::recover;
use crate::rtmp::{Restreaming, Restreams};
use crate::sockets::{Announced, bind};
use crate::tcp;
use crate::unit::Unit;
use gstreamer as gst;
use host_ports::{IngressSink, MediaPath, MediaServer, OfferError, SessionId, VideoAbilities};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use str0m::change::SdpOffer;
use str0m::config::{CryptoProvider, DtlsCert};
use str0m::format::FormatParams;
use str0m::media::{Frequency, Mid, Pt};
use str0m::rtp::{Extension, ExtensionMap};
use str0m::{Rtc, RtcConfig};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, broadcast, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Of an offer that the library panicked at.
pub const PANICKED: &str = "it cannot be understood";

/// Commands that may wait; a full channel refuses new sessions.
const COMMANDS: usize = 64;

/// Encoded frames of all paths that may wait for the hub; a full channel drops them and forces key frames.
const UNITS: usize = 64;

/// Units of a path that a reader without a peer connection may fall behind: about a second of video and audio.
const FEED: usize = 128;

/// Packets of all TCP connections that may wait for the hub; a full channel makes their senders wait.
const TCP_EVENTS: usize = 256;

/// How long a lost packet is waited for before its frame is given up: on a way of 100 ms there and back, long enough to
/// ask for it twice.
const REORDERING: Duration = Duration::from_millis(250);

/// More packets than any key frame has: with less, a large one would be given up half received.
const REORDERING_PACKETS: usize = 2000;

/// How often a reader's way is judged anew.
const REPORTS: Duration = Duration::from_secs(1);

/// What a reader may ask for again: about a second of video. Nobody waits longer for it.
const RESENT_PACKETS: usize = 1024;
const RESENT_AGE: Duration = Duration::from_secs(1);

/// How much of what a reader is sent may be sent again: jitter makes readers ask for packets that are only late, so that
/// less would leave nothing for the lost ones.
const RESENT_SHARE: f32 = 0.5;

/// The embedded media server. Runs until it is stopped, or it and all its paths are dropped.
pub struct Media {
    hub: HubHandle,
    context: Arc<Context>,
    next_path: AtomicU64,
    pub(crate) paths: Arc<Paths>,
}

/// What sessions are made from.
pub(crate) struct Context {
    pub config: MediaConfig,
    pub codecs: Arc<Codecs>,
    crypto: Arc<CryptoProvider>,
    certificate: DtlsCert,
    announced: Announced,
    units: mpsc::Sender<Unit>,
    pub restreaming: Arc<Restreaming>,
    /// Recordings under way, and what ends them all.
    pub recorders: TaskTracker,
    pub stopping: CancellationToken,
}

/// A connection to a peer that is yet to come.
pub(crate) struct Negotiated {
    codec: Codec,
    rtc: Rtc,
    mid: Mid,
    pt: Pt,
    audio: Option<AudioTrack>,
    /// The answer.
    pub sdp: String,
}

impl Media {
    /// Binds the media port and starts the task that serves it. Must be called inside a tokio runtime.
    pub fn start(config: MediaConfig) -> Result<Arc<Self>, MediaStartError> {
        let runtime = Handle::try_current().map_err(|_| MediaStartError::NoRuntime)?;
        gst::init().map_err(MediaStartError::GStreamer)?;
        let sockets = bind(&config)?;
        recover(&config.recordings.folder);

        let (commands, command_inbox) = mpsc::channel(COMMANDS);
        let (units, unit_inbox) = mpsc::channel(UNITS);
        let context = Arc::new(Context::new(config, sockets.announced, units)?);
        let config = &context.config;
        let (tcp_events, tcp_inbox) = mpsc::channel(TCP_EVENTS);
        let mut listeners = JoinSet::new();
        for listener in sockets.tcp {
            listeners.spawn_on(tcp::listen(listener, tcp_events.clone()), &runtime);
        }
        let net = Net::new(sockets.udp, config.max_sessions * 2, config.connect_timeout);
        let inbox = Inbox { commands: command_inbox, units: unit_inbox, tcp: tcp_inbox, listeners };
        runtime.spawn(Hub::new(net).run(inbox));

        let hub =
            HubHandle { commands, runtime, places: Arc::new(Semaphore::new(config.max_sessions)) };
        let paths = Arc::default();
        let (port, codecs) = (context.announced.port, &context.codecs);
        let decoders: Vec<_> = codecs.decoders().map(|(_, element)| element).collect();
        let encoders: Vec<_> = codecs.encoders().map(|(_, element)| element).collect();
        tracing::info!(port, ?decoders, ?encoders, "media server started");
        Ok(Arc::new(Self { hub, context, next_path: AtomicU64::new(1), paths }))
    }

    /// The UDP and TCP port of all media.
    pub fn port(&self) -> u16 {
        self.context.announced.port
    }

    /// The codec elements found on this machine.
    pub fn codecs(&self) -> &Codecs {
        &self.context.codecs
    }

    /// For the other doors.
    pub(crate) fn paths(&self) -> &Arc<Paths> {
        &self.paths
    }

    /// Ends all sessions and frees the port.
    pub async fn stop(&self) {
        // What is recorded is to be whole.
        self.context.stopping.cancel();
        self.context.recorders.close();
        self.context.recorders.wait().await;
        let (done, stopped) = oneshot::channel();
        if self.hub.commands.send(Command::Stop(done)).await.is_ok() {
            // An error means that the hub ended by itself.
            let _ = stopped.await;
        }
    }
}

impl MediaServer for Media {
    fn video_abilities(&self) -> VideoAbilities {
        self.context.codecs.abilities()
    }

    fn open(&self, stream: &str, ingress: Arc<dyn IngressSink>) -> Arc<dyn MediaPath> {
        let (path, opened_at) = (self.next_path.fetch_add(1, Ordering::Relaxed), Instant::now());
        let feeds = broadcast::Sender::new(FEED);
        let outlet = Outlet {
            path,
            opened_at,
            units: self.context.units.clone(),
            feeds: feeds.clone(),
            runtime: self.hub.runtime.clone(),
        };
        let egress = Egress {
            path,
            opened_at,
            audio: Arc::new(Audio::new(self.context.codecs.clone(), outlet)),
            codecs: self.context.codecs.clone(),
            bitrate_kbps: self.context.config.bitrate_kbps,
            units: self.context.units.clone(),
            feeds,
            counters: Arc::default(),
            state: Mutex::new(EgressState::default()),
            has_shown: watch::Sender::new(false),
        };
        let state = Arc::new(PathState::new(stream.to_owned(), ingress, egress));
        let (hub, context, outputs) = (self.hub.clone(), self.context.clone(), Outputs::default());
        let path = Arc::new_cyclic(|me| {
            let (me, restreams) = (me.clone(), Restreams::default());
            Path { state, hub, context, outputs, me, restreams }
        });
        self.paths.insert(stream, &path);
        path
    }
}

impl Context {
    /// What negotiating takes, beside the channel that encoded frames of its paths go to.
    pub fn new(
        config: MediaConfig,
        announced: Announced,
        units: mpsc::Sender<Unit>,
    ) -> Result<Self, MediaStartError> {
        let codecs = Arc::new(Codecs::probe()?);
        let crypto = Arc::new(str0m::crypto::from_feature_flags());
        let certificate =
            crypto.dtls_provider.generate_certificate().ok_or(MediaStartError::Certificate)?;
        let restreaming = Arc::new(Restreaming::new(config.restream.clone())?);
        let (recorders, stopping) = (TaskTracker::new(), CancellationToken::new());
        Ok(Self {
            config,
            codecs,
            crypto,
            certificate,
            announced,
            units,
            restreaming,
            recorders,
            stopping,
        })
    }

    /// Makes a peer that suits an offer, and the answer to it.
    pub fn join(
        &self,
        offer: &str,
        role: Role,
        path: &Arc<PathState>,
        session: &SessionId,
    ) -> Result<(Peer, String), OfferError> {
        let preferred = path.egress.preferred_codec().filter(|_| role == Role::Reader);
        let Negotiated { codec, rtc, mid, pt, audio, sdp } =
            self.negotiate(offer, role, preferred)?;
        let now = Instant::now();
        let peer = Peer {
            session: session.clone(),
            path: path.clone(),
            role,
            codec,
            rtc,
            mid,
            pt,
            audio,
            ticket: None,
            wake_at: now,
            connect_by: now + self.config.connect_timeout,
            is_connected: false,
            addresses: 0,
            receiving: None,
            asked_at: None,
            needs_key_frame: true,
            congestion: Congestion::new(self.config.bitrate_kbps),
        };
        Ok((peer, sdp))
    }

    /// Makes a connection that suits an offer, with the preferred codec if it can be, and the answer to it.
    pub fn negotiate(
        &self,
        offer: &str,
        role: Role,
        preferred: Option<Codec>,
    ) -> Result<Negotiated, OfferError> {
        // SDP allows tabs. Answers and refusals repeat words of the offer, and should have none.
        let offer = offer.replace('\t', " ");
        let offer = Offer::parse(&offer)?;
        let usable = self.usable(role, preferred);
        let mut choice = choose(&offer, (role, true), &usable)?;
        let mut connected = self.try_connect(&choice, role);
        if choice.audio.is_some() && connected.is_err() {
            // Video is not refused for what is wrong with the audio beside it.
            choice = choose(&offer, (role, false), &usable)?;
            connected = self.try_connect(&choice, role);
        }
        let (rtc, inner) = connected?;
        let candidates = [self.announced.public(), self.announced.local()].concat();
        let sdp = answer::complete(&offer, &choice, role, &inner, &candidates);
        Ok(Negotiated {
            codec: choice.payload.codec,
            rtc,
            mid: Mid::from(choice.mid),
            pt: choice.payload.number.into(),
            audio: choice
                .audio
                .map(|audio| AudioTrack { mid: Mid::from(audio.mid), pt: audio.number.into() }),
            sdp,
        })
    }

    /// Codecs for a role, best first.
    fn usable(&self, role: Role, preferred: Option<Codec>) -> Vec<Codec> {
        let mut codecs: Vec<_> = match role {
            Role::Publisher => self.codecs.decoders().map(|(codec, _)| codec).collect(),
            Role::Reader => self.codecs.encoders().map(|(codec, _)| codec).collect(),
        };
        codecs.dedup();
        // Stable: the others stay in their order.
        codecs.sort_by_key(|codec| Some(*codec) != preferred);
        codecs
    }

    /// The library is given only what we wrote ourselves; should it panic all the same, it was the offer's fault.
    fn try_connect(&self, choice: &Choice<'_>, role: Role) -> Result<(Rtc, String), OfferError> {
        let connected = catch_unwind(AssertUnwindSafe(|| self.connect(choice, role)));
        connected.unwrap_or_else(|_| Err(invalid(PANICKED)))
    }

    fn connect(&self, choice: &Choice<'_>, role: Role) -> Result<(Rtc, String), OfferError> {
        let refused =
            |error: &dyn std::fmt::Display| invalid(format!("it cannot be negotiated: {error}"));
        let offer = SdpOffer::from_sdp_string(&choice.reduced).map_err(|error| refused(&error))?;
        let mut rtc = self.rtc_config(choice, role).build(Instant::now());
        for candidate in self.announced.local() {
            rtc.add_local_candidate(candidate);
        }
        let answer =
            rtc.sdp_api().accept_offer(offer).map_err(|error| refused(&error))?.to_sdp_string();
        let has_payload = rtc.writer(Mid::from(choice.mid)).is_some_and(|writer| {
            writer.payload_params().any(|params| *params.pt() == choice.payload.number)
        });
        if !has_payload {
            let codec = choice.payload.codec.name();
            return Err(invalid(format!("its {codec} parameters cannot be negotiated")));
        }
        if role == Role::Reader
            && let Some(video) = rtc.direct_api().stream_tx_by_mid(Mid::from(choice.mid), None)
        {
            video.set_rtx_cache(RESENT_PACKETS, RESENT_AGE, Some(RESENT_SHARE));
        }
        Ok((rtc, answer))
    }

    fn rtc_config(&self, choice: &Choice<'_>, role: Role) -> RtcConfig {
        let mut extensions = ExtensionMap::empty();
        extensions.set(1, Extension::RtpMid);
        match role {
            // Lets the sender estimate what the way to us can carry.
            Role::Publisher => extensions.set(2, Extension::TransportSequenceNumber),
            Role::Reader => extensions.set(2, Extension::PlayoutDelay),
        }
        let mut config = RtcConfig::new()
            .set_crypto_provider(self.crypto.clone())
            .set_dtls_cert(self.certificate.clone())
            .set_ice_lite(true)
            .set_stats_interval(matches!(role, Role::Reader).then_some(REPORTS))
            .clear_codecs()
            .set_extension_map(extensions)
            .set_reordering_size_video(REORDERING_PACKETS)
            .set_reordering_timeout_video(Some(REORDERING))
            .set_reordering_timeout_audio(Some(REORDERING));
        let payload = &choice.payload;
        let codec = match payload.codec {
            Codec::H264 => str0m::format::Codec::H264,
            Codec::Vp8 => str0m::format::Codec::Vp8,
            Codec::Vp9 => str0m::format::Codec::Vp9,
            Codec::H265 => str0m::format::Codec::H265,
        };
        let resend = payload.retransmission.map(Into::into);
        let format = match payload.codec {
            Codec::Vp8 => FormatParams::default(),
            Codec::Vp9 => FormatParams { profile_id: Some(0), ..FormatParams::default() },
            Codec::H265 => FormatParams {
                h265_profile_tier_level: payload.level_id.map(|level| (1, 0, level).into()),
                ..FormatParams::default()
            },
            Codec::H264 => FormatParams {
                level_asymmetry_allowed: Some(true),
                packetization_mode: payload.packetization_mode.map(|mode| mode.min(1)),
                profile_level_id: payload.profile_level_id,
                ..FormatParams::default()
            },
        };
        let clock = Frequency::NINETY_KHZ;
        let codecs = config.codec_config();
        codecs.add_config(payload.number.into(), resend, codec, clock, None, format);
        if let Some(audio) = &choice.audio {
            let (opus, clock) = (str0m::format::Codec::Opus, Frequency::FORTY_EIGHT_KHZ);
            codecs.add_config(
                audio.number.into(),
                None,
                opus,
                clock,
                Some(2),
                opus_parameters(role),
            );
        }
        config
    }
}

/// Publishers may send stereo, and forward error correction.
fn opus_parameters(role: Role) -> FormatParams {
    FormatParams {
        min_p_time: Some(10),
        use_inband_fec: Some(true),
        stereo: (role == Role::Publisher).then_some(true),
        ..FormatParams::default()
    }
}
