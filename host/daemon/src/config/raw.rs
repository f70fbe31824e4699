//! The settings as they are written: every key with its default. `docs/config.md` describes them for operators.

use serde::{Deserialize, Serialize};

/// Whole numbers are wider than what they become, so that a value out of range is reported with all the others.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RawConfig {
    pub http: RawHttp,
    pub media: RawMedia,
    pub plugins: RawPlugins,
    pub paths: RawPaths,
    pub streams: RawStreams,
    pub log: RawLog,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RawHttp {
    pub listen: String,
    pub port: i64,
    pub media_ports: Vec<i64>,
    pub public_url: String,
    pub token: String,
    pub allow_without_token: bool,
    pub cors_origin: String,
    pub list_shape: String,
    pub open_whip_by_id: bool,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RawMedia {
    pub listen: Vec<String>,
    pub port: i64,
    pub public_addresses: Vec<String>,
    pub max_readers: i64,
    pub max_sessions: i64,
    pub bitrate_kbps: i64,
    pub connect_timeout_seconds: i64,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RawPlugins {
    pub folders: Vec<String>,
    pub per_stream: bool,
    pub threads: i64,
    pub frame_limit_seconds: i64,
    pub load_limit_seconds: i64,
    pub pins: Vec<String>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RawPaths {
    pub models: String,
    pub engines: String,
    pub cache: String,
    pub state: String,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RawStreams {
    pub max_streams: i64,
    pub persist: bool,
    pub fallback: String,
    pub stop_deadline_seconds: i64,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RawLog {
    pub filter: String,
    pub format: String,
}

impl RawConfig {
    /// TOML of all keys, without the token.
    pub fn written(&self) -> String {
        let mut shown = self.clone();
        if !shown.http.token.is_empty() {
            shown.http.token = "***".into();
        }
        toml::to_string(&shown).expect("tables of plain values can be written as TOML")
    }
}

impl Default for RawHttp {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1".into(),
            port: 8080,
            media_ports: vec![8889, 8890],
            public_url: String::new(),
            token: String::new(),
            allow_without_token: false,
            cors_origin: "*".into(),
            list_shape: "envelope".into(),
            open_whip_by_id: false,
        }
    }
}

impl Default for RawMedia {
    fn default() -> Self {
        Self {
            listen: vec!["0.0.0.0".into()],
            port: 8189,
            public_addresses: Vec::new(),
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
        }
    }
}

impl Default for RawStreams {
    fn default() -> Self {
        Self { max_streams: 16, persist: true, fallback: "input".into(), stop_deadline_seconds: 15 }
    }
}

impl Default for RawLog {
    fn default() -> Self {
        Self { filter: "info".into(), format: "text".into() }
    }
}
