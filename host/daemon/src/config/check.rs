//! From settings as written to settings that can be used.

mod mediamtx;

use super::raw::{
    RawConfig, RawHttp, RawMedia, RawPictures, RawPlugins, RawRecordings, RawRtmp, RawRtsp,
    RawStreams,
};
use super::{Config, LogConfig, LogFormat, Paths, networks};
use crate::connections::Limits;
use crate::http::HttpConfig;
use crate::public_base::{PublicBase, is_url};
use crate::tls::TlsFiles;
use crate::tokens::TokensConfig;
use host_api::{ApiConfig, BodyLimits, ListShape};
use host_media::{
    ConnectionLimits, MediaConfig, RecordingConfig, RestreamConfig, RtmpConfig, RtspConfig,
};
use host_models::pictures;
use host_runtime::{Fallback, Settings};
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tracing_subscriber::EnvFilter;

/// What stands in a plugin folder for the folder of this program.
const BINARY: &str = "{binary}";
/// Name of our folder among those of other programs.
const OWN_FOLDER: &str = "streamdiffusion-host";

pub fn check(
    raw: RawConfig,
    environment: &BTreeMap<String, String>,
) -> Result<Config, Vec<String>> {
    let mut problems = Problems::default();
    let paths = Paths {
        models: PathBuf::from(problems.text("paths.models", raw.paths.models.clone())),
        engines: PathBuf::from(problems.text("paths.engines", raw.paths.engines.clone())),
        cache: own_folder(&raw.paths.cache, ("XDG_CACHE_HOME", ".cache"), environment),
        state: own_folder(&raw.paths.state, ("XDG_STATE_HOME", ".local/state"), environment),
    };
    let recordings = recordings(&raw.recordings, &raw.paths.recordings, &paths, &mut problems);
    let stop_deadline =
        problems.seconds("streams.stop_deadline_seconds", raw.streams.stop_deadline_seconds);
    let config = Config {
        api: api(&raw.http, &mut problems),
        public: public(&raw.http.public_url, environment, &mut problems),
        tokens: tokens(&raw.http, &mut problems),
        http: http(&raw.http, &mut problems),
        media: MediaConfig {
            restream: restream(&raw.rtmp),
            recordings,
            ..media(&raw.media, environment, &mut problems)
        },
        rtsp: rtsp(&raw.rtsp, &mut problems),
        rtmp: rtmp(&raw.rtmp, &mut problems),
        mediamtx: mediamtx::check(&raw, &paths, &mut problems),
        stun_server: given(&raw.media.stun_server),
        ice: networks::ice(&raw.ice, environment, &mut problems),
        plugins: plugins(raw.plugins, &paths, &mut problems),
        pictures: pictures(
            &raw.pictures,
            if raw.streams.persist { &paths.state } else { &paths.cache },
            &mut problems,
        ),
        paths,
        runtime: runtime(&raw.streams, stop_deadline, &mut problems),
        fetch_models: raw.models.fetch,
        persist: raw.streams.persist,
        log: LogConfig {
            format: problems.word(
                "log.format",
                &raw.log.format,
                &[("text", LogFormat::Text), ("json", LogFormat::Json)],
            ),
            filter: raw.log.filter,
        },
        stop_deadline,
        visible_gpus: environment.get("CUDA_VISIBLE_DEVICES").cloned(),
    };
    if let Err(error) = EnvFilter::try_new(&config.log.filter) {
        let problem = format!("must be such as `info` or `warn,host_media=debug`: {error}");
        problems.add("log.filter", problem);
    }
    if problems.0.is_empty() { Ok(config) } else { Err(problems.0) }
}

fn runtime(raw: &RawStreams, stop_deadline: Duration, problems: &mut Problems) -> Settings {
    let fallbacks = [
        ("input", Fallback::Input),
        ("last_frame", Fallback::LastFrame),
        ("black", Fallback::Black),
    ];
    Settings {
        max_streams: problems.count("streams.max_streams", raw.max_streams),
        memory_limit: match problems.number("streams.memory_mb", raw.memory_mb, 0, 1 << 30) {
            0 => memory_of_this_machine(),
            megabytes => megabytes.unsigned_abs() << 20,
        },
        default_fallback: problems.word("streams.fallback", &raw.fallback, &fallbacks),
        // The streams end first; what is left of the time is for media and HTTP.
        stop_deadline: stop_deadline.mul_f64(0.8),
        ..Settings::default()
    }
}

