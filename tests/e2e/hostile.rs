//! Clients that mean harm, each kind beside a running stream that may not notice. Of wrong tokens by the thousand, tells
//! the daemon's test of tokens.

use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use test_peer::{Client, Clip, Codec};
use tests::host::Host;
use tests::libraries::library;
use tests::peers::{publish, watch};
use tests::process::peak_memory;

const ATTACKERS: usize = 8;
/// What the server may hold more for all of them together, in KiB: the largest bodies it takes, each in a buffer that
/// doubled last, and some room besides.
const ROOM_KIB: u64 = ATTACKERS as u64 * 2 * (8 << 10) + (16 << 10);
/// Longest time between two frames at the viewer: machines may be slow, and a server that is stuck is so for good.
const LONGEST_GAP: Duration = Duration::from_secs(5);
/// What clients may take for a head, and for a body.
const SECONDS: u64 = 2;
/// For what comes within seconds, or never.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs an attack while a stream is watched, and checks that viewer and memory notice nothing.
fn beside_a_stream(attack: impl FnOnce(&Host, SocketAddr)) {
    let settings = [
        ("SDH_HTTP__HEAD_TIMEOUT_SECONDS", SECONDS.to_string()),
        ("SDH_HTTP__BODY_TIMEOUT_SECONDS", SECONDS.to_string()),
    ];
    let host = Host::start_with(&[library("passthrough"), library("sd15")], &settings);
    let stream = host.create("passthrough", json!({"width": 64, "height": 64}));
    let publisher = publish(&stream, &Clip::ball(Codec::Vp8, 64, 64), 30);
    let viewer = Viewer::start(watch(&host, &stream, Codec::Vp8));
    stream.wait_until("its pipeline makes the frames", |status| {
        status["frames_processed"].as_u64() > Some(30)
    });
    let (before, pid) = (stream.status(), u64::from(host.pid()));
    let peak = peak_memory(pid);

    attack(&host, media_address(&publisher.answer));

    let grown = peak_memory(pid).saturating_sub(peak);
    assert!(grown < ROOM_KIB, "the server took {grown} KiB more");
    let after = stream.wait_until("frames flow on", |status| {
        status["frames_processed"].as_u64() > before["frames_processed"].as_u64()
    });
    for key in ["worker_pid", "last_error"] {
        assert_eq!(after["data"]["host_status"][key], before["data"]["host_status"][key]);
    }
    let gap = viewer.stop();
    assert!(gap < LONGEST_GAP, "the picture stood still for {gap:?}");
    assert_eq!(host.get("/health").json()["active_streams"], 1);
}

/// Where the server takes media.
fn media_address(answer: &str) -> SocketAddr {
    let candidate = answer.lines().find_map(|line| line.strip_prefix("a=candidate:"));
    let fields: Vec<_> = candidate.expect("the answer has candidates").split(' ').collect();
    format!("{}:{}", fields[4], fields[5]).parse().expect("an address")
}

/// Watches on a thread of its own, and knows the longest time without a frame.
struct Viewer {
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<Duration>,
}

impl Viewer {
    fn start(mut client: Client) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let stop = is_over.clone();
        let thread = thread::spawn(move || {
            client.frames(1);
            let (mut last, mut longest) = (Instant::now(), Duration::ZERO);
            while !stop.load(Ordering::Relaxed) && !client.is_closed {
                let has_frame = !client.step().is_empty();
                longest = longest.max(last.elapsed());
                last = if has_frame { Instant::now() } else { last };
            }
            assert!(!client.is_closed, "the viewer was thrown out");
            longest
        });
        Self { is_over, thread }
    }

    fn stop(self) -> Duration {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.join().expect("the viewer stays")
    }
}

fn connect(authority: &str) -> TcpStream {
    let connection = TcpStream::connect(authority).expect("the server listens");
    connection.set_read_timeout(Some(PATIENCE)).expect("a socket");
    connection
}

