//! What a publisher sends by RTMP after the handshake, in as many pieces as the first byte says; and what a server answers
//! to us.

use host_media::fuzzing::{read_publisher, read_server};

pub const WORDS: &[&str] = &[
    "\u{2}\0\u{7}connect",
    "\u{2}\0\u{7}publish",
    "\u{2}\0\u{4}play",
    "\u{2}\0\u{8}onStatus",
    "\u{2}\0\u{7}_result",
    "\u{2}\0\u{6}_error",
    "\u{3}\0\u{1}a",
    "\0\0\t",
    "\n\0\0\0\u{1}",
    "\u{8}\0\0\0\u{1}",
    "\u{c}\0\0\0\u{1}",
    "\u{2}\0\0\0\0\0\u{4}\u{1}\0\0\0\0\0\0\u{10}\0",
    "\u{4}\0\0\0\u{1}\0\0\u{8}\u{1}\0\0\0",
    "\u{17}\u{1}\0\0\0",
    "\u{17}\0\0\0\0\u{1}",
    "secret-key",
];

pub fn rtmp(data: &[u8]) -> bool {
    let Some((pieces, bytes)) = data.split_first() else { return false };
    let is_read = read_publisher(bytes, (*pieces).into());
    read_server(bytes) || is_read
}