/// Bytes; where the system does not tell, as much as anybody plans.
fn memory_of_this_machine() -> u64 {
    let told = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = told.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.map_or(u64::MAX, |kib| kib << 10)
}

fn http(raw: &RawHttp, problems: &mut Problems) -> HttpConfig {
    let address = problems.address("http.listen", &raw.listen);
    let media_ports = raw.media_ports.iter().map(|port| problems.port("http.media_ports", *port));
    let media_ports = media_ports.collect();
    HttpConfig {
        address,
        port: problems.port("http.port", raw.port),
        media_ports,
        limits: Limits {
            connections: problems.count("http.max_connections", raw.max_connections),
            head: problems.seconds("http.head_timeout_seconds", raw.head_timeout_seconds),
        },
        tls: tls(raw, problems),
    }
}

fn tls(raw: &RawHttp, problems: &mut Problems) -> Option<TlsFiles> {
    let (certificate, key) = (given(&raw.tls_certificate), given(&raw.tls_key));
    if certificate.is_some() != key.is_some() {
        let without = if key.is_none() { "http.tls_key" } else { "http.tls_certificate" };
        problems.add(without, "must be set as well: TLS takes a certificate and its key");
    }
    Some(TlsFiles { certificate: certificate?.into(), key: key?.into() })
}

fn api(raw: &RawHttp, problems: &mut Problems) -> ApiConfig {
    let origin = raw.cors_origin.as_str();
    if origin != "*" && !(is_url(origin) && origin.matches('/').count() == 2) {
        problems.add("http.cors_origin", "must be * or an origin such as https://app.example.com");
    }
    ApiConfig {
        cors_origin: given(origin).filter(|origin| origin != "*"),
        list_shape: problems.word(
            "http.list_shape",
            &raw.list_shape,
            &[("envelope", ListShape::Envelope), ("array", ListShape::Array)],
        ),
        is_whip_by_id_open: raw.open_whip_by_id,
        bodies: BodyLimits {
            json: problems.kib("http.max_json_kib", raw.max_json_kib),
            sdp: problems.kib("http.max_sdp_kib", raw.max_sdp_kib),
            time: problems.seconds("http.body_timeout_seconds", raw.body_timeout_seconds),
        },
        ..ApiConfig::default()
    }
}

fn public(
    written: &str,
    environment: &BTreeMap<String, String>,
    problems: &mut Problems,
) -> PublicBase {
    let variable = |name: &str| environment.get(name).map_or("", String::as_str);
    let public = PublicBase::find(written, variable("RUNPOD_POD_ID"), variable("EXTERNAL_HOST"));
    public.unwrap_or_else(|(key, problem)| {
        problems.add(key, problem);
        PublicBase::OfRequests
    })
}

/// A host that only this machine reaches may do without tokens; others must be told to.
fn tokens(raw: &RawHttp, problems: &mut Problems) -> TokensConfig {
    if !raw.token.chars().all(|c| c.is_ascii_graphic()) {
        problems.add("http.token", "must be of letters, digits and signs, without blanks");
    }
    let is_local = raw.listen.parse().is_ok_and(|address: IpAddr| address.is_loopback());
    let may_be_open = is_local || raw.allow_without_token;
    TokensConfig { admin: given(&raw.token), may_be_open }
}

/// None: publishers do not come by RTMP.
fn rtmp(raw: &RawRtmp, problems: &mut Problems) -> Option<RtmpConfig> {
    let config = RtmpConfig {
        address: problems.address("rtmp.listen", &raw.listen),
        port: problems.port("rtmp.port", raw.port),
        limits: ConnectionLimits {
            all: problems.count("rtmp.max_connections", raw.max_connections),
            per_address: problems
                .count("rtmp.max_connections_per_address", raw.max_connections_per_address),
        },
        timeout: problems.seconds("rtmp.timeout_seconds", raw.timeout_seconds),
    };
    raw.enabled.then_some(config)
}

fn restream(raw: &RawRtmp) -> RestreamConfig {
    let authorities = given(&raw.authorities).map(PathBuf::from);
    RestreamConfig { authorities, ..RestreamConfig::default() }
}

