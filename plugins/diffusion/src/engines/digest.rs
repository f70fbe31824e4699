//! SHA-256 in hexadecimal, of bytes and of files.

use std::fs::File;
use std::io;
use std::path::Path;

use sha2::{Digest, Sha256};

#[derive(Default)]
pub struct Digester(Sha256);

impl Digester {
    pub fn of(bytes: &[u8]) -> String {
        let mut digester = Self::default();
        digester.add(bytes);
        digester.finish()
    }

    /// A file's length and digest.
    pub fn of_file(path: &Path) -> io::Result<(u64, String)> {
        let mut digester = Self::default();
        let length = io::copy(&mut File::open(path)?, &mut digester)?;
        Ok((length, digester.finish()))
    }

    pub fn add(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub fn finish(self) -> String {
        self.0.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl io::Write for Digester {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.add(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
