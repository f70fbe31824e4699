//! The side of an RTMP connection that publishes, without the connection: bytes in and bytes out.

use super::amf::{AmfError, Value};
use super::chunk::{self, ChunkError, Message, Reader, kind};
use super::command::{Command, Upkeep};
use host_ports::RestreamTarget;

/// Commands are answered by number.
const CONNECT: f64 = 1.0;
const RELEASE: f64 = 2.0;
const ANNOUNCE: f64 = 3.0;
const CREATE: f64 = 4.0;
const PUBLISH: f64 = 5.0;

#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    #[error("what the server sends cannot be understood: {0}")]
    Chunk(#[from] ChunkError),
    #[error("what the server answers cannot be understood: {0}")]
    Amf(#[from] AmfError),
    #[error("the server refuses: {0}")]
    Refused(String),
}

pub(crate) struct Client {
    reader: Reader,
    upkeep: Upkeep,
    target: RestreamTarget,
    /// What the server calls our stream, once it has made it.
    stream: Option<u32>,
    is_publishing: bool,
    /// To be sent; the owner empties it.
    pub out: Vec<u8>,
}

impl Client {
    /// Begins with asking for the application.
    pub fn new(target: RestreamTarget) -> Self {
        let mut out = Vec::new();
        chunk::announce_chunk_size(&mut out);
        let object = Value::object([
            ("app", Value::text(&target.app)),
            ("type", Value::text("nonprivate")),
            ("flashVer", Value::text("FMLE/3.0 (compatible; streamdiffusion-host)")),
            ("tcUrl", Value::text(&target.address)),
        ]);
        Command::write("connect", CONNECT, &[object], 0, &mut out);
        let (reader, upkeep) = (Reader::new(), Upkeep::default());
        Self { reader, upkeep, target, stream: None, is_publishing: false, out }
    }

    /// The stream that media goes to, once the server takes it.
    pub fn publishing(&self) -> Option<u32> {
        self.stream.filter(|_| self.is_publishing)
    }

    /// Reads all of what came.
    pub fn read(&mut self, mut input: &[u8]) -> Result<(), ClientError> {
        self.upkeep.count(input.len(), &mut self.out);
        while let Some(message) = self.reader.read(&mut input)? {
            self.upkeep.on(&message, &mut self.out);
            if let Some(command) = Command::read(&message) {
                self.on(&command?)?;
            }
        }
        Ok(())
    }

    fn on(&mut self, command: &Command) -> Result<(), ClientError> {
        let (level, code, _) = command.status();
        match (command.name.as_str(), command.transaction) {
            ("_error", CONNECT | CREATE | PUBLISH) => return Err(self.refused(command)),
            ("_result", CONNECT) => self.create(),
            ("_result", CREATE) if self.stream.is_none() => {
                let number = command.arguments.iter().rev().find_map(Value::as_number);
                self.publish(number.unwrap_or(1.0) as u32);
            }
            ("onStatus", _) if level == "error" => return Err(self.refused(command)),
            ("onStatus", _) if code == "NetStream.Publish.Start" => self.is_publishing = true,
            _ => {}
        }
        Ok(())
    }

    fn create(&mut self) {
        let key = [Value::Null, Value::text(&self.target.key)];
        let out = &mut self.out;
        // What encoders send before they publish, and some platforms insist on.
        Command::write("releaseStream", RELEASE, &key, 0, out);
        Command::write("FCPublish", ANNOUNCE, &key, 0, out);
        Command::write("createStream", CREATE, &[Value::Null], 0, out);
    }

    fn publish(&mut self, stream: u32) {
        self.stream = Some(stream);
        let arguments = [Value::Null, Value::text(&self.target.key), Value::text("live")];
        Command::write("publish", PUBLISH, &arguments, stream, &mut self.out);
    }

    fn refused(&self, command: &Command) -> ClientError {
        let (_, code, description) = command.status();
        let said = match (code, description) {
            ("", "") => "it does not say why".to_owned(),
            (code, "") => code.to_owned(),
            ("", description) => description.to_owned(),
            (code, description) => format!("{description} ({code})"),
        };
        ClientError::Refused(self.target.redacted(&said))
    }

    /// The last there is to send.
    pub fn goodbye(target: &RestreamTarget, stream: u32) -> Vec<u8> {
        let mut out = Vec::new();
        let key = [Value::Null, Value::text(&target.key)];
        Command::write("FCUnpublish", 6.0, &key, 0, &mut out);
        let number = [Value::Null, Value::Number(stream.into())];
        Command::write("deleteStream", 7.0, &number, 0, &mut out);
        out
    }
}

/// Describes what follows: players look there for what codecs to expect.
pub(crate) fn write_metadata(stream: u32, out: &mut Vec<u8>) {
    let mut data = Vec::new();
    Value::text("@setDataFrame").write(&mut data);
    Value::text("onMetaData").write(&mut data);
    let fields = Value::object([
        ("encoder", Value::text("streamdiffusion-host")),
        ("videocodecid", Value::Number(7.0)),
        ("audiocodecid", Value::Number(10.0)),
    ]);
    fields.write(&mut data);
    chunk::write(out, 4, &Message { kind: kind::DATA, stream, timestamp: 0, data });
}

/// For fuzz targets: as a connection does, without one. Whether all of it was taken.
pub(super) fn read_alone(bytes: &[u8]) -> bool {
    let Ok(target) = RestreamTarget::parse("rtmp://host/app/secret-key?sign=secret-sign") else {
        return false;
    };
    let mut client = Client::new(target);
    match client.read(bytes) {
        Ok(()) => true,
        Err(error) => {
            let shown = error.to_string();
            assert!(!shown.contains("secret-key") && !shown.contains("secret-sign"), "{shown}");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::command::status;
    use super::super::server::{Event, Server};
    use super::*;

    fn client() -> Client {
        Client::new(RestreamTarget::parse("rtmp://h/live/topsecret").unwrap())
    }

    /// Hands what each has to say to the other, until the server has something to decide.
    fn converse(client: &mut Client, server: &mut Server) -> Option<Event> {
        for _ in 0..10 {
            let sent = std::mem::take(&mut client.out);
            if let Some(event) = server.read(&mut &sent[..]).unwrap() {
                return Some(event);
            }
            let answered = std::mem::take(&mut server.out);
            client.read(&answered).unwrap();
        }
        None
    }

    #[test]
    fn both_sides_come_to_publishing() {
        let (mut client, mut server) = (client(), Server::new());
        let asked = converse(&mut client, &mut server);
        assert_eq!(asked, Some(Event::Publish { address: "live/topsecret".to_owned() }));
        assert_eq!(client.publishing(), None);
        server.accept(1000);
        assert_eq!(converse(&mut client, &mut server), None);
        assert_eq!(client.publishing(), Some(1));
        client.out = Client::goodbye(&client.target, 1);
        assert_eq!(converse(&mut client, &mut server), Some(Event::Ended));
    }

    #[test]
    fn a_refusal_is_told_without_the_key() {
        let (mut client, mut server) = (client(), Server::new());
        converse(&mut client, &mut server);
        server.refuse("NetStream.Publish.BadName", "topsecret is no key");
        let error = client.read(&std::mem::take(&mut server.out)).unwrap_err().to_string();
        assert_eq!(error, "the server refuses: *** is no key (NetStream.Publish.BadName)");
        let mut out = Vec::new();
        Command::write("_error", 1.0, &[Value::Null, status("error", "", "")], 0, &mut out);
        let error = self::client().read(&out).unwrap_err().to_string();
        assert_eq!(error, "the server refuses: it does not say why");
    }

    #[test]
    fn a_ping_is_answered() {
        let mut client = client();
        client.out.clear();
        client.read(&[2, 0, 0, 0, 0, 0, 6, 4, 0, 0, 0, 0, 0, 6, 1, 2, 3, 4]).unwrap();
        assert_eq!(client.out, [2, 0, 0, 0, 0, 0, 6, 4, 0, 0, 0, 0, 0, 7, 1, 2, 3, 4]);
    }
}
