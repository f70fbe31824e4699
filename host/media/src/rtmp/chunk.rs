//! RTMP's chunks: messages cut into pieces that may be interleaved. Reading takes whatever a peer sends, and never holds
//! more of it than the limits say.

/// Of both directions, until a peer says otherwise.
const INITIAL_CHUNK: usize = 128;

/// What we send in: what common senders use, and all receivers take.
const OUR_CHUNK: usize = 4096;

/// Beside media, nothing that is sent is long: a command, or what describes a stream.
pub(crate) const MAX_CONTROL: usize = 64 << 10;

/// Senders use one for control and one for each kind of media.
const MAX_CHUNK_STREAMS: usize = 32;

/// Time stamps from here on are written in a field of their own.
const EXTENDED: u32 = 0xff_ffff;

/// Types of messages.
pub(crate) mod kind {
    pub const SET_CHUNK_SIZE: u8 = 1;
    pub const ABORT: u8 = 2;
    pub const ACKNOWLEDGEMENT: u8 = 3;
    pub const USER_CONTROL: u8 = 4;
    pub const WINDOW_SIZE: u8 = 5;
    pub const PEER_BANDWIDTH: u8 = 6;
    pub const AUDIO: u8 = 8;
    pub const VIDEO: u8 = 9;
    pub const COMMAND_AMF3: u8 = 17;
    pub const DATA: u8 = 18;
    pub const COMMAND: u8 = 20;
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub kind: u8,
    /// The message stream, which is another thing than the chunk stream.
    pub stream: u32,
    /// Milliseconds.
    pub timestamp: u32,
    pub data: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ChunkError {
    #[error("a chunk refers to one before it, and there was none")]
    NothingBefore,
    #[error("more than {MAX_CHUNK_STREAMS} chunk streams are in use")]
    TooManyStreams,
    #[error("a message of type {kind} has {size} bytes, and may have {limit}")]
    TooLong { kind: u8, size: usize, limit: usize },
    #[error("messages are begun that together are longer than {0} bytes, and not ended")]
    TooMuchBegun(usize),
    #[error("a chunk size of {0}")]
    Size(u32),
}

/// Reads messages out of chunks.
pub(crate) struct Reader {
    chunk_size: usize,
    /// How long audio and video may be.
    pub max_media: usize,
    streams: Vec<ChunkStream>,
    /// Of the header that is being read.
    head: Vec<u8>,
    /// The chunk stream whose payload is being read, and how much of the chunk is missing.
    payload: Option<(usize, usize)>,
    /// Bytes of all messages that have begun.
    begun: usize,
}

struct ChunkStream {
    id: u32,
    /// As it stood in the last header: absolute or a difference.
    time_field: u32,
    is_extended: bool,
    length: usize,
    message: Message,
    is_begun: bool,
}

impl Reader {
    pub fn new() -> Self {
        Self {
            chunk_size: INITIAL_CHUNK,
            max_media: MAX_CONTROL,
            streams: Vec::new(),
            head: Vec::with_capacity(18),
            payload: None,
            begun: 0,
        }
    }

    /// The next message, as soon as it is complete. Takes from `input` what it needs; none once all of it is taken.
    pub fn read(&mut self, input: &mut &[u8]) -> Result<Option<Message>, ChunkError> {
        loop {
            let Some((stream, missing)) = self.payload else {
                if !self.read_head(input)? {
                    return Ok(None);
                }
                continue;
            };
            let (taken, rest) = input.split_at(missing.min(input.len()));
            *input = rest;
            self.begun += taken.len();
            let chunks = &mut self.streams[stream];
            chunks.message.data.extend_from_slice(taken);
            if taken.len() < missing {
                self.payload = Some((stream, missing - taken.len()));
                return Ok(None);
            }
            self.payload = None;
            if chunks.message.data.len() == chunks.length {
                let message = self.complete(stream);
                self.obey(&message)?;
                return Ok(Some(message));
            }
        }
    }

