//! Fuzz targets for plugin files, params, offers, RTMP, RTSP, requests, pictures and what the hub lists: each takes any bytes,
//! gives them to a parser of the host, and panics where a promise is broken. Plain `cargo test` replays `corpus` through them; `targets` hands them to libFuzzer.

mod listing;
mod manifest;
mod mutate;
mod params;
mod picture;
mod rtmp;
mod rtsp;
mod schemas;
mod sdp;
#[allow(
    clippy::unwrap_used,
    dead_code,
    unused_imports,
    reason = "the API's own tests use all of it and may fail as tests do"
)]
#[path = "../../../host/api/tests/api/support/mod.rs"]
mod support;
mod wire;

pub use listing::listing;
pub use manifest::manifest;
pub use mutate::Mutator;
pub use params::params;
pub use picture::picture;
pub use rtmp::rtmp;
pub use rtsp::rtsp;
pub use sdp::sdp;
pub use wire::wire;

use std::io;
use std::path::Path;

/// A target, by the name of its folder in `corpus`.
#[derive(Clone, Copy)]
pub struct Target {
    pub name: &'static str,
    /// Whether the parser took the input.
    pub run: fn(&[u8]) -> bool,
    /// Mutations of each corpus file that a plain test tries: fewer where one takes longer.
    pub mutations: u64,
    /// Words that the parser knows, which chance alone would not find.
    pub words: &'static [&'static str],
}

/// A file of a corpus: its name and what is in it.
pub type Seed = (String, Vec<u8>);

impl Target {
    pub fn find(name: &str) -> Option<Self> {
        TARGETS.into_iter().find(|target| target.name == name)
    }

    /// By name, so that every machine tries them in the same order.
    pub fn corpus(&self) -> io::Result<Vec<Seed>> {
        let entries = std::fs::read_dir(Path::new(CORPUS).join(self.name))?;
        let read = |entry: io::Result<std::fs::DirEntry>| {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            Ok((name, std::fs::read(entry.path())?))
        };
        let mut seeds = entries.map(read).collect::<io::Result<Vec<_>>>()?;
        seeds.sort();
        Ok(seeds)
    }
}

/// The folder with a folder for each target.
pub const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/corpus");

pub const TARGETS: [Target; 8] = [
    Target { name: "listing", run: listing, mutations: 300, words: listing::WORDS },
    Target { name: "manifest", run: manifest, mutations: 300, words: manifest::WORDS },
    Target { name: "params", run: params, mutations: 300, words: params::WORDS },
    Target { name: "picture", run: picture, mutations: 300, words: picture::WORDS },
    Target { name: "rtmp", run: rtmp, mutations: 2000, words: rtmp::WORDS },
    Target { name: "rtsp", run: rtsp, mutations: 300, words: rtsp::WORDS },
    Target { name: "sdp", run: sdp, mutations: 200, words: sdp::WORDS },
    Target { name: "wire", run: wire, mutations: 60, words: wire::WORDS },
];
