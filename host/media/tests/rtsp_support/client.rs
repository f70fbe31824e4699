//! A client by hand, for what ffmpeg and GStreamer do not do.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use test_peer::PATIENCE;

pub struct Client {
    connection: BufReader<TcpStream>,
    base: String,
    session: Option<String>,
    sequence: u32,
    /// Of the last answer.
    pub head: String,
    pub body: String,
}

/// A packet of media in the connection.
pub struct Packet {
    pub channel: u8,
    pub bytes: Vec<u8>,
}

impl Packet {
    pub fn timestamp(&self) -> u32 {
        u32::from_be_bytes(self.bytes[4..8].try_into().unwrap())
    }
}

impl Client {
    pub fn connect(server: SocketAddr, path: &str) -> Self {
        let connection = TcpStream::connect(server).unwrap();
        connection.set_read_timeout(Some(PATIENCE)).unwrap();
        let base = format!("rtsp://{server}/{path}");
        let connection = BufReader::new(connection);
        let (head, body) = (String::new(), String::new());
        Self { connection, base, session: None, sequence: 0, head, body }
    }

    /// The status of the answer. `under` is what follows the URL.
    pub fn ask(&mut self, method: &str, under: &str, headers: &[&str], body: &str) -> u16 {
        self.sequence += 1;
        let session = self.session.iter().map(|session| format!("Session: {session}\r\n"));
        let headers = headers.iter().map(|header| format!("{header}\r\n"));
        let headers: String = session.chain(headers).collect();
        let (base, sequence, length) = (&self.base, self.sequence, body.len());
        let request = format!(
            "{method} {base}{under} RTSP/1.0\r\nCSeq: {sequence}\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
        );
        self.write(request.as_bytes());
        self.answer()
    }

    pub fn write(&mut self, bytes: &[u8]) {
        self.connection.get_mut().write_all(bytes).unwrap();
    }

    fn answer(&mut self) -> u16 {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if head.is_empty() && self.connection.fill_buf().unwrap().first() == Some(&b'$') {
                self.packet();
                continue;
            }
            assert!(self.connection.read_line(&mut head).unwrap() > 0, "it closed: {head}");
        }
        let value = |name: &str| {
            let mut lines = head.lines().filter_map(|line| line.split_once(": "));
            lines
                .find(|(each, _)| each.eq_ignore_ascii_case(name))
                .map(|(_, value)| value.to_owned())
        };
        if let Some(session) = value("session") {
            self.session = session.split(';').next().map(str::to_owned);
        }
        let length = value("content-length").map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; length];
        self.connection.read_exact(&mut body).unwrap();
        self.body = String::from_utf8(body).unwrap();
        self.head = head;
        self.head.split(' ').nth(1).unwrap().parse().unwrap()
    }

    pub fn packet(&mut self) -> Packet {
        let mut head = [0; 4];
        self.connection.read_exact(&mut head).unwrap();
        assert_eq!(head[0], b'$');
        let mut bytes = vec![0; u16::from_be_bytes([head[2], head[3]]).into()];
        self.connection.read_exact(&mut bytes).unwrap();
        Packet { channel: head[1], bytes }
    }

    /// Plays the video in the connection.
    pub fn play(&mut self) {
        assert_eq!(self.ask("DESCRIBE", "", &[], ""), 200, "{}", self.body);
        let transport = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1";
        assert_eq!(self.ask("SETUP", "/trackID=0", &[transport], ""), 200);
        assert_eq!(self.ask("PLAY", "", &[], ""), 200);
    }

    /// Whether the server closes the connection.
    pub fn is_closed(&mut self) -> bool {
        let mut rest = Vec::new();
        self.connection.read_to_end(&mut rest).is_ok()
    }
}