    fn complete(&mut self, stream: usize) -> Message {
        let chunks = &mut self.streams[stream];
        chunks.is_begun = false;
        let Message { kind, stream, timestamp, data } = &mut chunks.message;
        self.begun -= data.len();
        let data = std::mem::take(data);
        Message { kind: *kind, stream: *stream, timestamp: *timestamp, data }
    }

    /// Does what messages about chunks say.
    fn obey(&mut self, message: &Message) -> Result<(), ChunkError> {
        let Some(word) = message.data.first_chunk().map(|word| u32::from_be_bytes(*word)) else {
            return Ok(());
        };
        match message.kind {
            kind::SET_CHUNK_SIZE if word == 0 || word > i32::MAX as u32 => {
                return Err(ChunkError::Size(word));
            }
            kind::SET_CHUNK_SIZE => self.chunk_size = word as usize,
            kind::ABORT => {
                if let Some(stream) = self.streams.iter().position(|other| other.id == word) {
                    drop(self.complete(stream));
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Reads on in a header. Whether it is complete.
    fn read_head(&mut self, input: &mut &[u8]) -> Result<bool, ChunkError> {
        loop {
            let needed = self.head_length()?;
            if needed == self.head.len() {
                break;
            }
            let Some((byte, rest)) = input.split_first() else { return Ok(false) };
            *input = rest;
            self.head.push(*byte);
        }
        let head = std::mem::take(&mut self.head);
        let begun = self.begin(&head);
        self.head = head;
        self.head.clear();
        begun.map(|()| true)
    }

    /// How long the header is, as far as its beginning tells.
    fn head_length(&self) -> Result<usize, ChunkError> {
        let Some((format, id, base)) = basic(&self.head) else { return Ok(self.head.len() + 1) };
        let plain = base + [11, 7, 3, 0][format];
        if self.head.len() < plain {
            return Ok(plain);
        }
        let is_extended = match format {
            3 => {
                let before = self.streams.iter().find(|stream| stream.id == id);
                before.ok_or(ChunkError::NothingBefore)?.is_extended
            }
            _ => three(&self.head[base..]) == EXTENDED,
        };
        Ok(plain + if is_extended { 4 } else { 0 })
    }

    /// Begins a chunk, with a complete header.
    fn begin(&mut self, head: &[u8]) -> Result<(), ChunkError> {
        let Some((format, id, base)) = basic(head) else { return Err(ChunkError::NothingBefore) };
        let stream = self.stream(id, format)?;
        let chunks = &mut self.streams[stream];
        if format < 3 && chunks.is_begun {
            // Given up by its sender.
            self.begun -= chunks.message.data.len();
            chunks.message.data = Vec::new();
            chunks.is_begun = false;
        }
        let field = &head[base..];
        if format < 3 {
            chunks.time_field = three(field);
            chunks.is_extended = chunks.time_field == EXTENDED;
        }
        if chunks.is_extended
            && let Some(last) = head.last_chunk()
        {
            chunks.time_field = u32::from_be_bytes(*last);
        }
        if format < 2 {
            chunks.length = three(&field[3..]) as usize;
            chunks.message.kind = field[6];
        }
        if let (0, Some(stream)) = (format, field.get(7..11)) {
            chunks.message.stream =
                u32::from_le_bytes([stream[0], stream[1], stream[2], stream[3]]);
        }
        if !chunks.is_begun {
            chunks.is_begun = true;
            let before = if format == 0 { 0 } else { chunks.message.timestamp };
            chunks.message.timestamp = before.wrapping_add(chunks.time_field);
        }
        let (kind, size) = (chunks.message.kind, chunks.length);
        let is_media = matches!(kind, kind::AUDIO | kind::VIDEO);
        let limit = if is_media { self.max_media } else { MAX_CONTROL };
        if size > limit {
            return Err(ChunkError::TooLong { kind, size, limit });
        }
        let missing = (size - chunks.message.data.len()).min(self.chunk_size);
        let most = 2 * self.max_media;
        if self.begun + missing > most {
            return Err(ChunkError::TooMuchBegun(most));
        }
        self.payload = Some((stream, missing));
        Ok(())
    }

    fn stream(&mut self, id: u32, format: usize) -> Result<usize, ChunkError> {
        if let Some(known) = self.streams.iter().position(|stream| stream.id == id) {
            return Ok(known);
        }
        if format > 0 {
            return Err(ChunkError::NothingBefore);
        }
        if self.streams.len() == MAX_CHUNK_STREAMS {
            return Err(ChunkError::TooManyStreams);
        }
        let message = Message { kind: 0, stream: 0, timestamp: 0, data: Vec::new() };
        let (time_field, is_extended, length, is_begun) = (0, false, 0, false);
        self.streams.push(ChunkStream { id, time_field, is_extended, length, message, is_begun });
        Ok(self.streams.len() - 1)
    }
}

/// Format, chunk stream and length of a header's first part.
fn basic(head: &[u8]) -> Option<(usize, u32, usize)> {
    let first = *head.first()?;
    let format = usize::from(first >> 6);
    Some(match first & 0x3f {
        0 => (format, 64 + u32::from(*head.get(1)?), 2),
        1 => (format, 64 + u32::from(*head.get(1)?) + 256 * u32::from(*head.get(2)?), 3),
        id => (format, id.into(), 1),
    })
}

fn three(bytes: &[u8]) -> u32 {
    u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]])
}

/// Writes a message as chunks, each message with a header of its own that refers to none before it. Chunk streams below
/// 64.
pub(crate) fn write(out: &mut Vec<u8>, chunk_stream: u8, message: &Message) {
    let Message { kind, stream, timestamp, data } = message;
    let is_extended = *timestamp >= EXTENDED;
    let field = timestamp.min(&EXTENDED).to_be_bytes();
    let length = u32::try_from(data.len()).unwrap_or(u32::MAX).to_be_bytes();
    out.push(chunk_stream);
    out.extend(&field[1..]);
    out.extend(&length[1..]);
    out.push(*kind);
    out.extend(stream.to_le_bytes());
    let extended = timestamp.to_be_bytes();
    out.extend(extended.iter().filter(|_| is_extended));
    for (index, chunk) in data.chunks(OUR_CHUNK).enumerate() {
        if index > 0 {
            out.push(0xc0 | chunk_stream);
            out.extend(extended.iter().filter(|_| is_extended));
        }
        out.extend(chunk);
    }
}

/// Announces the size of our chunks. Comes before any message that is longer than the initial size.
pub(crate) fn announce_chunk_size(out: &mut Vec<u8>) {
    let data = (OUR_CHUNK as u32).to_be_bytes().to_vec();
    write(out, 2, &Message { kind: kind::SET_CHUNK_SIZE, stream: 0, timestamp: 0, data });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u8, timestamp: u32, size: usize) -> Message {
        let data = (0..size).map(|n| n as u8).collect();
        Message { kind, stream: 1, timestamp, data }
    }

