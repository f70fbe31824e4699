//! The settings as they are written: every key with what it means, in what unit, when a change counts, and its default.
//! `docs/config.md` is made of it: `cargo xtask gen`.

mod doors;
mod mediamtx;

pub use doors::{RawRtmp, RawRtsp};
pub use mediamtx::RawMediaMtx;

use serde::{Deserialize, Serialize};

/// Whole numbers are wider than what they become, so that a value out of range is reported with all the others.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RawConfig {
    /// API, page, HLS, WHIP and WHEP
    pub http: RawHttp,
    /// WebRTC
    pub media: RawMedia,
    /// RTSP
    pub rtsp: RawRtsp,
    /// RTMP, in and out
    pub rtmp: RawRtmp,
    /// STUN and TURN servers for clients
    pub ice: RawIce,
    /// MediaMTX beside the server
    pub mediamtx: RawMediaMtx,
    /// Plugins and their workers
    pub plugins: RawPlugins,
    /// Folders
    pub paths: RawPaths,
    /// Models
    pub models: RawModels,
    /// Pictures
    pub pictures: RawPictures,
    /// Recordings
    pub recordings: RawRecordings,
    /// Streams
    pub streams: RawStreams,
    /// The log
    pub log: RawLog,
}

/// Not for setting: a JSON body holds at most 20000 values, and `name` at most 100 characters. What is refused with 429 or
/// 503 says in `Retry-After` when to try again.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RawHttp {
    /// Address to listen on. On anything but a loopback address calls on `/v1/*` need a token, and the first start makes
    /// one where there is none.
    /// Needs a restart.
    pub listen: String,
    /// Port; 0 takes any free one.
    /// Needs a restart.
    pub port: i64,
    /// More ports that serve the same, for clients that look for HLS, WHIP and WHEP there; 0 takes any free one, `[]` none.
    /// Needs a restart.
    pub media_ports: Vec<i64>,
    /// File of the server's certificate in PEM, followed by those that vouch for it. With it all HTTP ports speak TLS, and
    /// nothing else. A new certificate in its place counts for the next connection, without a restart. Empty: plain HTTP.
    /// Needs a restart.
    pub tls_certificate: String,
    /// File of the certificate's private key in PEM, without a passphrase.
    /// Needs a restart.
    pub tls_key: String,
    /// What leads all URLs in answers, such as `https://video.example.com`. Empty: the proxy of RunPod,
    /// `https://{pod}-{port}.proxy.runpod.net`, where `RUNPOD_POD_ID` names the pod; else the name in `EXTERNAL_HOST`, with
    /// the port unless it names one; else, for each request, what `X-Forwarded-Proto`, `X-Forwarded-Host` and
    /// `X-Forwarded-Prefix` say; else its `Host`.
    /// Needs a restart.
    pub public_url: String,
    /// A token that allows everything on `/v1/*`, beside those that `streamdiffusion-host token` makes. Empty: none.
    /// Needs a restart.
    pub token: String,
    /// Make no token on the first start, and serve anyone until there is one, although others reach the host: for where
    /// something else keeps strangers out. `--insecure` is the same.
    /// Needs a restart.
    pub allow_without_token: bool,
    /// The one origin whose pages may call the server, or `*` for any.
    /// Needs a restart.
    pub cors_origin: String,
    /// How `GET /v1/streams` answers clients that do not accept `application/json` by name: `envelope`
    /// (`{"success":true,"data":[…]}`) or `array`.
    /// Needs a restart.
    pub list_shape: String,
    /// Let anyone publish to `/{id}/whip`. Otherwise it asks for the stream key as bearer token, since every viewer can
    /// learn the id.
    /// Needs a restart.
    pub open_whip_by_id: bool,
    /// Connections of each port at once; others wait until one ends.
    /// Needs a restart.
    pub max_connections: i64,
    /// After so many seconds in which no request begins, the head of one is not complete, or nothing of an answer is taken,
    /// a connection is closed.
    /// Needs a restart.
    pub head_timeout_seconds: i64,
    /// How long the body of a request may take, in seconds; slower ones are refused with 400.
    /// Needs a restart.
    pub body_timeout_seconds: i64,
    /// Size of a JSON body, in KiB; larger ones are refused with 413. A style image may be in it.
    /// Needs a restart.
    pub max_json_kib: i64,
    /// Size of a WHIP or WHEP offer, in KiB; larger ones are refused with 413.
    /// Needs a restart.
    pub max_sdp_kib: i64,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RawMedia {
    /// Addresses to receive media on; `0.0.0.0` and `::` stand for all interfaces.
    /// Needs a restart.
    pub listen: Vec<String>,
    /// UDP and TCP port of all media; 0 takes any free one.
    /// Needs a restart.
    pub port: i64,
    /// Addresses by which clients reach this machine although no interface has them (NAT, containers): alone where the
    /// port is forwarded unchanged, else with the port that leads to `media.port`, such as `203.0.113.7:40189`. Empty in
    /// a RunPod pod that exposes TCP port `media.port`: the address and port that RunPod's variables name.
    /// Needs a restart.
    pub public_addresses: Vec<String>,
    /// A STUN server, as `HOST:PORT`, that is asked at the start which IPv4 address this machine has in the internet, to
    /// announce it like one of `media.public_addresses`. Empty: none is asked.
    /// Needs a restart.
    pub stun_server: String,
    /// Viewers of one stream; more are refused with 429.
    /// Needs a restart.
    pub max_readers: i64,
    /// Publishers and viewers of all streams together; more are refused with 503.
    /// Needs a restart.
    pub max_sessions: i64,
    /// Bit rate of a stream's output at most, in kbit/s. Where the networks of more than a quarter of its WebRTC viewers
    /// carry less, less is sent.
    /// Needs a restart.
    pub bitrate_kbps: i64,
    /// How long a new connection may take, in seconds.
    /// Needs a restart.
    pub connect_timeout_seconds: i64,
}

