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

/// A server that answers every connection with these bytes, and then goes on with them if `is_endless`.
fn answering(bytes: &'static [u8], is_endless: bool) -> Client {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for mut connection in listener.incoming().flatten() {
            let _ = connection.read(&mut [0; 4096]);
            let mut written = connection.write_all(bytes);
            while is_endless && written.is_ok() {
                written = connection.write_all(&[b' '; 65536]);
            }
        }
    });
    Client::new(&Access { url, user: "u".into(), password: "p".into() })
}

#[test]
fn answers_that_nobody_should_believe_are_errors() {
    let error = |bytes, is_endless| answering(bytes, is_endless).paths().unwrap_err();
    let endless = error(b"HTTP/1.1 200 OK\r\n\r\n", true);
    assert!(matches!(endless, CallError::Nonsense { .. }), "{endless}");
    assert!(endless.to_string().contains("longer than"), "{endless}");
    let pages = b"HTTP/1.1 200 OK\r\nContent-Length: 40\r\nConnection: close\r\n\r\n{\"pageCount\":1000000000000,\"items\":[    ]}";
    let pages = error(pages, false).to_string();
    assert!(
        pages.contains("more than 100 pages") || pages.contains("answer of its API"),
        "{pages}"
    );
    let html =
        error(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\n<html>", false);
    assert!(matches!(html, CallError::Nonsense { .. }), "{html}");
    let redirect = b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    assert!(matches!(error(redirect, false), CallError::Refused { status: 302, .. }));
    let closed = error(b"", false);
    assert!(matches!(closed, CallError::Unreachable { .. }), "{closed}");
    let refused = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    assert!(matches!(error(refused, false), CallError::Unauthorized { .. }));
    let version = b"HTTP/1.1 200 OK\r\nContent-Length: 19\r\nConnection: close\r\n\r\n{\"version\":\"newest\"}";
    let version = answering(version, false).version().unwrap_err();
    assert!(version.to_string().contains("`newest` is no version"), "{version}");
}

#[test]
fn one_that_hangs_is_waited_for_a_few_seconds() {
    let stand_in = StandIn::running(json!({"version": NEW}));
    stand_in.behave(json!({"version": NEW, "hangs": true}));
    let error = Client::new(&stand_in.access()).paths().unwrap_err();
    assert!(matches!(error, CallError::Unreachable { .. }), "{error}");
}
