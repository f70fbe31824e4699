//! Params that point to pictures, with a plugin that paints what it is given.

use crate::events::Events;
use crate::processors::Seen;
use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Cursor, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use test_peer::{Clip, Codec};
use tests::host::{Host, Stream};
use tests::libraries::library;
use tests::peers::publish;

const RED: [u8; 3] = [255, 0, 0];
const BLUE: [u8; 3] = [0, 0, 255];
/// What they are as luma of BT.601, studio range.
const RED_LUMA: u8 = 81;
const BLUE_LUMA: u8 = 41;

/// Serves `/red.png`, and `/blue.jpg` while the gate is not locked; nothing else.
struct Server {
    port: u16,
    is_over: Arc<AtomicBool>,
    accepting: Option<JoinHandle<()>>,
}

impl Server {
    fn start(gate: Arc<Mutex<()>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let is_over = Arc::new(AtomicBool::new(false));
        let over = is_over.clone();
        let accepting = std::thread::spawn(move || {
            std::thread::scope(|scope| {
                for connection in listener.incoming().flatten() {
                    if over.load(Ordering::SeqCst) {
                        return;
                    }
                    scope.spawn(|| serve(connection, &gate));
                }
            });
        });
        Self { port, is_over, accepting: Some(accepting) }
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        // Wakes the one that accepts.
        drop(TcpStream::connect(("127.0.0.1", self.port)));
        let _ = self.accepting.take().map(JoinHandle::join);
    }
}

/// A client that goes away is nothing to fail for.
fn serve(mut connection: TcpStream, gate: &Mutex<()>) -> Option<()> {
    let mut lines = BufReader::new(&connection).lines().map_while(Result::ok);
    let target = lines.next()?.split(' ').nth(1)?.to_owned();
    lines.take_while(|line| !line.is_empty()).for_each(drop);
    let (status, body) = match target.as_str() {
        "/red.png" => (200, picture(RED, ImageFormat::Png)),
        "/blue.jpg" => {
            drop(gate.lock());
            (200, picture(BLUE, ImageFormat::Jpeg))
        }
        _ => (404, b"secret".to_vec()),
    };
    let length = body.len();
    write!(connection, "HTTP/1.1 {status} X\r\nContent-Length: {length}\r\n\r\n").ok()?;
    connection.write_all(&body).ok()?;
    // Until the client has read it.
    connection.read_to_end(&mut Vec::new()).ok().map(drop)
}

fn picture(colour: [u8; 3], format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    let picture = DynamicImage::from(RgbImage::from_pixel(40, 30, Rgb(colour)));
    picture.write_to(&mut bytes, format).expect("it can be written");
    bytes.into_inner()
}

/// A host that may fetch from that server.
fn host(server: &Server) -> Host {
    let settings = [
        ("SDH_PICTURES__ALLOW_HTTP", "true".to_owned()),
        ("SDH_PICTURES__ALLOW_PRIVATE_ADDRESSES", "true".to_owned()),
        ("SDH_PICTURES__PORTS", format!("[{}]", server.port)),
        // None is asked.
        ("HTTP_PROXY", "http://127.0.0.1:9".to_owned()),
        ("http_proxy", "http://127.0.0.1:9".to_owned()),
    ];
    Host::start_with(&[library("faulty")], &settings)
}

fn pictures(status: &Value) -> &Value {
    &status["data"]["host_status"]["pictures"]
}

fn has_state(status: &Value, state: &str) -> bool {
    pictures(status)[0]["state"] == state
}

fn published(stream: &Stream<'_>) -> test_peer::Publisher {
    publish(stream, &Clip::ball(Codec::Vp8, 64, 64), 30)
}

#[test]
fn a_picture_is_seen_in_the_video_once_it_is_fetched_and_the_one_before_until_then() {
    let gate: Arc<Mutex<()>> = Arc::default();
    let server = Server::start(gate.clone());
    let mut host = host(&server);
    let red = server.url("/red.png");
    let stream = host.create("faulty", json!({ "picture": red }));
    assert_eq!(stream.object["params"]["picture"], red);
    let events = Events::of(&host, &stream);
    let publisher = published(&stream);
    let mut seen = Seen::of(&host, &stream);
    seen.until_luma(RED_LUMA);
    events.until("picture_fetched");

    let held = gate.lock().expect("no panic");
    let blue = server.url("/blue.jpg");
    let answer = stream.patch(json!({ "picture": blue, "at_frame": 2 }));
    assert_eq!((answer.status, &answer.json()["params"]["picture"]), (200, &json!(blue)));
    stream.wait_until("it is fetched", |status| has_state(status, "fetching"));
    let answer = stream.patch_and_wait(json!({ "at_frame": 3 }));
    assert!(
        answer.json()["applied"]["frame"].is_u64(),
        "other params need not wait: {}",
        answer.text
    );
    seen.until_luma(RED_LUMA);
    drop(held);
    seen.until_luma(BLUE_LUMA);
    stream.wait_until("it is there", |status| has_state(status, "ready"));

    // In the text, and answered when it is seen.
    let data = format!("data:image/png;base64,{}", base64(&picture(RED, ImageFormat::Png)));
    let answer = stream.patch_and_wait(json!({ "picture": data }));
    let object = answer.json();
    assert_eq!((answer.status, &object["params"]["picture"]), (200, &json!(data)));
    assert!(object["applied"]["frame"].is_u64(), "{}", object["applied"]);
    seen.until_luma(RED_LUMA);
    stream.patch_and_wait(json!({ "picture": blue }));
    seen.until_luma(BLUE_LUMA);

    // It is known again after a crash, though nobody has it any more.
    let path = stream.path();
    drop((seen, publisher, server));
    host.kill();
    host.start_again();
    let object = host.get(&path).json();
    assert_eq!(object["params"]["picture"], blue);
    let stream = Stream::of(&host, object);
    let _publisher = published(&stream);
    Seen::of(&host, &stream).until_luma(BLUE_LUMA);
}