/// Sends a request's pieces as long as they are read, and gives what is answered until the server closes.
fn send(authority: &str, pieces: impl Iterator<Item = Vec<u8>> + Send) -> String {
    let mut connection = connect(authority);
    let mut sender = connection.try_clone().expect("a second handle");
    thread::scope(|scope| {
        scope.spawn(move || {
            // The server need not read to the end of what it refuses.
            let _ = pieces.into_iter().try_for_each(|piece| sender.write_all(&piece));
        });
        let mut answer = Vec::new();
        // What came before a reset counts.
        let end = connection.read_to_end(&mut answer);
        let is_waiting = end.is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
        assert!(!is_waiting, "the server neither answers to the end nor closes");
        String::from_utf8_lossy(&answer).into_owned()
    })
}

fn send_text(authority: &str, request: String) -> String {
    send(authority, std::iter::once(request.into_bytes()))
}

#[track_caller]
fn check(answer: &str, status: u16, code: &str) {
    let begins = answer.starts_with(&format!("HTTP/1.1 {status} "));
    assert!(begins && answer.contains(code), "not {status} {code}: {answer:.400}");
}

/// Runs as many at a time as there are attackers.
fn all_at_once(attack: impl Fn() + Sync) {
    thread::scope(|scope| (0..ATTACKERS).for_each(|_| drop(scope.spawn(&attack))));
}

#[test]
fn heads_and_bodies_that_never_end_are_given_up() {
    beside_a_stream(|host, _| {
        let heads = ["", "GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nHost: h\r\nX: "];
        let mut stuck = Vec::new();
        for index in 0..100 {
            let mut connection = connect(host.authority());
            connection.write_all(heads[index % heads.len()].as_bytes()).expect("it is read");
            stuck.push(connection);
        }
        assert_eq!(host.get("/health").status, 200);
        for connection in &mut stuck {
            let mut said = String::new();
            connection.read_to_string(&mut said).expect("the server closes");
            assert!(!said.starts_with("HTTP/1.1 200"), "{said}");
        }
        // More is announced than comes.
        let mut connection = connect(host.authority());
        let head = "POST /v1/streams HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{";
        connection.write_all(head.as_bytes()).expect("it is read");
        let mut answer = String::new();
        connection.read_to_string(&mut answer).expect("the server closes");
        check(&answer, 400, "REQUEST/UNREADABLE_BODY");
    });
}

#[test]
fn bodies_of_a_hundred_megabytes_are_refused_without_being_kept() {
    const MEGABYTES: usize = 100;
    beside_a_stream(|host, _| {
        let head = |path: &str, kind: &str, length: &str| {
            let head = format!("POST {path} HTTP/1.1\r\nHost: h\r\nContent-Type: {kind}\r\n");
            format!("{head}{length}\r\nConnection: close\r\n\r\n").into_bytes()
        };
        let to = host.authority();
        let (whip, json, sdp) = ("/live/stk_none/whip", "application/json", "application/sdp");
        for (path, kind) in [("/v1/streams", json), (whip, sdp)] {
            all_at_once(|| {
                let length = format!("Content-Length: {}", MEGABYTES << 20);
                let body = std::iter::repeat_n(vec![b' '; 1 << 20], MEGABYTES);
                let answer = send(to, std::iter::once(head(path, kind, &length)).chain(body));
                check(&answer, 413, "REQUEST/TOO_LARGE");
            });
            all_at_once(|| {
                let chunk = [b"100000\r\n", &[b' '; 1 << 20][..], b"\r\n"].concat();
                let body = std::iter::repeat_n(chunk, MEGABYTES);
                let chunked = head(path, kind, "Transfer-Encoding: chunked");
                let answer = send(to, std::iter::once(chunked).chain(body));
                check(&answer, 413, "REQUEST/TOO_LARGE");
            });
        }
    });
}

