//! The settings of a MediaMTX that the host runs, as a file that nobody else may read: it says where the host lets it ask.

use crate::keeper::Host;
use crate::listeners::Ports;
use crate::spawn::Spawn;
use crate::version::Version;
use serde_json::{Value, json};
use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Deleted when dropped.
pub struct Written(PathBuf);

#[derive(Debug, thiserror::Error)]
#[error("cannot write the settings of MediaMTX to {}; `paths.cache` names the folder", path.display())]
pub struct WriteError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

impl Written {
    pub fn new(
        spawn: &Spawn,
        ports: &Ports,
        version: Version,
        host: &Host,
    ) -> Result<Self, WriteError> {
        // By the number of the host's process, so that hosts do not meet; what a killed one left is written over some day.
        let path = spawn.folder.join(format!("mediamtx-{}.yml", std::process::id()));
        let failed = |source| WriteError { path: path.clone(), source };
        let settings = settings(spawn, ports, version, host);
        DirBuilder::new().recursive(true).mode(0o700).create(&spawn.folder).map_err(failed)?;
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        // New, so that the mode counts and no link is followed.
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let mut file = file.map_err(failed)?;
        // JSON is YAML, and needs no thought about quotes.
        file.write_all(settings.to_string().as_bytes()).map_err(failed)?;
        Ok(Self(path))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.0) {
            tracing::debug!(%error, "the settings of MediaMTX stay");
        }
    }
}

/// Everything that listens by default is named, so that nothing listens where the host does not know.
fn settings(spawn: &Spawn, ports: &Ports, version: Version, host: &Host) -> Value {
    let at = |port| listen(spawn.address, port);
    let mut settings = json!({
        "logLevel": "info",
        "logDestinations": ["stdout"],
        "api": true,
        "apiAddress": format!("127.0.0.1:{}", ports.api),
        "metrics": false,
        "pprof": false,
        "playback": false,
        "rtsp": true,
        "rtspAddress": at(ports.rtsp),
        "rtmp": true,
        "rtmpAddress": at(ports.rtmp),
        "hls": true,
        "hlsAddress": at(ports.hls),
        "webrtc": true,
        "webrtcAddress": at(ports.webrtc),
        "webrtcLocalUDPAddress": at(ports.webrtc_media),
        "webrtcAdditionalHosts": spawn.public_addresses,
        "webrtcICEServers2": [],
        "srt": true,
        "srtAddress": at(ports.srt),
        "paths": {},
    });
    let mut set = |key: &str, value: Value| settings[key] = value;
    // With UDP it would take two more ports, and neither is needed where TCP is.
    let transports = if version.has_rtsp_transports() { "rtspTransports" } else { "protocols" };
    set(transports, json!(["tcp"]));
    let hook = host.hook_path.as_ref().map(|path| format!("{}{path}", host.url));
    if version.has_http_auth() {
        set("authMethod", json!("http"));
        set("authHTTPAddress", json!(hook));
        // By default everyone who reaches the API may use it.
        set("authHTTPExclude", json!([]));
    } else {
        set("externalAuthenticationURL", json!(hook));
    }
    if version.has_moq() {
        set("moq", json!(false));
    }
    settings
}

fn listen(address: IpAddr, port: u16) -> String {
    match address {
        address if address.is_unspecified() => format!(":{port}"),
        address => std::net::SocketAddr::new(address, port).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;
    use std::os::unix::fs::PermissionsExt;

    fn spawn(folder: &Path) -> Spawn {
        Spawn {
            binary: "mediamtx".into(),
            launcher: Vec::new(),
            folder: folder.to_owned(),
            address: Ipv4Addr::UNSPECIFIED.into(),
            public_addresses: vec![Ipv4Addr::new(203, 0, 113, 9).into()],
            ports: PORTS,
            api_password: "pass".into(),
        }
    }

    const PORTS: Ports =
        Ports { api: 1, rtsp: 2, rtmp: 3, hls: 4, webrtc: 5, webrtc_media: 6, srt: 7 };

    fn host() -> Host {
        let hook_path = Some("/mediamtx/s".to_owned());
        Host { url: "http://127.0.0.1:9".into(), hook_path, list: Box::new(Vec::new) }
    }

    #[test]
    fn each_version_gets_the_names_it_knows() {
        let folder = tempfile::tempdir().unwrap();
        let of = |version| settings(&spawn(folder.path()), &PORTS, version, &host());
        let old = of(Version::new(1, 5, 1));
        assert_eq!(old["externalAuthenticationURL"], "http://127.0.0.1:9/mediamtx/s");
        assert_eq!((&old["protocols"], &old["rtspAddress"]), (&json!(["tcp"]), &json!(":2")));
        assert_eq!(old["webrtcAdditionalHosts"], json!(["203.0.113.9"]));
        for key in ["authMethod", "rtspTransports", "moq"] {
            assert_eq!(old.get(key), None, "{key}");
        }
        let new = of(Version::new(1, 20, 1));
        assert_eq!(new["authHTTPAddress"], "http://127.0.0.1:9/mediamtx/s");
        assert_eq!((&new["authHTTPExclude"], &new["moq"]), (&json!([]), &json!(false)));
        for key in ["externalAuthenticationURL", "protocols"] {
            assert_eq!(new.get(key), None, "{key}");
        }
        assert_eq!(new["apiAddress"], "127.0.0.1:1");
    }

    #[test]
    fn only_the_owner_may_read_the_file_and_it_goes_with_its_use() {
        let folder = tempfile::tempdir().unwrap();
        let spawn = spawn(&folder.path().join("a/b"));
        let made = || Written::new(&spawn, &PORTS, Version::new(1, 20, 1), &host()).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let path = made().path().to_owned();
        assert!(!path.exists());
        // What a killed host left, and might be a link by now.
        std::os::unix::fs::symlink("/dev/null", &path).unwrap();
        let written = made();
        assert_eq!((mode(written.path()), mode(&spawn.folder)), (0o600, 0o700));
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap()["apiAddress"], "127.0.0.1:1");
    }
}
