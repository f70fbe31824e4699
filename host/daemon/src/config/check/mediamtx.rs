//! The settings of a MediaMTX beside the server.

use super::{Problems, absolute, given};
use crate::config::Paths;
use crate::config::raw::{RawConfig, RawMediaMtx};
use crate::mediamtx::{MediaMtxConfig, MediaMtxPlace};
use crate::public_base::is_url;
use host_mediamtx::{Access, Ports};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Of what stands in a URL and is guarded by nothing else.
const SHORTEST_SECRET: usize = 16;

#[derive(Clone, Copy)]
enum Mode {
    Off,
    Spawn,
    Attach,
}

pub fn check(raw: &RawConfig, paths: &Paths, problems: &mut Problems) -> Option<MediaMtxConfig> {
    let written = &raw.mediamtx;
    let modes = [("off", Mode::Off), ("spawn", Mode::Spawn), ("attach", Mode::Attach)];
    let place = match problems.word("mediamtx.mode", &written.mode, &modes) {
        Mode::Off => return None,
        Mode::Spawn => spawn(raw, paths, problems),
        Mode::Attach => attach(written, problems),
    };
    let host_url = given(written.host_url.trim_end_matches('/'));
    if host_url.as_deref().is_some_and(|url| !is_url(url)) {
        let problem = "must be a URL without query, such as http://10.0.0.5:8891";
        problems.add("mediamtx.host_url", problem);
    }
    Some(MediaMtxConfig {
        address: problems.address("mediamtx.listen", &written.listen),
        port: problems.port("mediamtx.port", written.port),
        host_url,
        place,
    })
}

fn attach(written: &RawMediaMtx, problems: &mut Problems) -> MediaMtxPlace {
    let url = written.api_url.trim_end_matches('/');
    if !is_url(url) {
        problems
            .add("mediamtx.api_url", "must be a URL without query, such as http://10.0.0.5:9997");
    }
    let secret = &written.hook_secret;
    let is_plain = secret.chars().all(|c| c.is_ascii_alphanumeric());
    if !secret.is_empty() && (secret.len() < SHORTEST_SECRET || !is_plain) {
        let problem = format!("must be {SHORTEST_SECRET} or more letters and digits");
        problems.add("mediamtx.hook_secret", problem);
    }
    if written.user.is_empty() && !written.password.is_empty() {
        problems.add("mediamtx.user", "must be set as well: a password is of a user");
    }
    let (user, password) = (written.user.clone(), written.password.clone());
    let access = Access { url: url.to_owned(), user, password };
    MediaMtxPlace::Attach { access, hook_secret: given(secret) }
}

fn spawn(raw: &RawConfig, paths: &Paths, problems: &mut Problems) -> MediaMtxPlace {
    let written = &raw.mediamtx;
    distinct(raw, problems);
    let mut port = |key, port| problems.port(key, port);
    let ports = Ports {
        api: port("mediamtx.api_port", written.api_port),
        rtsp: port("mediamtx.rtsp_port", written.rtsp_port),
        rtmp: port("mediamtx.rtmp_port", written.rtmp_port),
        hls: port("mediamtx.hls_port", written.hls_port),
        webrtc: port("mediamtx.webrtc_port", written.webrtc_port),
        webrtc_media: port("mediamtx.webrtc_media_port", written.webrtc_media_port),
        srt: port("mediamtx.srt_port", written.srt_port),
    };
    let binary = PathBuf::from(problems.text("mediamtx.binary", written.binary.clone()));
    // One in a folder is looked for from here, and one without in PATH.
    let is_path = binary.components().count() > 1;
    MediaMtxPlace::Spawn {
        binary: if is_path { absolute(&binary) } else { binary },
        folder: absolute(&paths.cache).join("mediamtx"),
        ports,
    }
}

/// Two that want the same port would wait for each other for ever.
fn distinct(raw: &RawConfig, problems: &mut Problems) {
    let (http, own) = (&raw.http, &raw.mediamtx);
    let aliases = http.media_ports.iter().map(|port| ("http.media_ports", *port));
    let tcp = [
        ("http.port", http.port),
        ("media.port", raw.media.port),
        ("mediamtx.port", own.port),
        ("mediamtx.api_port", own.api_port),
        ("mediamtx.rtsp_port", own.rtsp_port),
        ("mediamtx.rtmp_port", own.rtmp_port),
        ("mediamtx.hls_port", own.hls_port),
        ("mediamtx.webrtc_port", own.webrtc_port),
    ];
    let udp = [
        ("media.port", raw.media.port),
        ("mediamtx.webrtc_media_port", own.webrtc_media_port),
        ("mediamtx.srt_port", own.srt_port),
    ];
    each_once(aliases.chain(tcp), problems);
    each_once(udp.into_iter(), problems);
}

fn each_once(ports: impl Iterator<Item = (&'static str, i64)>, problems: &mut Problems) {
    let mut owners = BTreeMap::new();
    for (key, port) in ports.filter(|(_, port)| *port != 0) {
        match owners.insert(port, key) {
            Some(other) if other != key => {
                problems.add(key, format!("must be another than `{other}`, which is {port} too"));
            }
            _ => {}
        }
    }
}