#[test]
fn json_that_is_deep_wide_or_twisted_is_refused() {
    beside_a_stream(|host, _| {
        let to = host.authority();
        let post = |body: &str| {
            let length = body.len();
            let head = "POST /v1/streams HTTP/1.1\r\nHost: h\r\nConnection: close";
            send_text(to, format!("{head}\r\nContent-Length: {length}\r\n\r\n{body}"))
        };
        let params = |params: &str| format!(r#"{{"pipeline":"passthrough","params":{params}}}"#);
        let deep = "[".repeat(500_000);
        let nested = format!("{}1{}", r#"{"prompt":"#.repeat(5000), "}".repeat(5000));
        let wide = format!("[{}1]", "1,".repeat(400_000));
        let long = "9".repeat(500_000);
        all_at_once(|| {
            check(&post(&deep), 400, "REQUEST/INVALID_");
            check(&post(&params(&deep)), 400, "REQUEST/INVALID_");
            check(&post(&params(&nested)), 400, "REQUEST/INVALID_");
            check(&post(&params(&wide)), 400, "REQUEST/INVALID_");
            check(&post(&params(&format!(r#"{{"width":{long}}}"#))), 400, "");
            check(&post(&params(r#"{"width":1e400}"#)), 400, "");
            check(&post(&params(r#"{"prompt":"\ud800"}"#)), 400, "REQUEST/INVALID_JSON");
        });
    });
}

#[test]
fn heads_that_are_huge_or_ambiguous_are_refused() {
    beside_a_stream(|host, _| {
        let to = host.authority();
        let get = |path: &str, headers: &str| {
            let head = format!("GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n");
            send_text(to, format!("{head}{headers}\r\n"))
        };
        all_at_once(|| {
            check(&get("/health", &format!("X: {}\r\n", "x".repeat(4 << 20))), 431, "");
            check(&get("/health", &"X: x\r\n".repeat(100_000)), 431, "");
            check(&get(&format!("/{}", "x".repeat(200_000)), ""), 414, "");
            check(&get("/health", "Bad Name: x\r\n"), 400, "");
        });
        // Two lengths, or a length beside chunks, are how one request hides in another.
        let post = |lengths: &str| {
            let head = "POST /v1/streams HTTP/1.1\r\nHost: h\r\nConnection: close\r\n";
            send_text(to, format!("{head}{lengths}\r\n0\r\n\r\nGET /health HTTP/1.1\r\n\r\n"))
        };
        for lengths in [
            "Content-Length: 5\r\nContent-Length: 6\r\n",
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
            "Content-Length: -5\r\n",
        ] {
            let answer = post(lengths);
            check(&answer, 400, "");
            assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{lengths}: {answer}");
        }
    });
}

#[test]
fn paths_lead_to_nothing_but_what_is_declared() {
    const TRICKS: &[&str] = &[
        "..",
        "../../../etc/passwd",
        "..%2f..%2f..%2fetc%2fpasswd",
        "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "..%5c..%5cetc",
        "%00",
        "index.html%00.js",
        "%ff%fe",
        "%252e%252e%252f",
        "..;/..;/",
        "%0d%0aSet-Cookie:%20a=b",
    ];
    beside_a_stream(|host, _| {
        let to = host.authority();
        for folder in ["/v1/streams/", "/page/", "/docs/", "/live/", "/"] {
            for trick in TRICKS {
                let request =
                    format!("GET {folder}{trick} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
                let answer = send_text(to, request);
                assert!(answer.starts_with("HTTP/1.1 40"), "{folder}{trick}: {answer:.300}");
                assert!(!answer.contains("root:") && !answer.contains("\nSet-Cookie"), "{answer}");
            }
        }
    });
}

#[test]
fn model_ids_lead_nowhere_but_below_the_models() {
    let long = "x".repeat(100_000);
    let tricks = [
        "..",
        "../../../etc",
        "/etc",
        "/",
        "a/../../b",
        "models/../../..",
        "file:///etc/passwd",
        "a\0b",
        "a/b/c/d/e/f",
        "~root",
        "$HOME/x",
        &long,
    ];
    beside_a_stream(|host, _| {
        for trick in tricks {
            let params = json!({"model_id": trick});
            let body = json!({"pipeline": "streamdiffusion-sd15", "params": params});
            let answer = host.send("POST", "/v1/streams", &body);
            if answer.status == 400 {
                continue;
            }
            assert_eq!(answer.status, 201, "{trick:.50}: {}", answer.text);
            let id = answer.json()["id"].as_str().expect("an id").to_owned();
            let status = host.wait_for("the stream fails", || {
                let status = host.get(&format!("/v1/streams/{id}/status")).json();
                (status["status"] == "error").then_some(status)
            });
            let error = status["error_message"].as_str().unwrap_or_default().to_owned();
            let is_refused = error.contains("is not a model id") || error.contains("lies outside");
            assert!(is_refused, "{trick:.50}: {error}");
            assert_eq!(host.send("DELETE", &format!("/v1/streams/{id}"), &Value::Null).status, 204);
        }
    });
}

#[test]
fn noise_at_the_media_port_is_nothing() {
    beside_a_stream(|_, address| {
        let socket = UdpSocket::bind(("127.0.0.1", 0)).expect("a socket");
        let address = SocketAddr::from(([127, 0, 0, 1], address.port()));
        let mut random = 1u64;
        // First bytes as STUN, DTLS, RTP and RTCP have them, and any others.
        for first in [0, 1, 20, 22, 63, 128, 144, 200, 255].repeat(500) {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let length = 1 + (random >> 33) as usize % 1400;
            let mut packet: Vec<_> = (0..length).map(|at| (random >> (at % 57)) as u8).collect();
            packet[0] = first;
            // A full buffer of the kernel's is no news.
            let _ = socket.send_to(&packet, address);
        }
        let connections: Vec<_> = (0..50)
            .map(|index| {
                let mut connection = TcpStream::connect(address).expect("the server listens");
                let length = if index % 2 == 0 { u16::MAX } else { 20 };
                let _ = connection.write_all(&length.to_be_bytes());
                let _ = connection.write_all(&vec![index as u8; 3000]);
                connection
            })
            .collect();
        drop(connections);
    });
}

/// A connection to a door of this machine, from the loopback address that ends so.
fn connect_from(last: u8, url: &str) -> TcpStream {
    let door = url.split('/').nth(2).expect("host and port");
    let door: SocketAddr = door.parse().expect("an address");
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), 0)).into()).expect("it is ours");
    socket.connect(&door.into()).expect("the server listens");
    let connection = TcpStream::from(socket);
    connection.set_read_timeout(Some(PATIENCE)).expect("a socket");
    connection
}

#[test]
fn one_address_does_not_take_every_place_of_rtsp_and_rtmp() {
    const MOST: usize = 3;
    let settings = [
        ("SDH_RTSP__MAX_CONNECTIONS_PER_ADDRESS", MOST.to_string()),
        ("SDH_RTMP__MAX_CONNECTIONS_PER_ADDRESS", MOST.to_string()),
    ];
    let host = Host::start_with(&[], &settings);
    // Of an RTMP client, which the server answers in the same version.
    let greeting = [&[3][..], &[0; 1536]].concat();
    let options = b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n";
    for (url, hello, answer) in
        [(host.rtsp(""), &options[..], &b"RTSP/1.0 200"[..]), (host.rtmp_url(""), &greeting, &[3])]
    {
        let is_answered = |mut connection: TcpStream| {
            let mut said = vec![0; answer.len()];
            let read = connection.write_all(hello).and_then(|()| connection.read_exact(&mut said));
            (read.is_ok() && said == answer).then_some(connection)
        };
        let held: Vec<_> = (0..MOST).map(|_| is_answered(connect_from(1, &url))).collect();
        assert!(held.iter().all(Option::is_some), "{url}: {held:?}");
        let begun = Instant::now();
        for _ in 0..2 * MOST {
            assert!(is_answered(connect_from(1, &url)).is_none(), "{url}: one too many");
        }
        // Closed at once: none was let wait for its time limit.
        assert!(begun.elapsed() < PATIENCE / 2, "{url}: {:?}", begun.elapsed());
        assert!(is_answered(connect_from(2, &url)).is_some(), "{url}: the others' places are free");
        drop(held);
        host.wait_for("there is room again", || is_answered(connect_from(1, &url)));
    }
    let log = host.end();
    for door in ["rtsp", "rtmp"] {
        let remedy = format!("raise `{door}.max_connections_per_address`");
        assert!(log.contains(&remedy), "{log}");
    }
}
