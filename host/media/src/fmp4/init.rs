//! What leads a run of fragments: the boxes that say which tracks there are and what their decoders must know.

use super::frame::ParameterSets;
use super::{AUDIO, CLOCK, VIDEO};
use crate::unit::AudioFormat;
use h264_reader::nal::{Nal, RefNal, sps::SeqParameterSet};
use host_ports::FrameSize;
use mp4_atom::esds::{DecoderConfig, DecoderSpecific, EsDescriptor, SLConfig};
use mp4_atom::{
    Audio, Avc1, Avcc, Codec, Dinf, Dref, DrefEntry, Encode, Esds, FourCC, Ftyp, Hdlr, Mdhd, Mdia,
    Minf, Moov, Mp4a, Mvex, Mvhd, Smhd, Stbl, Stco, Stsd, Stsz, StszSamples, Tkhd, Trak, Trex, Url,
    Visual, Vmhd,
};
use std::sync::Arc;

#[derive(Debug)]
pub(crate) struct Init {
    pub bytes: Arc<[u8]>,
    pub parameter_sets: ParameterSets,
    pub audio: Option<Arc<AudioFormat>>,
    pub size: FrameSize,
    /// As RFC 6381 names them.
    pub codecs: String,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum InitError {
    #[error("the encoder's parameter sets cannot be read: {0}")]
    ParameterSets(String),
    #[error("a box cannot be written")]
    Box(#[from] mp4_atom::Error),
}

impl Init {
    pub fn new(
        parameter_sets: ParameterSets,
        audio: Option<Arc<AudioFormat>>,
    ) -> Result<Self, InitError> {
        let size = size_of(&parameter_sets.sequence)?;
        let mut tracks = vec![video_track(&parameter_sets, size)?];
        tracks.extend(audio.as_ref().map(audio_track));
        let mut bytes = Vec::new();
        ftyp().encode(&mut bytes)?;
        moov(tracks).encode(&mut bytes)?;
        let profile = &parameter_sets.sequence[1..4];
        let mut codecs = format!("avc1.{:02x}{:02x}{:02x}", profile[0], profile[1], profile[2]);
        if let Some(audio) = &audio {
            codecs += &format!(",mp4a.40.{}", object_type(audio));
        }
        Ok(Self { bytes: bytes.into(), parameter_sets, audio, size, codecs })
    }
}

/// Of the pictures, with what is cut off at the edges.
fn size_of(sequence: &[u8]) -> Result<FrameSize, InitError> {
    let refused = |error: String| InitError::ParameterSets(error);
    if sequence.len() < 4 {
        return Err(refused("they are too short".to_owned()));
    }
    let bits = RefNal::new(sequence, &[], true).rbsp_bits();
    let set = SeqParameterSet::from_bits(bits).map_err(|error| refused(format!("{error:?}")))?;
    let (width, height) = set.pixel_dimensions().map_err(|error| refused(format!("{error:?}")))?;
    Ok(FrameSize::new(width, height))
}

/// Of MPEG-4 audio: 2 is AAC-LC.
fn object_type(audio: &AudioFormat) -> u8 {
    audio.config.first().map_or(2, |first| first >> 3)
}

fn ftyp() -> Ftyp {
    Ftyp {
        major_brand: FourCC::new(b"iso6"),
        minor_version: 0,
        compatible_brands: [b"iso6", b"iso5", b"mp41"].map(FourCC::new).to_vec(),
    }
}

fn moov(trak: Vec<Trak>) -> Moov {
    let extends = |trak: &Trak| Trex {
        track_id: trak.tkhd.track_id,
        default_sample_description_index: 1,
        ..Trex::default()
    };
    let trex = trak.iter().map(extends).collect();
    Moov {
        mvhd: Mvhd {
            timescale: 1000,
            rate: 1.into(),
            volume: 1.into(),
            next_track_id: trak.len() as u32 + 1,
            ..Mvhd::default()
        },
        mvex: Some(Mvex { mehd: None, trex }),
        trak,
        meta: None,
        udta: None,
        ainf: None,
    }
}

fn video_track(sets: &ParameterSets, size: FrameSize) -> Result<Trak, InitError> {
    // A level of H264 allows no more than 4096 a side.
    let [width, height] = [size.width, size.height].map(|side| side.min(u16::MAX.into()) as u16);
    let entry = Avc1 {
        visual: Visual { data_reference_index: 1, width, height, ..Visual::default() },
        avcc: Avcc::new(&sets.sequence, &sets.picture)?,
        btrt: None,
        colr: None,
        pasp: None,
        taic: None,
        fiel: None,
        spatial: None,
    };
    let head = Tkhd { track_id: VIDEO, width: width.into(), height: height.into(), ..enabled() };
    let minf = Minf { vmhd: Some(Vmhd::default()), ..media_information(Codec::Avc1(entry)) };
    Ok(track(head, CLOCK, (b"vide", "video"), minf))
}

fn audio_track(format: &Arc<AudioFormat>) -> Trak {
    let specific = DecoderSpecific { raw: format.config.to_vec(), ..DecoderSpecific::default() };
    let decoder = DecoderConfig {
        // MPEG-4 audio, an audio stream.
        object_type_indication: 0x40,
        stream_type: 5,
        dec_specific: Some(specific),
        ..DecoderConfig::default()
    };
    let descriptor =
        EsDescriptor { dec_config: decoder, sl_config: SLConfig {}, ..EsDescriptor::default() };
    let entry = Mp4a {
        audio: Audio {
            data_reference_index: 1,
            channel_count: format.channels.into(),
            sample_size: 16,
            // The field ends at 65535; decoders go by their own configuration.
            sample_rate: u16::try_from(format.rate).unwrap_or_default().into(),
        },
        esds: Esds { es_desc: descriptor },
        btrt: None,
        taic: None,
    };
    let head = Tkhd { track_id: AUDIO, volume: 1.into(), alternate_group: 1, ..enabled() };
    let minf = Minf { smhd: Some(Smhd::default()), ..media_information(Codec::Mp4a(entry)) };
    track(head, format.rate, (b"soun", "audio"), minf)
}

fn enabled() -> Tkhd {
    Tkhd { enabled: true, in_movie: true, ..Tkhd::default() }
}

fn track(tkhd: Tkhd, timescale: u32, (handler, name): (&[u8; 4], &str), minf: Minf) -> Trak {
    let mdhd = Mdhd { timescale, language: "und".to_owned(), ..Mdhd::default() };
    let hdlr = Hdlr { handler: FourCC::new(handler), name: name.to_owned() };
    let mdia = Mdia { mdhd, hdlr, minf };
    Trak { tkhd, mdia, edts: None, meta: None, senc: None, tref: None, udta: None }
}

/// Of a track without samples of its own: they are in the fragments.
fn media_information(codec: Codec) -> Minf {
    let here = DrefEntry::Url(Url::default());
    let nothing = StszSamples::Identical { count: 0, size: 0 };
    Minf {
        dinf: Dinf { dref: Dref { entries: vec![here] } },
        stbl: Stbl {
            stsd: Stsd { codecs: vec![codec] },
            stsz: Stsz { samples: nothing },
            stco: Some(Stco::default()),
            ..Stbl::default()
        },
        ..Minf::default()
    }
}
