//! GStreamer's own WebRTC client: an RSA certificate, an offer without BUNDLE, RTP as GStreamer cuts it.

#![allow(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

mod support;

use host_ports::{Answer, FrameSize, IngressEvent};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc;
use support::{Pixels, Server};
use test_peer::PATIENCE;

struct Peer {
    process: Child,
    input: ChildStdin,
    lines: mpsc::Receiver<String>,
}

impl Peer {
    fn start(arguments: &[&str]) -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/webrtcbin_client.py");
        // Debian's Python has GStreamer's bindings; another one in the path may not.
        let mut process = Command::new("/usr/bin/python3")
            .arg(script)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3, python3-gi and gir1.2-gst-plugins-bad-1.0 are installed");
        let (input, output) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
        let (say, lines) = mpsc::channel();
        std::thread::spawn(move || {
            let lines = BufReader::new(output).lines().map_while(Result::ok);
            for line in lines {
                if say.send(line).is_err() {
                    return;
                }
            }
        });
        Self { process, input, lines }
    }

    fn line(&self) -> String {
        self.lines.recv_timeout(PATIENCE * 2).expect("the client says something")
    }

    fn offer(&self) -> String {
        serde_json::from_str(&self.line()).unwrap()
    }

    fn answer(&mut self, answer: &Answer) {
        writeln!(self.input, "{}", serde_json::to_string(&answer.sdp).unwrap()).unwrap();
        assert_eq!(self.line(), "connected");
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn webrtcbin_publishes_and_plays() {
    let server = Server::start();
    let (path, events) = server.echo(FrameSize::new(160, 120));
    path.show(Pixels::plain(FrameSize::new(160, 120), 90));

    let mut publisher = Peer::start(&["publish"]);
    let offer = publisher.offer();
    publisher.answer(&path.publish(&offer).unwrap());
    assert_eq!(events.recv_timeout(PATIENCE), Ok(IngressEvent::PublisherConnected));

    let mut reader = Peer::start(&["play"]);
    let offer = reader.offer();
    reader.answer(&path.play(&offer).unwrap());
    for _ in 0..10 {
        assert_eq!(reader.line(), "frame");
    }
    let stats = path.ingress_stats();
    assert!(stats.frames_decoded > 0 && stats.bytes_received > 0, "{stats:?}");
}

#[test]
fn webrtcbin_is_heard_and_hears() {
    let server = Server::start();
    let (path, events) = server.echo(FrameSize::new(160, 120));
    path.show(Pixels::plain(FrameSize::new(160, 120), 90));

    let mut publisher = Peer::start(&["publish", "audio"]);
    let offer = publisher.offer();
    publisher.answer(&path.publish(&offer).unwrap());
    assert_eq!(events.recv_timeout(PATIENCE), Ok(IngressEvent::PublisherConnected));

    let mut reader = Peer::start(&["play", "audio"]);
    let offer = reader.offer();
    reader.answer(&path.play(&offer).unwrap());
    let mut lines: Vec<_> = (0..20).map(|_| reader.line()).collect();
    lines.sort_unstable();
    assert_eq!(lines, [["frame"; 10], ["sound"; 10]].concat());
    assert_eq!(path.ingress_stats().audio_codec, Some("Opus"));
}
