//! How a stream is written down: JSON with a version, so that a later host can read what an earlier one wrote.

use host_ports::StoredStream;
use serde_json::{Map, Value, json};

/// What this host writes, and the newest that it reads.
pub const VERSION: u64 = 1;

/// A stream, and its place in the order of creation.
#[derive(Debug, PartialEq)]
pub struct Record {
    pub number: u64,
    pub stream: StoredStream,
}

#[derive(Debug, PartialEq, Eq)]
pub enum RecordError {
    Newer { version: u64 },
    Unreadable { reason: String },
}

impl Record {
    pub fn write(&self) -> Vec<u8> {
        let Self { number, stream } = self;
        let record = json!({
            "version": VERSION,
            "number": number,
            "id": stream.id,
            "name": stream.name,
            "stream_key": stream.stream_key,
            "playback_id": stream.playback_id,
            "created_at": stream.created_at,
            "pipeline": stream.pipeline,
            "params": stream.params,
            "revision": stream.revision,
            "output_rtmp_url": stream.output_rtmp_url,
        });
        record.to_string().into_bytes()
    }

    pub fn read(bytes: &[u8]) -> Result<Self, RecordError> {
        let unreadable =
            |error: serde_json::Error| RecordError::Unreadable { reason: error.to_string() };
        let mut fields: Map<String, Value> = serde_json::from_slice(bytes).map_err(unreadable)?;
        match number(&fields, "version")? {
            VERSION => {}
            version => return Err(RecordError::Newer { version }),
        }
        let stream = StoredStream {
            id: text(&mut fields, "id")?,
            name: text(&mut fields, "name")?,
            stream_key: text(&mut fields, "stream_key")?,
            playback_id: text(&mut fields, "playback_id")?,
            created_at: text(&mut fields, "created_at")?,
            pipeline: text(&mut fields, "pipeline")?,
            params: object(&mut fields, "params")?,
            revision: number(&fields, "revision")?,
            output_rtmp_url: optional_text(&mut fields, "output_rtmp_url")?,
        };
        Ok(Self { number: number(&fields, "number")?, stream })
    }
}

fn number(fields: &Map<String, Value>, key: &str) -> Result<u64, RecordError> {
    fields.get(key).and_then(Value::as_u64).ok_or_else(|| lacks(key, "whole number"))
}

fn text(fields: &mut Map<String, Value>, key: &str) -> Result<String, RecordError> {
    optional_text(fields, key)?.ok_or_else(|| lacks(key, "text"))
}

fn optional_text(
    fields: &mut Map<String, Value>,
    key: &str,
) -> Result<Option<String>, RecordError> {
    match fields.remove(key) {
        Some(Value::String(text)) => Ok(Some(text)),
        Some(Value::Null) => Ok(None),
        _ => Err(lacks(key, "text")),
    }
}

fn object(fields: &mut Map<String, Value>, key: &str) -> Result<Map<String, Value>, RecordError> {
    match fields.remove(key) {
        Some(Value::Object(object)) => Ok(object),
        _ => Err(lacks(key, "object")),
    }
}

fn lacks(key: &str, what: &str) -> RecordError {
    RecordError::Unreadable { reason: format!("`{key}` is no {what}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream() -> StoredStream {
        StoredStream {
            id: "str_1".to_owned(),
            name: "Zoë\u{0}".to_owned(),
            stream_key: "stk_1".to_owned(),
            playback_id: "play_1".to_owned(),
            created_at: "2024-02-29T12:00:00Z".to_owned(),
            pipeline: "passthrough".to_owned(),
            params:
                json!({ "b": [1, -2, 0.1, 18446744073709551615u64], "a": { "z": null, "y": true } })
                    .as_object()
                    .cloned()
                    .unwrap(),
            revision: u64::MAX,
            output_rtmp_url: Some("rtmp://example.org/live".to_owned()),
        }
    }

    #[test]
    fn what_was_written_is_read_back_with_every_number_and_in_its_order() {
        let record = Record { number: 7, stream: stream() };
        let read = Record::read(&record.write()).unwrap();
        assert_eq!(read, record);
        assert_eq!(read.stream.params.keys().collect::<Vec<_>>(), ["b", "a"]);
    }

    #[test]
    fn fractions_of_up_to_15_digits_come_back_to_the_last_bit() {
        for n in 1..1000u64 {
            let digits = n * 998_244_353_791 % 1_000_000_000_000_000;
            let fraction: f64 = format!("0.{digits:015}").parse().unwrap();
            let params = Map::from_iter([("n".to_owned(), json!(fraction))]);
            let record = Record { number: n, stream: StoredStream { params, ..stream() } };
            assert_eq!(Record::read(&record.write()).unwrap(), record);
        }
    }

    #[test]
    fn a_newer_record_is_told_from_a_damaged_one() {
        let text = String::from_utf8(Record { number: 0, stream: stream() }.write()).unwrap();
        let newer = text.replace("\"version\":1", "\"version\":2");
        assert_eq!(Record::read(newer.as_bytes()), Err(RecordError::Newer { version: 2 }));
        for damaged in [&text[..40], "[]", "{}", &text.replace("\"pipeline\"", "\"line\"")] {
            let error = Record::read(damaged.as_bytes()).unwrap_err();
            assert!(matches!(error, RecordError::Unreadable { .. }), "{damaged}: {error:?}");
        }
    }
}