#[test]
fn a_picture_that_cannot_be_had_is_told_and_the_stream_goes_on() {
    let server = Server::start(Arc::default());
    let host = host(&server);
    let stream = host.create("faulty", json!({ "picture": server.url("/gone.png") }));
    let events = Events::of(&host, &stream);
    let _publisher = published(&stream);
    let told = events.until("picture_failed");
    assert!(!told.contains(&"error".to_owned()), "{told:?}");
    let status = stream.wait_until("it runs without", |status| {
        status["status"] == "running"
            && status["data"]["host_status"]["frames"]["processed"].as_u64() > Some(3)
    });
    assert!(has_state(&status, "failed") && pictures(&status)[0]["field"] == "picture", "{status}");
    let reason = pictures(&status)[0]["error"].as_str().expect("a reason");
    assert_eq!(reason, "it was answered with status 404; 200 would be right");
    let warning = format!("the picture of `picture` was not fetched, there is none: {reason}");
    assert_eq!(status["warnings"], json!([warning]));
    assert!(!status.to_string().contains("secret"), "{status}");

    // Another one that can be had.
    stream.patch(json!({ "picture": server.url("/red.png") }));
    events.until("picture_fetched");
    let status = stream.wait_until("it is there", |status| has_state(status, "ready"));
    assert_eq!(status["warnings"], json!([]));
    let mut seen = Seen::of(&host, &stream);
    seen.until_luma(RED_LUMA);
    // And one that cannot: the one before stays.
    let answer = stream.patch_and_wait(json!({ "picture": server.url("/gone.png") }));
    let object = answer.json();
    assert_eq!(answer.status, 200, "{}", answer.text);
    let reason = object["applied"]["reason"].as_str().expect("no frame has it");
    assert!(reason.contains("the one before stays"), "{reason}");
    seen.until_luma(RED_LUMA);
}

#[test]
fn what_leads_inside_or_is_no_picture_by_its_text_is_refused() {
    let host = Host::start(&[library("faulty")]);
    let stream = host.create("faulty", json!({}));
    for (source, part) in [
        ("https://127.0.0.1/a.png", "must name a public host"),
        ("https://2130706433/a.png", "must name a public host"),
        ("https://[::ffff:169.254.169.254]/", "must name a public host"),
        ("https://localhost/", "must name a public host"),
        ("http://example.com/a.png", "must start with https://"),
        ("file:///etc/passwd", "must start with https://"),
        ("https://example.com:8443/a.png", "must not name port 8443"),
        ("https://user:word@example.com/a.png", "must name neither a user"),
        ("data:image/png;base64,bm8gcGljdHVyZQ==", "neither PNG nor JPEG nor WebP"),
        ("data:text/html;base64,AAAA", "must be data:TYPE"),
    ] {
        let body = json!({ "pipeline": "faulty", "params": { "picture": source } });
        let created = host.send("POST", "/v1/streams", &body);
        for answer in [created, stream.patch(json!({ "picture": source }))] {
            assert_eq!(answer.status, 400, "{source}: {}", answer.text);
            let names_it = answer.text.contains("/picture") && answer.text.contains(part);
            assert!(names_it, "{source}: {}", answer.text);
        }
    }
    assert_eq!(host.get("/v1/streams").json()["data"].as_array().map(Vec::len), Some(1));
    assert_eq!(stream.status()["revision"], 1);
}

pub(crate) fn base64(bytes: &[u8]) -> String {
    const SIGNS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let bits = three.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte));
        let bits = bits << (8 * (3 - three.len()));
        let sign = |place: usize| char::from(SIGNS[(bits >> (18 - 6 * place)) as usize & 63]);
        let signs = (0..4).map(|place| if place <= three.len() { sign(place) } else { '=' });
        text.extend(signs);
    }
    text
}