    /// Reads in pieces of one size.
    fn read(reader: &mut Reader, bytes: &[u8], piece: usize) -> Result<Vec<Message>, ChunkError> {
        let mut messages = Vec::new();
        for mut input in bytes.chunks(piece) {
            while let Some(message) = reader.read(&mut input)? {
                messages.push(message);
            }
            assert!(input.is_empty());
        }
        Ok(messages)
    }

    #[test]
    fn messages_of_any_size_and_time_come_back_from_pieces_of_any_size() {
        let sizes = [0, 1, 4095, 4096, 4097, 30_000];
        let times = [0, 1, EXTENDED - 1, EXTENDED, u32::MAX];
        for piece in [1, 7, 100_000] {
            let mut bytes = Vec::new();
            announce_chunk_size(&mut bytes);
            for (size, time) in sizes.iter().flat_map(|size| times.map(|time| (size, time))) {
                write(&mut bytes, 6, &message(kind::VIDEO, time, *size));
            }
            let messages = read(&mut Reader::new(), &bytes, piece).unwrap();
            assert_eq!(messages.len(), 1 + sizes.len() * times.len());
            for (index, found) in messages[1..].iter().enumerate() {
                let (size, time) = (sizes[index / times.len()], times[index % times.len()]);
                assert_eq!(*found, message(kind::VIDEO, time, size));
            }
        }
    }