/// WHIP and WHEP clients read them from the `Link` headers of answers (RFC 9725, 4.6). Clients that reach the media port by
/// UDP or TCP need none.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RawIce {
    /// Each a URL, and for TURN a user name and a credential after it: `stun:stun.example.org:3478`,
    /// `turn:turn.example.org:3478?transport=tcp USERNAME CREDENTIAL`.
    /// Needs a restart.
    pub servers: Vec<String>,
    /// An account at Twilio, whose STUN and TURN servers are told as well, with logins that are made anew before they end.
    /// Empty: `TWILIO_ACCOUNT_SID`.
    /// Needs a restart.
    pub twilio_account_sid: String,
    /// The account's secret. Empty: `TWILIO_AUTH_TOKEN`.
    /// Needs a restart.
    pub twilio_auth_token: String,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RawPlugins {
    /// Folders whose `*.so` files are plugins, most important first. `{binary}` stands for the folder of the program.
    /// Needs a restart.
    pub folders: Vec<String>,
    /// Give every stream a worker process of its own. Otherwise streams of one plugin share it, and its weights.
    /// Needs a restart.
    pub per_stream: bool,
    /// Threads that a worker may keep busy; 0: all that this machine has, but one where there are more than two.
    /// Needs a restart.
    pub threads: i64,
    /// After so many seconds on one frame a worker counts as hung, or after 20 times its mean, whichever is longer; on the
    /// first frame not before `plugins.load_limit_seconds`.
    /// Needs a restart.
    pub frame_limit_seconds: i64,
    /// How long a loading worker may give no sign of progress, in seconds.
    /// Needs a restart.
    pub load_limit_seconds: i64,
    /// Which plugin has a pipeline name that several claim, or a choice that several add to a slot:
    /// `["pipeline=plugin", "slot/value=plugin"]`.
    /// Needs a restart.
    pub pins: Vec<String>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RawPaths {
    /// Folder of the weights.
    /// Needs a restart.
    pub models: String,
    /// Folder of what is built from them, and of ONNX Runtime's library.
    /// Needs a restart.
    pub engines: String,
    /// Folder for what may be deleted at any time. Empty: `streamdiffusion-host` in `$XDG_CACHE_HOME` or `~/.cache`.
    /// Needs a restart.
    pub cache: String,
    /// Folder for what must survive a restart: the file `streams.redb` holds the streams, their keys among them, and one
    /// host at a time may use it; `tokens.toml` holds the tokens. Empty: `streamdiffusion-host` in `$XDG_STATE_HOME` or
    /// `~/.local/state`.
    /// Needs a restart.
    pub state: String,
    /// Folder of recordings, with a folder in it for each stream. Empty: `recordings` in `paths.state`.
    /// Needs a restart.
    pub recordings: String,
}

/// `POST /v1/streams/{id}/record` writes what viewers see to fragmented MP4, and nothing deletes it. A file's name begins with
/// a dot while it is written; what a crash left behind is whole up to its last second, and gets its name at the next start.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RawRecordings {
    /// How long one may become, in minutes; then it ends.
    /// Needs a restart.
    pub max_minutes: i64,
    /// How large one may become, in MiB; then it ends.
    /// Needs a restart.
    pub max_mib: i64,
    /// What recordings leave of the disk to everything else, in MiB: none begins with less, and one under way ends.
    /// Needs a restart.
    pub min_free_mib: i64,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RawModels {
    /// Fetch from the hub what a stream needs and this machine has not, before its pipeline loads; the answer that creates
    /// the stream says what. Otherwise, and with `HF_HUB_OFFLINE=1`, such a stream fails, and says how to get the model.
    /// `HF_ENDPOINT`, `HF_HOME`, `HF_HUB_CACHE` and `HF_TOKEN` say which hub, where to and as whom. Nothing but the disk
    /// bounds it: who may create or change streams can have any model of the hub fetched, until 64 MiB are left. Where those
    /// are not trusted with that, switch it off, or give out no token of scope `create` or `control`.
    /// Needs a restart.
    pub fetch: bool,
}

/// Params of streams may point to pictures, such as `ip_adapter_style_image_url`: PNG, JPEG or WebP, at most 4096 pixels on a
/// side and 16 million in all. The server fetches them and gives the pipeline what is in them and nothing else, at most 1024
/// pixels on a side. Until a picture is there the one before stays; where it cannot be had, the stream's `warnings`, its
/// `/status` and the event `picture_failed` say why. They are kept in `pictures` in `paths.state`, without `streams.persist`
/// in `paths.cache`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RawPictures {
    /// Fetch pictures by URL, for whoever may create or change streams. Otherwise only data URIs are taken.
    /// Needs a restart.
    pub fetch: bool,
    /// Take `http://` too, which anybody on the way can change.
    /// Needs a restart.
    pub allow_http: bool,
    /// Ports that URLs may name beside the usual ones.
    /// Needs a restart.
    pub ports: Vec<i64>,
    /// Take URLs that lead to this machine or to private networks: whoever may create or change streams can then have the
    /// server call what only it can reach. Link-local addresses are never called.
    /// Needs a restart.
    pub allow_private_addresses: bool,
    /// File of certificates in PEM that are believed beside the built-in authorities. Empty: none.
    /// Needs a restart.
    pub authorities: String,
    /// Size of a file, in KiB; larger ones are not taken.
    /// Needs a restart.
    pub max_kib: i64,
    /// How long fetching one may take, in seconds.
    /// Needs a restart.
    pub timeout_seconds: i64,
    /// How many are kept; those that were not used for longest go first.
    /// Needs a restart.
    pub cache_pictures: i64,
    /// How much they may take together, in MiB.
    /// Needs a restart.
    pub cache_mib: i64,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RawStreams {
    /// Streams at once; more are refused with 429.
    /// Needs a restart.
    pub max_streams: i64,
    /// Memory in MiB that the pipelines of all streams together may take, as their plugins plan it; a stream beyond it is
    /// refused with 409. On a machine that computes on its GPU, the GPU's memory. 0: the machine's memory.
    /// Needs a restart.
    pub memory_mb: i64,
    /// Remember streams in `paths.state`, so that they come back after a restart or a crash with the same ids and URLs.
    /// Otherwise they end with the program.
    /// Needs a restart.
    pub persist: bool,
    /// What viewers see while a pipeline loads or fails, unless the stream says otherwise: `input`, `last_frame` or
    /// `black`.
    /// Needs a restart.
    pub fallback: String,
    /// How long everything may take to end after SIGINT or SIGTERM, in seconds. A second signal ends it at once.
    /// Needs a restart.
    pub stop_deadline_seconds: i64,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RawLog {
    /// What is logged to stderr: a level, or levels per part, such as `info,host_media=debug`.
    /// Needs a restart.
    pub filter: String,
    /// `text` or `json`.
    /// Needs a restart.
    pub format: String,
}

impl RawConfig {
    /// TOML of all keys, without secrets.
    pub fn written(&self) -> String {
        let mut shown = self.clone();
        let (ice, mediamtx) = (&mut shown.ice, &mut shown.mediamtx);
        let others = [&mut mediamtx.password, &mut mediamtx.hook_secret];
        for secret in [&mut shown.http.token, &mut ice.twilio_auth_token].into_iter().chain(others)
        {
            if !secret.is_empty() {
                *secret = "***".into();
            }
        }
        for server in &mut ice.servers {
            if let Some((url, _login)) = server.split_once(' ') {
                *server = format!("{url} ***");
            }
        }
        toml::to_string(&shown).expect("tables of plain values can be written as TOML")
    }
}

impl Default for RawHttp {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1".into(),
            port: 8080,
            media_ports: vec![8888, 8889, 8890],
            tls_certificate: String::new(),
            tls_key: String::new(),
            public_url: String::new(),
            token: String::new(),
            allow_without_token: false,
            cors_origin: "*".into(),
            list_shape: "envelope".into(),
            open_whip_by_id: false,
            max_connections: 1024,
            head_timeout_seconds: 30,
            body_timeout_seconds: 20,
            max_json_kib: 8192,
            max_sdp_kib: 64,
        }
    }
}