fn media(
    raw: &RawMedia,
    environment: &BTreeMap<String, String>,
    problems: &mut Problems,
) -> MediaConfig {
    if raw.listen.is_empty() {
        problems.add("media.listen", "must name an address; 0.0.0.0 stands for all interfaces");
    }
    let mut addresses = |key, list: &[String]| -> Vec<IpAddr> {
        list.iter().map(|text| problems.address(key, text)).collect()
    };
    let rtc_bind = addresses("media.listen", &raw.listen);
    let public_addresses = networks::public_addresses(raw, environment, problems);
    MediaConfig {
        rtc_bind,
        rtc_port: problems.port("media.port", raw.port),
        public_addresses,
        max_readers: problems.count("media.max_readers", raw.max_readers),
        max_sessions: problems.count("media.max_sessions", raw.max_sessions),
        bitrate_kbps: problems.number("media.bitrate_kbps", raw.bitrate_kbps, 100, 100_000) as u32,
        connect_timeout: problems
            .seconds("media.connect_timeout_seconds", raw.connect_timeout_seconds),
        ..MediaConfig::default()
    }
}

fn recordings(
    raw: &RawRecordings,
    folder: &str,
    paths: &Paths,
    problems: &mut Problems,
) -> RecordingConfig {
    let mut mebibytes = |key, value| problems.number(key, value, 1, 1 << 30).unsigned_abs() << 20;
    RecordingConfig {
        folder: given(folder).map_or_else(|| paths.state.join("recordings"), PathBuf::from),
        max_bytes: mebibytes("recordings.max_mib", raw.max_mib),
        min_free_bytes: mebibytes("recordings.min_free_mib", raw.min_free_mib),
        max_length: Duration::from_secs(
            problems
                .number("recordings.max_minutes", raw.max_minutes, 1, 60 * 24 * 365)
                .unsigned_abs()
                * 60,
        ),
    }
}

/// None: nobody publishes or plays by RTSP.
fn rtsp(raw: &RawRtsp, problems: &mut Problems) -> Option<RtspConfig> {
    let config = RtspConfig {
        address: problems.address("rtsp.listen", &raw.listen),
        port: problems.port("rtsp.port", raw.port),
        limits: ConnectionLimits {
            all: problems.count("rtsp.max_connections", raw.max_connections),
            per_address: problems
                .count("rtsp.max_connections_per_address", raw.max_connections_per_address),
        },
    };
    raw.enabled.then_some(config)
}

fn pictures(raw: &RawPictures, base: &Path, problems: &mut Problems) -> pictures::Settings {
    let mut port = |port: &i64| problems.number("pictures.ports", *port, 1, 65_535) as u16;
    let ports = raw.ports.iter().map(&mut port).collect();
    let mebibytes = problems.number("pictures.cache_mib", raw.cache_mib, 16, 1 << 20);
    pictures::Settings {
        folder: absolute(&base.join("pictures")),
        room: pictures::Room {
            pictures: problems.count("pictures.cache_pictures", raw.cache_pictures),
            bytes: mebibytes.unsigned_abs() << 20,
        },
        rules: pictures::Rules {
            is_offline: !raw.fetch,
            allow_http: raw.allow_http,
            ports,
            allow_private: raw.allow_private_addresses,
        },
        limits: pictures::Limits {
            bytes: problems.kib("pictures.max_kib", raw.max_kib),
            total: problems.seconds("pictures.timeout_seconds", raw.timeout_seconds),
            ..pictures::Limits::default()
        },
        authorities: given(&raw.authorities).map(PathBuf::from),
    }
}

fn plugins(raw: RawPlugins, paths: &Paths, problems: &mut Problems) -> host_plugins::Config {
    let threads = problems.number("plugins.threads", raw.threads, 0, 1024) as u32;
    let environment = host_plugins::Environment {
        models_dir: absolute(&paths.models),
        engines_dir: absolute(&paths.engines),
        cache_dir: absolute(&paths.cache),
        threads: if threads == 0 { spare_threads() } else { threads },
    };
    let folders = plugin_folders(&raw.folders);
    let mut config = host_plugins::Config::new(folders, absolute(&paths.cache), environment);
    config.per_stream = raw.per_stream;
    config.limits.frame = problems.seconds("plugins.frame_limit_seconds", raw.frame_limit_seconds);
    config.limits.load = problems.seconds("plugins.load_limit_seconds", raw.load_limit_seconds);
    config.pins = pins(&raw.pins, problems);
    config
}

