//! What a connection carries (RFC 2326): requests, packets of media between them, and our responses. Reading takes bytes as
//! they come, and never holds more than the limits below.

use bytes::{Buf, Bytes, BytesMut};
use std::fmt::Write;

/// Of a request, up to the empty line.
pub const MAX_HEAD: usize = 16 << 10;
pub const MAX_BODY: usize = 64 << 10;
const MAX_HEADERS: usize = 64;
/// What a packet of media is led by: `$`, its channel, and its length.
const FRAME_HEAD: usize = 4;
const VERSION: &str = "RTSP/1.0";

#[derive(Debug, PartialEq, Eq)]
pub enum Message {
    Request(Request),
    /// A packet of media, or of its reports.
    Packet(u8, Bytes),
    /// The answer to a request that we never made.
    Response,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Request {
    pub method: String,
    pub url: String,
    headers: Vec<(String, String)>,
    pub body: Bytes,
}

/// Why the rest of a connection cannot be understood.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    #[error("the head of a request must have at most {MAX_HEAD} bytes")]
    LongHead,
    #[error("a body must have at most {MAX_BODY} bytes")]
    LongBody,
    #[error("a request must have at most {MAX_HEADERS} headers")]
    ManyHeaders,
    #[error("a request must be text in UTF-8 without control characters")]
    NoText,
    #[error("a request must begin like `DESCRIBE rtsp://host/path RTSP/1.0`")]
    RequestLine,
    #[error("a header must be like `CSeq: 1`")]
    Header,
}

/// Takes the next message from what was received; none until all of it is there.
pub fn read(received: &mut BytesMut) -> Result<Option<Message>, MessageError> {
    // Some clients send an empty line after a body.
    while received.first().is_some_and(|byte| matches!(byte, b'\r' | b'\n')) {
        received.advance(1);
    }
    match received.first() {
        None => Ok(None),
        Some(b'$') => Ok(read_packet(received)),
        Some(_) => read_request(received),
    }
}

fn read_packet(received: &mut BytesMut) -> Option<Message> {
    let [_, channel, high, low, ..] = **received else { return None };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if received.len() < FRAME_HEAD + length {
        return None;
    }
    received.advance(FRAME_HEAD);
    Some(Message::Packet(channel, received.split_to(length).freeze()))
}

fn read_request(received: &mut BytesMut) -> Result<Option<Message>, MessageError> {
    let head = &received[..received.len().min(MAX_HEAD)];
    let Some(end) = head.windows(4).position(|bytes| bytes == b"\r\n\r\n") else {
        return if received.len() < MAX_HEAD { Ok(None) } else { Err(MessageError::LongHead) };
    };
    let text = std::str::from_utf8(&head[..end]).map_err(|_| MessageError::NoText)?;
    let mut request = parse_head(text)?;
    let length = match request.as_ref().and_then(|request| request.header("content-length")) {
        Some(length) => length.parse().map_err(|_| MessageError::Header)?,
        None => 0,
    };
    if length > MAX_BODY {
        return Err(MessageError::LongBody);
    }
    let body_at = end + 4;
    if received.len() < body_at + length {
        return Ok(None);
    }
    received.advance(body_at);
    let body = received.split_to(length).freeze();
    if let Some(request) = &mut request {
        request.body = body;
    }
    Ok(Some(request.map_or(Message::Response, Message::Request)))
}

/// None of a response.
fn parse_head(text: &str) -> Result<Option<Request>, MessageError> {
    let mut lines = text.split("\r\n");
    // A lone carriage return or line feed as well: no line holds another one.
    if lines.clone().any(|line| line.contains(|c: char| c.is_control() && c != '\t')) {
        return Err(MessageError::NoText);
    }
    let line = lines.next().unwrap_or_default();
    if line.starts_with("RTSP/") {
        return Ok(None);
    }
    let words: Vec<_> = line.split(' ').collect();
    let [method, url, VERSION] = words[..] else { return Err(MessageError::RequestLine) };
    if method.is_empty() || url.is_empty() {
        return Err(MessageError::RequestLine);
    }
    let headers = lines.map(|line| {
        let (name, value) = line.split_once(':').ok_or(MessageError::Header)?;
        Ok((name.trim().to_owned(), value.trim().to_owned()))
    });
    let headers = headers.take(MAX_HEADERS + 1).collect::<Result<Vec<_>, _>>()?;
    if headers.len() > MAX_HEADERS {
        return Err(MessageError::ManyHeaders);
    }
    let (method, url) = (method.to_owned(), url.to_owned());
    Ok(Some(Request { method, url, headers, body: Bytes::new() }))
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(each, _)| each.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Ok = 200,
    BadRequest = 400,
    Unauthorized = 401,
    NotFound = 404,
    UnsupportedMediaType = 415,
    NotEnoughBandwidth = 453,
    SessionNotFound = 454,
    NotValidInThisState = 455,
    UnsupportedTransport = 461,
    NotImplemented = 501,
    ServiceUnavailable = 503,
    OptionNotSupported = 551,
}

