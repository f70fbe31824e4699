//! Whether the MediaMTX that is to stand beside the server is there, and new enough.

use super::Finding;
use crate::mediamtx::{MediaMtxConfig, MediaMtxPlace};
use host_mediamtx::{Access, CallError, Chain, Client, Version, installed_version};
use std::path::Path;

const AREA: &str = "mediamtx";

pub fn check(config: &MediaMtxConfig) -> Finding {
    match &config.place {
        MediaMtxPlace::Spawn { binary, .. } => installed(binary),
        MediaMtxPlace::Attach { access, .. } => answering(access),
    }
}

fn installed(binary: &Path) -> Finding {
    let name = binary.display();
    match installed_version(binary) {
        Ok(version) => judge(&format!("{name} is"), Some(version)),
        Err(error) => Finding::fail(
            AREA,
            Chain(&error).to_string(),
            "install MediaMTX 1.20 or newer and let `mediamtx.binary` name its program; or set `mediamtx.mode` to `off`",
        ),
    }
}

/// Both calls, since it may tell its version to those whom it refuses its paths.
fn answering(access: &Access) -> Finding {
    let client = Client::new(access);
    let told = client.version().and_then(|version| client.path_configs().map(|_| version));
    match told {
        Ok(version) => judge(&format!("at {} answers", access.url), version),
        // The server starts all the same, and reaches for it again and again.
        Err(error) => Finding::warn(AREA, Chain(&error).to_string(), remedy(&error)),
    }
}

fn remedy(error: &CallError) -> &'static str {
    match error {
        CallError::Unauthorized { .. } => {
            "let `mediamtx.user` and `mediamtx.password` be those of somebody who may use its API"
        }
        _ => {
            "start it with `api: yes` in its settings, and let `mediamtx.api_url` say where its API is; or set `mediamtx.mode` to `off`"
        }
    }
}

fn judge(what: &str, version: Option<Version>) -> Finding {
    let found = version.map_or_else(
        || format!("{what} MediaMTX, of a version before 1.15.2"),
        |version| format!("{what} MediaMTX {version}"),
    );
    match version {
        Some(version) if version < Version::OLDEST => {
            Finding::fail(AREA, found, format!("take {} or newer", Version::OLDEST))
        }
        Some(version) if version.has_forward() => Finding::ok(AREA, found),
        _ => Finding::warn(
            AREA,
            format!("{found}: streams can be watched through it, and not published to"),
            "take 1.20 or newer to publish through it",
        ),
    }
}