impl Default for RawMedia {
    fn default() -> Self {
        Self {
            listen: vec!["0.0.0.0".into()],
            port: 8189,
            public_addresses: Vec::new(),
            stun_server: String::new(),
            max_readers: 100,
            max_sessions: 1000,
            bitrate_kbps: 2500,
            connect_timeout_seconds: 10,
        }
    }
}

impl Default for RawPlugins {
    fn default() -> Self {
        Self {
            folders: vec!["plugins".into(), "{binary}/plugins".into()],
            per_stream: false,
            threads: 0,
            frame_limit_seconds: 10,
            load_limit_seconds: 60,
            pins: Vec::new(),
        }
    }
}

impl Default for RawPaths {
    fn default() -> Self {
        Self {
            models: "models".into(),
            engines: "engines".into(),
            cache: String::new(),
            state: String::new(),
            recordings: String::new(),
        }
    }
}

impl Default for RawRecordings {
    fn default() -> Self {
        Self { max_minutes: 240, max_mib: 8192, min_free_mib: 1024 }
    }
}

impl Default for RawModels {
    fn default() -> Self {
        Self { fetch: true }
    }
}

impl Default for RawPictures {
    fn default() -> Self {
        Self {
            fetch: true,
            allow_http: false,
            ports: Vec::new(),
            allow_private_addresses: false,
            authorities: String::new(),
            max_kib: 10 << 10,
            timeout_seconds: 10,
            cache_pictures: 1000,
            cache_mib: 256,
        }
    }
}

impl Default for RawStreams {
    fn default() -> Self {
        Self {
            max_streams: 16,
            memory_mb: 0,
            persist: true,
            fallback: "input".into(),
            stop_deadline_seconds: 15,
        }
    }
}

impl Default for RawLog {
    fn default() -> Self {
        Self { filter: "info".into(), format: "text".into() }
    }
}