impl Status {
    const fn reason(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::BadRequest => "Bad Request",
            Self::Unauthorized => "Unauthorized",
            Self::NotFound => "Not Found",
            Self::UnsupportedMediaType => "Unsupported Media Type",
            Self::NotEnoughBandwidth => "Not Enough Bandwidth",
            Self::SessionNotFound => "Session Not Found",
            Self::NotValidInThisState => "Method Not Valid In This State",
            Self::UnsupportedTransport => "Unsupported Transport",
            Self::NotImplemented => "Not Implemented",
            Self::ServiceUnavailable => "Service Unavailable",
            Self::OptionNotSupported => "Option not supported",
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
pub struct Response {
    pub status: Status,
    headers: Vec<(&'static str, String)>,
    body: String,
}

impl Response {
    pub fn new(status: Status) -> Self {
        Self { status, headers: Vec::new(), body: String::new() }
    }

    pub fn ok() -> Self {
        Self::new(Status::Ok)
    }

    /// A refusal that says why.
    pub fn refusal(status: Status, reason: impl std::fmt::Display) -> Self {
        Self::new(status).with_body("text/plain", format!("{reason}\n"))
    }

    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub fn with_body(self, kind: &'static str, body: String) -> Self {
        let length = body.len().to_string();
        Self { body, ..self }.with("Content-Type", kind).with("Content-Length", length)
    }

    /// Appends it as the answer to the request of this `CSeq`.
    pub fn write(&self, sequence: Option<&str>, out: &mut BytesMut) {
        let status = self.status;
        let mut text = format!("{VERSION} {} {}\r\n", status as u16, status.reason());
        let sequence = sequence.map(|sequence| ("CSeq", sequence));
        let headers = self.headers.iter().map(|(name, value)| (*name, value.as_str()));
        for (name, value) in sequence.into_iter().chain(headers) {
            // What is repeated of a request has no control character but a tab, and stays one line.
            let _ = write!(text, "{name}: {value}\r\n");
        }
        text += "Server: streamdiffusion-host\r\n\r\n";
        text += &self.body;
        out.extend_from_slice(text.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read_all(bytes: &[u8]) -> Result<Vec<Message>, MessageError> {
        let mut received = BytesMut::from(bytes);
        let mut messages = Vec::new();
        while let Some(message) = read(&mut received)? {
            messages.push(message);
        }
        Ok(messages)
    }

    #[test]
    fn requests_and_packets_are_told_apart_and_a_body_is_as_long_as_it_says() {
        let bytes = b"ANNOUNCE rtsp://h/a RTSP/1.0\r\nCSeq: 2\r\ncontent-length: 3\r\n\r\nv=0$\x01\x00\x02ab\
                      \r\nOPTIONS * RTSP/1.0\r\n\r\nRTSP/1.0 200 OK\r\nCSeq: 1\r\n\r\n$\x00\x00\x05ab";
        let messages = read_all(bytes).unwrap();
        let [Message::Request(announce), packet, Message::Request(options), Message::Response] =
            &messages[..]
        else {
            panic!("{messages:?}");
        };
        assert_eq!((&announce.body[..], announce.header("cseq")), (&b"v=0"[..], Some("2")));
        assert_eq!(packet, &Message::Packet(1, Bytes::from_static(b"ab")));
        assert_eq!((options.method.as_str(), options.url.as_str()), ("OPTIONS", "*"));
    }

    #[test]
    fn what_is_too_long_or_no_request_is_refused() {
        let long = [b"OPTIONS * RTSP/1.0\r\na: ".as_slice(), &[b'a'; MAX_HEAD]].concat();
        let many = ["OPTIONS * RTSP/1.0", &"\r\na: b".repeat(MAX_HEADERS + 1), "\r\n\r\n"].concat();
        let body = format!("OPTIONS * RTSP/1.0\r\nContent-Length: {}\r\n\r\n", MAX_BODY + 1);
        for (bytes, error) in [
            (&long[..], MessageError::LongHead),
            (many.as_bytes(), MessageError::ManyHeaders),
            (body.as_bytes(), MessageError::LongBody),
            (b"GET / HTTP/1.1\r\n\r\n", MessageError::RequestLine),
            (b"OPTIONS * RTSP/1.0\r\nCSeq\r\n\r\n", MessageError::Header),
            (b"OPTIONS * RTSP/1.0\r\nCSeq: \x00\r\n\r\n", MessageError::NoText),
            (b"OPTIONS * RTSP/1.0\r\nContent-Length: -1\r\n\r\n", MessageError::Header),
        ] {
            assert_eq!(read_all(bytes), Err(error), "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn a_response_repeats_the_number_of_its_request() {
        let mut out = BytesMut::new();
        Response::refusal(Status::NotFound, "no such stream").write(Some("7"), &mut out);
        let text = std::str::from_utf8(&out).unwrap();
        assert!(text.starts_with("RTSP/1.0 404 Not Found\r\nCSeq: 7\r\n"), "{text}");
        assert!(
            text.ends_with(
                "Content-Length: 15\r\nServer: streamdiffusion-host\r\n\r\nno such stream\n"
            ),
            "{text}"
        );
    }

    proptest! {
        #[test]
        fn any_bytes_in_any_pieces_are_read_alike(
            bytes in prop::collection::vec(prop_oneof![Just(b'$'), Just(b'\r'), Just(b'\n'), Just(0), any::<u8>()], 0..200),
            cut in any::<prop::sample::Index>(),
        ) {
            let whole = [b"OPTIONS * RTSP/1.0\r\nContent-Length: 2\r\n\r\n".as_slice(), &bytes].concat();
            let cut = cut.index(whole.len());
            let mut received = BytesMut::from(&whole[..cut]);
            let mut pieces = Vec::new();
            let mut result = Ok(());
            for more in [&[][..], &whole[cut..]] {
                received.extend_from_slice(more);
                while result.is_ok() {
                    match read(&mut received) {
                        Ok(Some(message)) => pieces.push(message),
                        Ok(None) => break,
                        Err(error) => result = Err(error),
                    }
                }
            }
            prop_assert_eq!(result.map(|()| pieces), read_all(&whole));
        }
    }
}
