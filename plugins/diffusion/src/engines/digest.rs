//! SHA-256 in hexadecimal, of bytes and of files.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use sha2::{Digest, Sha256};

/// What is read of a file at once.
const PART: usize = 1 << 22;

#[derive(Default)]
pub struct Digester(Sha256);

impl Digester {
    pub fn of(bytes: &[u8]) -> String {
        let mut digester = Self::default();
        digester.add(bytes);
        digester.finish()
    }

    /// A file's length and digest. `goes_on` is asked again and again, as a large file takes long; by answering false it
    /// ends the reading with an error of the kind [`Interrupted`](io::ErrorKind::Interrupted).
    pub fn of_file(path: &Path, goes_on: &mut dyn FnMut() -> bool) -> io::Result<(u64, String)> {
        let (mut file, mut digester, mut length) = (File::open(path)?, Self::default(), 0);
        let mut part = vec![0; PART];
        loop {
            let read = file.read(&mut part)?;
            if read == 0 {
                return Ok((length, digester.finish()));
            }
            if !goes_on() {
                return Err(io::ErrorKind::Interrupted.into());
            }
            digester.add(&part[..read]);
            length += read as u64;
        }
    }

    pub fn add(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub fn finish(self) -> String {
        self.0.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}