    #[test]
    fn interleaved_messages_and_differences_of_time_are_told_apart() {
        let half = [7; 128];
        let mut bytes = vec![4, 0, 0, 10, 0, 1, 0, 8, 1, 0, 0, 0];
        bytes.extend(half);
        bytes.extend([6, 0, 0, 20, 0, 0, 2, 9, 1, 0, 0, 0, 1, 2]);
        bytes.push(0xc4);
        bytes.extend(half);
        // 5 ms later the same size, then the same again, twice.
        bytes.extend([0x86, 0, 0, 5, 3, 4, 0xc6, 5, 6]);
        bytes.extend([0x46, 0, 0, 1, 0, 0, 1, 9, 7]);
        let messages = read(&mut Reader::new(), &bytes, 3).unwrap();
        let found: Vec<_> = messages
            .iter()
            .map(|message| (message.kind, message.timestamp, message.data.len()))
            .collect();
        assert_eq!(found, [(9, 20, 2), (8, 10, 256), (9, 25, 2), (9, 30, 2), (9, 31, 1)]);
    }

    #[test]
    fn what_would_take_too_much_memory_is_refused() {
        let refused = |bytes: &[u8]| read(&mut Reader::new(), bytes, 64).unwrap_err();
        assert_eq!(refused(&[0xc3]), ChunkError::NothingBefore);
        assert_eq!(refused(&[0x43, 0, 0, 0, 0, 0, 1, 8]), ChunkError::NothingBefore);
        let long = [3, 0, 0, 0, 1, 0, 1, 20, 0, 0, 0, 0];
        assert!(matches!(refused(&long), ChunkError::TooLong { size: 65537, .. }));
        assert_eq!(refused(&[2, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0, 0, 0, 0, 0]), ChunkError::Size(0));
        let begin = |id: u8| [&[id, 0, 0, 0, 1, 0, 0, 8, 0, 0, 0, 0][..], &[0; 128][..]].concat();
        let many: Vec<u8> = (3..63).flat_map(begin).collect();
        assert_eq!(refused(&many), ChunkError::TooManyStreams);
        let mut chunk_size = Vec::new();
        announce_chunk_size(&mut chunk_size);
        let begin = |id: u8| [&[id, 0, 0, 0, 1, 0, 0, 8, 0, 0, 0, 0][..], &[0; 4096][..]].concat();
        let on: Vec<u8> = (3..30).flat_map(begin).collect();
        let on = [on, (3..30).flat_map(|id| [&[0xc0 | id][..], &[0; 4096][..]].concat()).collect()];
        let bytes = [chunk_size, on.concat()].concat();
        assert_eq!(refused(&bytes), ChunkError::TooMuchBegun(2 * MAX_CONTROL));
    }

    #[test]
    fn a_message_that_was_given_up_leaves_nothing_behind() {
        let mut reader = Reader::new();
        let begin = [&[4, 0, 0, 0, 1, 0, 0, 8, 0, 0, 0, 0][..], &[0; 128][..]].concat();
        for _ in 0..10_000 {
            assert_eq!(read(&mut reader, &begin, 1000), Ok(vec![]));
        }
        assert_eq!(reader.begun, 128);
        read(&mut reader, &[2, 0, 0, 0, 0, 0, 4, 2, 0, 0, 0, 0, 0, 0, 0, 4], 1000).unwrap();
        assert_eq!(reader.begun, 0);
    }
}
