//! What MediaMTX tells of a path in use, by its names of today and those of before.

use serde::Deserialize;
use serde_json::Value;

/// A path that somebody uses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "Told")]
pub struct PathFigures {
    pub name: String,
    /// Something is published to it, or fetched.
    pub is_available: bool,
    /// Names of codecs.
    pub codecs: Vec<String>,
    pub inbound_bytes: u64,
    pub outbound_bytes: u64,
    pub readers: usize,
}

/// All of it may be absent: each name is from some version on, or up to some.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Told {
    name: String,
    ready: bool,
    available: Option<bool>,
    tracks: Option<Vec<String>>,
    tracks2: Option<Vec<Track>>,
    bytes_received: u64,
    inbound_bytes: Option<u64>,
    bytes_sent: u64,
    outbound_bytes: Option<u64>,
    readers: Option<Vec<Value>>,
}

#[derive(Deserialize)]
struct Track {
    codec: String,
}

impl From<Told> for PathFigures {
    fn from(told: Told) -> Self {
        let codecs = told.tracks2.map(|tracks| tracks.into_iter().map(|track| track.codec));
        Self {
            name: told.name,
            is_available: told.available.unwrap_or(told.ready),
            codecs: codecs.map(Iterator::collect).or(told.tracks).unwrap_or_default(),
            inbound_bytes: told.inbound_bytes.unwrap_or(told.bytes_received),
            outbound_bytes: told.outbound_bytes.unwrap_or(told.bytes_sent),
            readers: told.readers.map_or(0, |readers| readers.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn figures_are_found_by_their_names_of_today_and_of_before() {
        let read = |value| serde_json::from_value::<PathFigures>(value).unwrap();
        let before = read(json!({
            "name": "a", "confName": "a", "source": null, "ready": true, "readyTime": null,
            "tracks": ["H264", "Opus"], "bytesReceived": 5, "bytesSent": 7,
            "readers": [{"type": "rtspSession", "id": "1"}],
        }));
        let today = read(json!({
            "name": "a", "ready": false, "available": true, "online": true, "tracks": null,
            "tracks2": [{"codec": "H264", "codecProps": {}}, {"codec": "Opus", "codecProps": null}],
            "bytesReceived": 0, "inboundBytes": 5, "bytesSent": 0, "outboundBytes": 7,
            "readers": [{"type": "hlsMuxer", "id": ""}],
        }));
        assert_eq!(before, today);
        assert_eq!((today.codecs.join(" "), today.readers), ("H264 Opus".to_owned(), 1));
        assert_eq!(read(json!({"name": "b", "readers": null})).readers, 0);
    }
}
