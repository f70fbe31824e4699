//! The members of a zip archive that are stored as they are, which is how torch writes its files. Everything that the
//! archive says of itself is bounded and checked against the file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;

/// What archives of torch begin with, as they are never empty.
pub const MAGIC: &[u8] = b"PK\x03\x04";

const END: &[u8] = b"PK\x05\x06";
const END_BYTES: u64 = 22;
/// After the end there may be a comment.
const MAX_COMMENT: u64 = 65535;
/// Of archives with members that are large or many; a locator stands before the end.
const LOCATOR: &[u8] = b"PK\x06\x07";
const LOCATOR_BYTES: u64 = 20;
const END_64: &[u8] = b"PK\x06\x06";
const ENTRY: &[u8] = b"PK\x01\x02";
const ENTRY_BYTES: usize = 46;
const LOCAL_BYTES: u64 = 30;
/// The field that holds what does not fit into 32 bits.
const WIDE_FIELD: u16 = 1;
/// The largest models have some thousand members, whose entries take a hundred bytes each.
const MAX_DIRECTORY: u64 = 16 << 20;

/// A member, not looked at yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    header: u64,
    size: u64,
    is_plain: bool,
}

/// The directory of an archive.
#[derive(Debug)]
pub struct Archive {
    file: File,
    bytes: u64,
    members: BTreeMap<String, Member>,
}

type Reading<T> = Result<T, String>;

impl Archive {
    pub fn open(mut file: File) -> Reading<Self> {
        let bytes = file.seek(SeekFrom::End(0)).map_err(unreadable)?;
        let mut archive = Self { file, bytes, members: BTreeMap::new() };
        let (start, length) = archive.directory()?;
        if length > MAX_DIRECTORY {
            return Err(format!("its directory takes {length} bytes, {MAX_DIRECTORY} are taken"));
        }
        let directory = archive.read(start, length)?;
        archive.members = members(&directory)?;
        Ok(archive)
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.members.keys().map(String::as_str)
    }

    /// Where the bytes of a member lie in the file.
    pub fn place(&mut self, name: &str) -> Reading<Range<u64>> {
        let Some(&member) = self.members.get(name) else {
            return Err(format!("it has no member `{name}`"));
        };
        if !member.is_plain {
            return Err(format!("its member `{name}` is compressed, which torch does not do"));
        }
        let local = self.read(member.header, LOCAL_BYTES)?;
        if !local.starts_with(MAGIC) {
            return Err(format!("its member `{name}` is not where its directory says"));
        }
        let names = u64::from(word(&local, 26)) + u64::from(word(&local, 28));
        let start = member.header + LOCAL_BYTES + names;
        match start.checked_add(member.size) {
            Some(end) if end <= self.bytes => Ok(start..end),
            _ => Err(format!("its member `{name}` goes beyond the end of the file")),
        }
    }

    /// The bytes from a place in the file on.
    pub fn read(&mut self, start: u64, length: u64) -> Reading<Vec<u8>> {
        if start.checked_add(length).is_none_or(|end| end > self.bytes) {
            return Err(format!("{length} bytes at {start} are beyond the end of the file"));
        }
        let mut bytes = vec![0; length as usize];
        self.file.seek(SeekFrom::Start(start)).map_err(unreadable)?;
        self.file.read_exact(&mut bytes).map_err(unreadable)?;
        Ok(bytes)
    }

    /// Where the directory begins, and its length.
    fn directory(&mut self) -> Reading<(u64, u64)> {
        let length = self.bytes.min(END_BYTES + MAX_COMMENT);
        let tail_start = self.bytes - length;
        let tail = self.read(tail_start, length)?;
        let end = tail.windows(END.len()).rposition(|bytes| bytes == END);
        let end = end.filter(|&at| tail.len() - at >= END_BYTES as usize);
        let at = end.ok_or("its end is missing, so it was cut off")?;
        let end = tail_start + at as u64;
        if let Some(locator) = end.checked_sub(LOCATOR_BYTES) {
            let locator = self.read(locator, LOCATOR_BYTES)?;
            if locator.starts_with(LOCATOR) {
                let wide = self.read(long(&locator, 8), 56)?;
                if !wide.starts_with(END_64) {
                    return Err("the end of its directory is not where it says".into());
                }
                return Ok((long(&wide, 48), long(&wide, 40)));
            }
        }
        Ok((double(&tail, at + 16).into(), double(&tail, at + 12).into()))
    }
}

fn members(mut directory: &[u8]) -> Reading<BTreeMap<String, Member>> {
    let mut members = BTreeMap::new();
    while directory.starts_with(ENTRY) && directory.len() >= ENTRY_BYTES {
        let lengths = [28, 30, 32].map(|at| usize::from(word(directory, at)));
        let [name, extra, comment] = lengths;
        let whole = ENTRY_BYTES + name + extra + comment;
        let Some((entry, rest)) = directory.split_at_checked(whole) else {
            return Err("its directory ends within an entry".into());
        };
        let fields = &entry[ENTRY_BYTES + name..ENTRY_BYTES + name + extra];
        let name = String::from_utf8_lossy(&entry[ENTRY_BYTES..ENTRY_BYTES + name]).into_owned();
        members.insert(name, member(entry, fields));
        directory = rest;
    }
    Ok(members)
}

fn member(entry: &[u8], mut fields: &[u8]) -> Member {
    // Of those that do not fit, the wide field has the values in this order.
    let mut values = [24, 20, 42].map(|at| u64::from(double(entry, at)));
    while fields.len() >= 4 {
        let (kind, length) = (word(fields, 0), usize::from(word(fields, 2)));
        let field = fields.get(4..4 + length).unwrap_or_default();
        if kind == WIDE_FIELD {
            let wide = values.iter_mut().filter(|value| **value == u64::from(u32::MAX));
            for (value, bytes) in wide.zip(field.chunks_exact(8)) {
                *value = long(bytes, 0);
            }
        }
        fields = fields.get(4 + length..).unwrap_or_default();
    }
    let [size, packed, header] = values;
    // The first flag is encryption.
    let is_plain = word(entry, 10) == 0 && word(entry, 8) & 1 == 0 && size == packed;
    Member { header, size, is_plain }
}

fn unreadable(error: std::io::Error) -> String {
    format!("it cannot be read: {error}")
}

fn word(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn double(bytes: &[u8], at: usize) -> u32 {
    u32::from(word(bytes, at)) | u32::from(word(bytes, at + 2)) << 16
}

fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from(double(bytes, at)) | u64::from(double(bytes, at + 4)) << 32
}
