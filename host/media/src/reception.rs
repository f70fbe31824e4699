//! A publisher's compressed video on its way to the decoder: what cannot be decoded is left out and a key frame asked for.

use crate::access_unit::{is_key_frame, is_oversized};
use crate::codecs::Codec;
use crate::decoder::{AccessUnit, Decoder};
use crate::path::PathState;
use std::sync::Arc;
use std::time::Instant;

pub(crate) struct Reception {
    path: Arc<PathState>,
    codec: Codec,
    decoder: Decoder,
    needs_key_frame: bool,
}

impl Reception {
    pub fn start(path: Arc<PathState>, codec: Codec) -> std::io::Result<Self> {
        let elements = path.egress.codecs.decoders_of(codec);
        let decoder =
            Decoder::start(elements, path.ingress.clone(), path.ingress_counters.clone())?;
        Ok(Self { path, codec, decoder, needs_key_frame: true })
    }

    /// Takes an access unit. False if it was of no use and nothing will be before a key frame.
    pub fn take(&mut self, data: Arc<[u8]>, is_contiguous: bool, received_at: Instant) -> bool {
        self.needs_key_frame |= !is_contiguous || self.decoder.takes_key_frame_only();
        let starts_over = is_key_frame(self.codec, &data) && !is_oversized(self.codec, &data);
        let is_usable = starts_over || !self.needs_key_frame;
        self.needs_key_frame = !is_usable || !self.decoder.push(AccessUnit { data, received_at });
        self.path.ingress_counters.frames_dropped.add(self.needs_key_frame.into());
        !self.needs_key_frame
    }
}
