//! A publisher by RTMP that sends what ffmpeg made, with times and delays of its own.

use crate::{AS_IT_COMES, BEEP, FLASH, Ffmpeg, Held};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use test_peer::PATIENCE;

const AUDIO: u8 = 8;
const VIDEO: u8 = 9;
const COMMAND: u8 = 20;

/// By how much the times of all messages are off from some time on, in ms.
#[derive(Clone, Copy, Debug)]
pub struct Jump {
    pub after: u32,
    pub by: i32,
}

pub struct Publisher {
    stop: Option<Sender<()>>,
    sending: Option<JoinHandle<()>>,
}

struct Tag {
    kind: u8,
    time: u32,
    data: Vec<u8>,
}

impl Publisher {
    /// The first message has the time `first`.
    pub fn start((port, key): (u16, &str), held: Held, first: u32, jump: Option<Jump>) -> Self {
        let mut connection = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        connection.set_read_timeout(Some(PATIENCE)).unwrap();
        connection.set_nodelay(true).unwrap();
        begin(&mut connection, key);
        let mut tags = flashes_and_beeps();
        let due = move |tag: &Tag| {
            let held = if tag.kind == AUDIO { held.audio } else { held.video };
            Duration::from_millis(tag.time.into()) + held
        };
        tags.sort_by_key(due);
        let (stop, stopped) = channel();
        let sending = std::thread::spawn(move || {
            let started = Instant::now();
            for tag in tags {
                let wait = due(&tag).saturating_sub(started.elapsed());
                if stopped.recv_timeout(wait) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
                let jumped = jump.filter(|jump| tag.time >= jump.after).map_or(0, |jump| jump.by);
                let time = first.wrapping_add(tag.time).wrapping_add_signed(jumped);
                if send(&mut connection, tag.kind, 1, time, &tag.data).is_err() {
                    return;
                }
            }
        });
        Self { stop: Some(stop), sending: Some(sending) }
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.stop = None;
        let _ = self.sending.take().map(JoinHandle::join);
    }
}

/// Some seconds of them, as the messages of an encoder.
fn flashes_and_beeps() -> Vec<Tag> {
    let now = FLASH.strip_prefix("-re ").unwrap();
    let line = format!("{now} {BEEP} -t 15 {AS_IT_COMES} -f flv -");
    let output = Ffmpeg::command(&line).output().expect("ffmpeg is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // A header, and the length of what is before the first tag.
    let (mut rest, mut tags) = (&output.stdout[9 + 4..], Vec::new());
    while let Some((head, after)) = rest.split_at_checked(11) {
        let size = usize::try_from(u32::from_be_bytes([0, head[1], head[2], head[3]])).unwrap();
        let time = u32::from_be_bytes([head[7], head[4], head[5], head[6]]);
        if [AUDIO, VIDEO].contains(&head[0]) {
            tags.push(Tag { kind: head[0], time, data: after[..size].to_vec() });
        }
        rest = &after[size + 4..];
    }
    assert!(tags.len() > 15 * 60, "{} tags", tags.len());
    tags
}

/// Shakes hands, and asks to publish. What the server answers beyond its greeting is not waited for: it is told in order.
fn begin(connection: &mut TcpStream, key: &str) {
    let mut hello = [0; 1537];
    hello[0] = 3;
    connection.write_all(&hello).unwrap();
    let mut greeting = vec![0; 1 + 2 * 1536];
    connection.read_exact(&mut greeting).unwrap();
    connection.write_all(&greeting[1..1537]).unwrap();
    // All messages in one chunk each.
    send(connection, 1, 0, 0, &(1_u32 << 20).to_be_bytes()).unwrap();
    let object = [&[3, 0, 3][..], b"app", &text("live"), &[0, 0, 9]].concat();
    let connect = [text("connect"), number(1.0), object];
    let create = [text("createStream"), number(2.0), vec![5]];
    let publish = [text("publish"), number(3.0), [vec![5], text(key), text("live")].concat()];
    for command in [connect, create, publish] {
        send(connection, COMMAND, 0, 0, &command.concat()).unwrap();
    }
    let mut reading = connection.try_clone().unwrap();
    // What it says is let go, so that it never waits. Ends with the connection.
    std::thread::spawn(move || std::io::copy(&mut reading, &mut std::io::sink()));
}

fn send(
    connection: &mut TcpStream,
    kind: u8,
    stream: u32,
    time: u32,
    data: &[u8],
) -> std::io::Result<()> {
    let (field, is_extended) = (time.min(0xff_ffff), time >= 0xff_ffff);
    let mut message = vec![3];
    message.extend(&field.to_be_bytes()[1..]);
    message.extend(&u32::try_from(data.len()).unwrap().to_be_bytes()[1..]);
    message.push(kind);
    message.extend(stream.to_le_bytes());
    message.extend(time.to_be_bytes().iter().filter(|_| is_extended));
    message.extend(data);
    connection.write_all(&message)
}

fn text(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).unwrap().to_be_bytes();
    [&[2][..], &length, text.as_bytes()].concat()
}

fn number(number: f64) -> Vec<u8> {
    [&[0][..], &number.to_be_bytes()].concat()
}
