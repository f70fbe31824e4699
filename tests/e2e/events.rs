//! A stream's life as a client is told it, with a plugin that fails on request.

use serde_json::json;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;
use test_peer::{Clip, Codec};
use tests::host::{Host, Stream};
use tests::libraries::library;
use tests::peers::publish;

const PATIENCE: Duration = Duration::from_secs(30);

/// Names of events, as they come.
pub struct Events(Receiver<String>);

impl Events {
    pub fn of(host: &Host, stream: &Stream<'_>) -> Self {
        let authority = host.authority();
        let mut connection = TcpStream::connect(authority).expect("the server listens");
        let path = format!("{}/events", stream.path());
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n");
        connection.write_all(request.as_bytes()).expect("the server reads");
        let (sender, receiver) = channel();
        std::thread::spawn(move || {
            let lines = BufReader::new(connection).lines().map_while(Result::ok);
            for line in lines {
                let name = line.strip_prefix("event:").map(|name| name.trim().to_owned());
                if name.is_some_and(|name| sender.send(name).is_err()) {
                    break;
                }
            }
        });
        Self(receiver)
    }

    /// Those up to this one; the loading's progress as one.
    #[track_caller]
    pub fn until(&self, name: &str) -> Vec<String> {
        let mut names = Vec::new();
        while names.last().is_none_or(|last| last != name) {
            let next = self.0.recv_timeout(PATIENCE);
            names.push(next.unwrap_or_else(|error| panic!("no {name} ({error}) after {names:?}")));
            names.dedup();
        }
        names
    }
}

#[test]
fn a_client_is_told_all_of_a_stream_s_life() {
    let host = Host::start(&[library("faulty")]);
    let clip = Clip::ball(Codec::Vp8, 64, 64);
    let stream = host.create("faulty", json!({}));
    let events = Events::of(&host, &stream);
    assert_eq!(events.until("running"), ["created", "loading", "running"]);

    let publisher = publish(&stream, &clip, 30);
    assert_eq!(events.until("first_frame"), ["first_frame"]);

    stream.patch(json!({"fault": "abort"}));
    events.until("plugin_crashed");
    stream.patch(json!({"fault": "none"}));
    events.until("plugin_recovered");

    stream.patch(json!({"width": 32}));
    events.until("reloading");
    events.until("reloaded");

    drop(publisher);
    events.until("input_lost");
    let _publisher = publish(&stream, &clip, 30);
    events.until("input_back");

    stream.delete();
    events.until("deleted");
    assert_eq!(events.0.recv_timeout(PATIENCE), Err(RecvTimeoutError::Disconnected), "it is over");
}
