//! Calls of the API, one by one: both versions, refusals, and answers that nobody should believe.

use crate::support::{NEW, OLD, StandIn};
use host_mediamtx::{Access, CallError, Client, Version};
use serde_json::json;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;

#[test]
fn both_versions_take_what_the_host_asks_of_them() {
    for version in [OLD, NEW] {
        let stand_in = StandIn::running(json!({"version": version}));
        let client = Client::new(&stand_in.access());
        let told = (version == NEW).then_some(Version::new(1, 20, 1));
        assert_eq!(client.version().unwrap(), told);
        let output = json!({"source": "whep://127.0.0.1:1/play/a/whep", "sourceOnDemand": true});
        client.add_path("a_out", &output).unwrap();
        let found = client.path_configs().unwrap();
        assert_eq!((found.len(), found[0].name.as_str()), (1, "a_out"));
        assert_eq!(found[0].source.as_deref(), Some("whep://127.0.0.1:1/play/a/whep"));
        assert!(found[0].source_on_demand);

        let twice = client.add_path("a_out", &output).unwrap_err();
        assert_eq!(
            twice.to_string(),
            "MediaMTX answers 400 to config/paths/add/a_out: path already exists"
        );
        client.replace_path("a_out", &json!({"source": "whep://127.0.0.1:2/"})).unwrap();
        assert!(!client.path_configs().unwrap()[0].source_on_demand);
        client.delete_path("a_out").unwrap();
        client.delete_path("a_out").unwrap();
        assert!(client.path_configs().unwrap().is_empty() && client.paths().unwrap().is_empty());
    }
}

#[test]
fn what_only_a_newer_one_knows_an_older_one_refuses_by_name() {
    let forward =
        json!({"forward": [{"dest": "whip://127.0.0.1:1/a/whip", "whipBearerToken": "k"}]});
    let old = StandIn::running(json!({"version": OLD}));
    let error = Client::new(&old.access()).add_path("a", &forward).unwrap_err().to_string();
    assert!(error.ends_with("json: unknown field \"forward\""), "{error}");
    let new = StandIn::running(json!({"version": NEW}));
    let client = Client::new(&new.access());
    client.add_path("a", &forward).unwrap();
    let forward = client.path_configs().unwrap()[0].forward.clone().unwrap();
    assert_eq!(forward[0].whip_bearer_token, "k");
}

#[test]
fn long_lists_are_read_to_their_end() {
    let stand_in = StandIn::running(json!({"version": NEW}));
    let client = Client::new(&stand_in.access());
    for number in 0..230 {
        client.add_path(&format!("path{number:03}"), &json!({})).unwrap();
    }
    let found = client.path_configs().unwrap();
    assert_eq!((found.len(), found[229].name.as_str()), (230, "path229"));
}

/// A server that answers every connection with this head and body, and then goes on with blanks if `is_endless`.
fn answering(head: &str, body: &str, is_endless: bool) -> Client {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let length =
        if is_endless { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    let answer = format!("HTTP/1.1 {head}\r\n{length}Connection: close\r\n\r\n{body}");
    thread::spawn(move || {
        for mut connection in listener.incoming().flatten() {
            let _ = connection.read(&mut [0; 4096]);
            let mut written = connection.write_all(answer.as_bytes());
            while is_endless && written.is_ok() {
                written = connection.write_all(&[b' '; 65536]);
            }
        }
    });
    Client::new(&Access { url, user: "u".into(), password: "p".into() })
}

#[test]
fn answers_that_nobody_should_believe_are_errors() {
    let error = |head, body, is_endless| answering(head, body, is_endless).paths().unwrap_err();
    let endless = error("200 OK", "", true);
    assert!(matches!(endless, CallError::Nonsense { .. }), "{endless}");
    assert!(endless.to_string().contains("longer than"), "{endless}");
    let pages = error("200 OK", "{\"pageCount\": 1000000000000, \"items\": []}", false);
    assert!(pages.to_string().contains("more than 100 pages"), "{pages}");
    for body in ["<html>", "", "[]", "{\"pageCount\": -1, \"items\": []}"] {
        let error = error("200 OK", body, false);
        assert!(matches!(error, CallError::Nonsense { .. }), "{body}: {error}");
    }
    let redirect = error("302 Found\r\nLocation: http://127.0.0.1:1/", "", false);
    assert!(matches!(redirect, CallError::Refused { status: 302, .. }), "{redirect}");
    assert!(matches!(error("401 No", "", false), CallError::Unauthorized { .. }));
    let broken = error("nonsense", "", false);
    assert!(matches!(broken, CallError::Unreachable { .. }), "{broken}");
    let long = "x".repeat(10_000);
    let refused = error("500 No", &format!("a\nb{long}"), false).to_string();
    assert!(refused.contains(": a bxxx") && refused.len() < 400, "{refused}");
    let version = answering("200 OK", "{\"version\": \"newest\"}", false).version().unwrap_err();
    assert!(version.to_string().contains("`newest` is no version"), "{version}");
}

#[test]
fn one_that_hangs_is_waited_for_a_few_seconds() {
    let stand_in = StandIn::running(json!({"version": NEW}));
    stand_in.behave(json!({"version": NEW, "hangs": true}));
    let error = Client::new(&stand_in.access()).paths().unwrap_err();
    assert!(matches!(error, CallError::Unreachable { .. }), "{error}");
}
