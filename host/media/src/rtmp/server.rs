//! The side of an RTMP connection that is published to, without the connection: bytes in, events and bytes out.

use super::amf::Value;
use super::chunk::{self, ChunkError, Message, Reader, kind};
use super::command::{Command, Upkeep, status, write_control};

/// After so many bytes the peer is to say that it received them, and we say the same.
const WINDOW: u32 = 2_500_000;

/// There is one message stream: a second publisher is a second connection.
const STREAM: u32 = 1;

#[derive(Debug, thiserror::Error)]
pub(crate) enum ServerError {
    #[error("what it sends cannot be understood: {0}")]
    Chunk(#[from] ChunkError),
    #[error("a command cannot be understood: {0}")]
    Amf(#[from] super::amf::AmfError),
    #[error("it wants to watch; RTMP is for publishing here, watching is by WHEP")]
    Play,
}

#[derive(Debug, PartialEq)]
pub(crate) enum Event {
    /// Wants to publish to `{app}/{name}`: to be accepted or refused.
    Publish { address: String },
    /// Of whom was accepted.
    Media(Message),
    /// Publishes no more.
    Ended,
}

pub(crate) struct Server {
    reader: Reader,
    upkeep: Upkeep,
    app: String,
    is_publishing: bool,
    /// To be sent; the owner empties it.
    pub out: Vec<u8>,
}

impl Server {
    pub fn new() -> Self {
        let (reader, upkeep, app) = (Reader::new(), Upkeep::default(), String::new());
        Self { reader, upkeep, app, is_publishing: false, out: Vec::new() }
    }

    /// Notes that bytes came, before they are read.
    pub fn count(&mut self, bytes: usize) {
        self.upkeep.count(bytes, &mut self.out);
    }

    /// The next event in what came; none once all of it is read.
    pub fn read(&mut self, input: &mut &[u8]) -> Result<Option<Event>, ServerError> {
        while let Some(message) = self.reader.read(input)? {
            if let Some(event) = self.on(message)? {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    fn on(&mut self, message: Message) -> Result<Option<Event>, ServerError> {
        if matches!(message.kind, kind::AUDIO | kind::VIDEO) {
            return Ok(self.is_publishing.then_some(Event::Media(message)));
        }
        self.upkeep.on(&message, &mut self.out);
        match Command::read(&message) {
            Some(command) => self.command(&command?),
            None => Ok(None),
        }
    }

    fn command(&mut self, command: &Command) -> Result<Option<Event>, ServerError> {
        let (transaction, out) = (command.transaction, &mut self.out);
        let mut answer = |value: Value| {
            Command::write("_result", transaction, &[Value::Null, value], 0, out);
        };
        match command.name.as_str() {
            "connect" => self.connect(command),
            "createStream" => answer(Value::Number(STREAM.into())),
            // Asked by some encoders before they publish; they only want an answer.
            "releaseStream" | "FCPublish" | "getStreamLength" => answer(Value::Null),
            "publish" if !self.is_publishing => {
                let name = command.text(1).unwrap_or_default();
                return Ok(Some(Event::Publish { address: format!("{}/{name}", self.app) }));
            }
            "FCUnpublish" | "closeStream" | "deleteStream" if self.is_publishing => {
                return Ok(Some(Event::Ended));
            }
            "play" => {
                let text = ServerError::Play.to_string();
                self.status("error", "NetStream.Play.Failed", &text);
                return Err(ServerError::Play);
            }
            // Others announce and ask what makes no difference here.
            _ => {}
        }
        Ok(None)
    }

    fn connect(&mut self, command: &Command) {
        let object = command.arguments.first();
        let field = |name| object.and_then(|object| object.get(name));
        self.app = field("app").and_then(Value::as_text).unwrap_or_default().to_owned();
        let encoding = field("objectEncoding").and_then(Value::as_number).unwrap_or(0.0);
        write_control(&mut self.out, kind::WINDOW_SIZE, &WINDOW.to_be_bytes());
        let dynamic = [&WINDOW.to_be_bytes()[..], &[2]].concat();
        write_control(&mut self.out, kind::PEER_BANDWIDTH, &dynamic);
        chunk::announce_chunk_size(&mut self.out);
        let server = Value::object([
            // What old clients look for before they go on.
            ("fmsVer", Value::text("FMS/3,0,1,123")),
            ("capabilities", Value::Number(31.0)),
        ]);
        let mut info = status("status", "NetConnection.Connect.Success", "connected");
        if let Value::Object(fields) = &mut info {
            fields.push(("objectEncoding".to_owned(), Value::Number(encoding)));
        }
        Command::write("_result", command.transaction, &[server, info], 0, &mut self.out);
    }

    /// Lets the publisher send, messages of up to so many bytes.
    pub fn accept(&mut self, max_media: usize) {
        self.is_publishing = true;
        self.reader.max_media = max_media;
        write_control(&mut self.out, kind::USER_CONTROL, &[0, 0, 0, 0, 0, STREAM as u8]);
        self.status("status", "NetStream.Publish.Start", "publishing");
    }

    /// Tells the publisher why it is not, or no longer, wanted.
    pub fn refuse(&mut self, code: &str, description: &str) {
        self.is_publishing = false;
        self.status("error", code, description);
    }

    fn status(&mut self, level: &str, code: &str, description: &str) {
        let info = [Value::Null, status(level, code, description)];
        Command::write("onStatus", 0.0, &info, STREAM, &mut self.out);
    }
}