/// `pipeline=plugin`, one each.
fn pins(written: &[String], problems: &mut Problems) -> HashMap<String, String> {
    let mut pins = HashMap::new();
    for pin in written {
        match pin.split_once('=') {
            Some((pipeline, plugin)) => {
                pins.insert(pipeline.trim().to_owned(), plugin.trim().to_owned());
            }
            None => problems.add("plugins.pins", format!("`{pin}` must be `pipeline=plugin`")),
        }
    }
    pins
}

/// The same folder under two names would offer every plugin twice.
fn plugin_folders(written: &[String]) -> Vec<PathBuf> {
    let binary = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.to_owned()));
    let binary = binary.unwrap_or_default();
    let mut folders: Vec<PathBuf> = Vec::new();
    for text in written {
        let folder = match text.strip_prefix(BINARY) {
            Some(rest) => binary.join(rest.trim_start_matches('/')),
            None => absolute(Path::new(text)),
        };
        let known = folder.canonicalize();
        let is_known = known.is_ok_and(|known| {
            folders.iter().any(|other| other.canonicalize().is_ok_and(|other| other == known))
        });
        if !is_known {
            folders.push(folder);
        }
    }
    folders
}

/// Workers have a working directory of their own.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// One core is left to the codecs and the network. Of two they need only a part of one, and a model is faster with the
/// rest of it than without: 15 instead of 11 frames a second with the demo model, at a lower latency.
fn spare_threads() -> u32 {
    let cores = std::thread::available_parallelism().map_or(1, |count| count.get());
    let threads = if cores > 2 { cores - 1 } else { cores };
    u32::try_from(threads).unwrap_or(1)
}

/// The folder as written, else ours among those of other programs: in what the variable names, or below home.
fn own_folder(
    written: &str,
    (variable, below_home): (&str, &str),
    environment: &BTreeMap<String, String>,
) -> PathBuf {
    if !written.is_empty() {
        return PathBuf::from(written);
    }
    let given = |name: &str| environment.get(name).filter(|value| !value.is_empty());
    let base = given(variable).map(PathBuf::from);
    let base = base.or_else(|| given("HOME").map(|home| Path::new(home).join(below_home)));
    base.map_or_else(|| PathBuf::from(below_home), |base| base.join(OWN_FOLDER))
}

fn given(text: &str) -> Option<String> {
    Some(text.to_owned()).filter(|text| !text.is_empty())
}

/// Collects what is wrong, and gives something to go on with.
#[derive(Default)]
pub struct Problems(Vec<String>);

impl Problems {
    pub fn add(&mut self, key: &str, problem: impl std::fmt::Display) {
        self.0.push(format!("`{key}`: {problem}"));
    }

    fn number(&mut self, key: &str, value: i64, low: i64, high: i64) -> i64 {
        if !(low..=high).contains(&value) {
            self.add(key, format!("must be from {low} to {high}, not {value}"));
        }
        value.clamp(low, high)
    }

    fn port(&mut self, key: &str, value: i64) -> u16 {
        self.number(key, value, 0, u16::MAX.into()) as u16
    }

    fn count(&mut self, key: &str, value: i64) -> usize {
        self.number(key, value, 1, 1_000_000) as usize
    }

    /// As bytes; a GiB is more than any body that is JSON or SDP.
    fn kib(&mut self, key: &str, value: i64) -> usize {
        (self.number(key, value, 1, 1 << 20) as usize) << 10
    }

    fn seconds(&mut self, key: &str, value: i64) -> Duration {
        Duration::from_secs(self.number(key, value, 1, 86_400) as u64)
    }

    fn text(&mut self, key: &str, value: String) -> String {
        if value.is_empty() {
            self.add(key, "must not be empty");
        }
        value
    }

    pub fn address(&mut self, key: &str, text: &str) -> IpAddr {
        text.parse().unwrap_or_else(|_| {
            self.add(key, format!("must be an IP address such as 127.0.0.1, not `{text}`"));
            Ipv4Addr::LOCALHOST.into()
        })
    }

    fn word<T: Copy>(&mut self, key: &str, text: &str, words: &[(&str, T)]) -> T {
        let found = words.iter().find(|(word, _)| *word == text);
        if found.is_none() {
            let known: Vec<_> = words.iter().map(|(word, _)| *word).collect();
            self.add(key, format!("must be one of {}, not `{text}`", known.join(", ")));
        }
        found.unwrap_or(&words[0]).1
    }
}
