//! Whether every port can be bound, as the server will.

use super::Finding;
use crate::Config;
use crate::mediamtx::{MediaMtxConfig, MediaMtxPlace};
use std::io;
use std::net::{IpAddr, Ipv4Addr, TcpListener, UdpSocket};

const AREA: &str = "ports";

pub fn check(config: &Config) -> Vec<Finding> {
    let http = &config.http;
    let aliases = http.media_ports.iter().map(|port| ("http.media_ports", *port));
    let tcp = std::iter::once(("http.port", http.port)).chain(aliases);
    let mut findings: Vec<_> = tcp
        .map(|(key, port)| judge(key, "TCP", (http.address, port), bind_tcp(http.address, port)))
        .collect();
    if let Some(rtsp) = &config.rtsp {
        let end = (rtsp.address, rtsp.port);
        findings.push(judge("rtsp.port", "TCP", end, bind_tcp(end.0, end.1)));
    }
    if let Some(rtmp) = &config.rtmp {
        let end = (rtmp.address, rtmp.port);
        findings.push(judge("rtmp.port", "TCP", end, bind_tcp(end.0, end.1)));
    }
    for address in &config.media.rtc_bind {
        let (address, port) = (*address, config.media.rtc_port);
        let udp = UdpSocket::bind((address, port)).map(drop);
        findings.push(judge("media.port", "UDP", (address, port), udp));
        findings.push(judge("media.port", "TCP", (address, port), bind_tcp(address, port)));
    }
    findings
        .extend(config.mediamtx.iter().flat_map(|mediamtx| of_mediamtx(mediamtx, http.address)));
    findings
}

fn of_mediamtx(config: &MediaMtxConfig, address: IpAddr) -> Vec<Finding> {
    let tcp = |key, address, port| judge(key, "TCP", (address, port), bind_tcp(address, port));
    let udp = |key, port| {
        let bound = UdpSocket::bind((address, port)).map(drop);
        judge(key, "UDP", (address, port), bound)
    };
    let mut findings = vec![tcp("mediamtx.port", config.address, config.port)];
    if let MediaMtxPlace::Spawn { ports, .. } = &config.place {
        findings.extend([
            tcp("mediamtx.api_port", Ipv4Addr::LOCALHOST.into(), ports.api),
            tcp("mediamtx.rtsp_port", address, ports.rtsp),
            tcp("mediamtx.rtmp_port", address, ports.rtmp),
            tcp("mediamtx.hls_port", address, ports.hls),
            tcp("mediamtx.webrtc_port", address, ports.webrtc),
            udp("mediamtx.webrtc_media_port", ports.webrtc_media),
            udp("mediamtx.srt_port", ports.srt),
        ]);
    }
    findings
}

fn bind_tcp(address: IpAddr, port: u16) -> io::Result<()> {
    TcpListener::bind((address, port)).map(drop)
}

fn judge(
    key: &str,
    protocol: &str,
    (address, port): (IpAddr, u16),
    bound: io::Result<()>,
) -> Finding {
    let what = format!("{protocol} port {port} of {address} (`{key}`)");
    match bound {
        Ok(()) if port == 0 => Finding::ok(AREA, format!("{what} is any free one")),
        Ok(()) => Finding::ok(AREA, format!("{what} is free")),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Finding::fail(
            AREA,
            format!("{what} is in use"),
            format!(
                "stop what uses it (`ss -lptun 'sport = :{port}'` tells), unless it is this server already running; or set `{key}` to another"
            ),
        ),
        Err(error) => Finding::fail(
            AREA,
            format!("{what} cannot be bound: {error}"),
            "listen on an address of this machine (`http.listen`, `media.listen`, `rtsp.listen`, `rtmp.listen`); ports below 1024 need the right to use them",
        ),
    }
}
