//! One fragment: some samples of each track, and the boxes that say which is which.

use super::{AUDIO, VIDEO};
use mp4_atom::{Encode, FourCC, Mfhd, Moof, Tfdt, Tfhd, Traf, Trun, TrunEntry, TrunSamples};

/// Of a sample that needs no other, and of one that needs those before it.
const KEY: u32 = 0x0200_0000;
const DELTA: u32 = 0x0101_0000;

/// Of the box around the samples.
const HEADER: usize = 8;

#[derive(Debug)]
pub(crate) struct Sample {
    pub data: Vec<u8>,
    pub ticks: u32,
    pub is_key: bool,
}

/// Samples of a track that follow each other without a gap.
#[derive(Debug, Default)]
pub(crate) struct Samples {
    /// When the first begins, on the track's clock.
    pub begin: u64,
    pub list: Vec<Sample>,
}

impl Samples {
    fn bytes(&self) -> usize {
        self.list.iter().map(|sample| sample.data.len()).sum()
    }

    fn track(&self, track_id: u32, offset: usize) -> Traf {
        let entry = |sample: &Sample| TrunEntry {
            duration: Some(sample.ticks),
            size: u32::try_from(sample.data.len()).ok(),
            flags: Some(if sample.is_key { KEY } else { DELTA }),
            cts: None,
        };
        let samples = TrunSamples::Explicit(self.list.iter().map(entry).collect());
        Traf {
            tfhd: Tfhd { track_id, default_base_is_moof: true, ..Tfhd::default() },
            tfdt: Some(Tfdt { base_media_decode_time: self.begin }),
            trun: vec![Trun { data_offset: i32::try_from(offset).ok(), samples }],
            ..Traf::default()
        }
    }
}

/// The fragment with these samples.
pub(crate) fn write(
    sequence_number: u32,
    video: &Samples,
    audio: &Samples,
) -> Result<Vec<u8>, mp4_atom::Error> {
    let moof = |offset: usize| {
        let tracks = [(VIDEO, video, offset), (AUDIO, audio, offset + video.bytes())];
        let tracks = tracks.into_iter().filter(|(_, samples, _)| !samples.list.is_empty());
        let traf = tracks.map(|(id, samples, offset)| samples.track(id, offset)).collect();
        Moof { mfhd: Mfhd { sequence_number }, traf }
    };
    let mut bytes = Vec::new();
    // Its own length decides where the samples are, and does not depend on it.
    moof(0).encode(&mut bytes)?;
    let offset = bytes.len() + HEADER;
    bytes.clear();
    moof(offset).encode(&mut bytes)?;
    let length = HEADER + video.bytes() + audio.bytes();
    let too_large = |_| mp4_atom::Error::TooLarge(FourCC::new(b"mdat"));
    let length = u32::try_from(length).map_err(too_large)?;
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(b"mdat");
    for sample in video.list.iter().chain(&audio.list) {
        bytes.extend_from_slice(&sample.data);
    }
    Ok(bytes)
}
