//! RTMP's commands and the few messages about the connection itself.

use super::amf::{self, AmfError, Value};
use super::chunk::{self, Message, kind};

/// Commands to and from.
#[derive(Debug, PartialEq)]
pub(crate) struct Command {
    pub name: String,
    pub transaction: f64,
    /// The first is the command's object, often none.
    pub arguments: Vec<Value>,
}

impl Command {
    /// None if the message is no command.
    pub fn read(message: &Message) -> Option<Result<Self, AmfError>> {
        let data = match message.kind {
            kind::COMMAND => &message.data[..],
            // One byte says in which notation the rest is; all use the old one.
            kind::COMMAND_AMF3 => message.data.get(1..)?,
            _ => return None,
        };
        Some(amf::read_all(data).map(|values| {
            let mut values = values.into_iter();
            let name = values.next().and_then(|name| name.as_text().map(str::to_owned));
            let transaction = values.next().and_then(|number| number.as_number());
            Self {
                name: name.unwrap_or_default(),
                transaction: transaction.unwrap_or_default(),
                arguments: values.collect(),
            }
        }))
    }

    pub fn write(
        name: &str,
        transaction: f64,
        arguments: &[Value],
        stream: u32,
        out: &mut Vec<u8>,
    ) {
        let mut data = Vec::new();
        Value::text(name).write(&mut data);
        Value::Number(transaction).write(&mut data);
        arguments.iter().for_each(|value| value.write(&mut data));
        chunk::write(out, 3, &Message { kind: kind::COMMAND, stream, timestamp: 0, data });
    }

    pub fn text(&self, index: usize) -> Option<&str> {
        self.arguments.get(index)?.as_text()
    }

    /// Of `onStatus`, `_result` and `_error`: level, code and description.
    pub fn status(&self) -> (&str, &str, &str) {
        let info = self.arguments.iter().rev().find(|value| matches!(value, Value::Object(_)));
        let field = |name| info.and_then(|info| info.get(name)?.as_text()).unwrap_or_default();
        (field("level"), field("code"), field("description"))
    }
}

/// Level, code and description.
pub(crate) fn status(level: &str, code: &str, description: &str) -> Value {
    Value::object([
        ("level", Value::text(level)),
        ("code", Value::text(code)),
        ("description", Value::text(description)),
    ])
}

pub(crate) fn write_control(out: &mut Vec<u8>, kind: u8, data: &[u8]) {
    chunk::write(out, 2, &Message { kind, stream: 0, timestamp: 0, data: data.to_vec() });
}

/// What keeps a connection going, whatever it is for: a ping to answer, bytes to acknowledge.
#[derive(Default)]
pub(crate) struct Upkeep {
    received: u32,
    acknowledged: u32,
    window: Option<u32>,
}

impl Upkeep {
    /// Counts what came, and says so to a peer that wants to know.
    pub fn count(&mut self, bytes: usize, out: &mut Vec<u8>) {
        self.received = self.received.wrapping_add(bytes as u32);
        let Some(window) = self.window else { return };
        if self.received.wrapping_sub(self.acknowledged) >= window / 2 {
            self.acknowledged = self.received;
            write_control(out, kind::ACKNOWLEDGEMENT, &self.received.to_be_bytes());
        }
    }

    pub fn on(&mut self, message: &Message, out: &mut Vec<u8>) {
        match (message.kind, &message.data[..]) {
            (kind::WINDOW_SIZE, [a, b, c, d, ..]) => {
                self.window = Some(u32::from_be_bytes([*a, *b, *c, *d]));
            }
            (kind::USER_CONTROL, [0, 6, time @ ..]) if time.len() >= 4 => {
                let pong = [&[0, 7], &time[..4]].concat();
                write_control(out, kind::USER_CONTROL, &pong);
            }
            _ => {}
        }
    }
}
