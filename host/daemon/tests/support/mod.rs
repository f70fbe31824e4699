//! What the tests of the whole host have in common.

use std::ffi::OsString;
use tempfile::TempDir;

/// Settings of a host that keeps everything in a folder of its own and takes free ports; later ones win.
pub fn settings(folder: &TempDir) -> Vec<(&'static str, OsString)> {
    let path = |name: &str| folder.path().join(name).into_os_string();
    vec![
        ("SDH_HTTP__PORT", "0".into()),
        ("SDH_HTTP__MEDIA_PORTS", "[]".into()),
        ("SDH_MEDIA__PORT", "0".into()),
        ("SDH_RTSP__PORT", "0".into()),
        ("SDH_RTSP__LISTEN", "127.0.0.1".into()),
        ("SDH_RTMP__PORT", "0".into()),
        ("SDH_MEDIA__LISTEN", "127.0.0.1".into()),
        ("SDH_PLUGINS__FOLDERS", path("plugins")),
        ("SDH_MODELS__FETCH", "false".into()),
        ("SDH_PATHS__MODELS", path("models")),
        ("SDH_PATHS__ENGINES", path("engines")),
        ("SDH_PATHS__CACHE", path("cache")),
        ("SDH_PATHS__STATE", path("state")),
    ]
}
