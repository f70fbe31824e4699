//! A publisher that came through another door than WebRTC: RTMP, RTSP.

use crate::audio::{Nanos, Source};
use crate::path::PathState;
use crate::reception::Reception;
use crate::showing::ShowingOrder;
use crate::unit::AudioFormat;
use host_ports::SessionId;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;

/// Takes its path from an earlier publisher when made; gone when dropped.
pub(crate) struct Publisher {
    pub(crate) path: Arc<PathState>,
    pub(crate) session: SessionId,
    pub(crate) ended: CancellationToken,
    pub(crate) reception: Reception,
    pub(crate) source: Source,
    pub(crate) order: ShowingOrder,
    /// Its place among all sessions of the server.
    pub(crate) _ticket: OwnedSemaphorePermit,
}

impl Publisher {
    pub fn path_name(&self) -> &str {
        &self.path.name
    }

    /// Done once a newer publisher took the path, or the path was closed.
    pub fn ended(&self) -> &CancellationToken {
        &self.ended
    }

    /// What its clock of audio is to be added to, to be that of video. Audio comes as it comes until this is told.
    pub fn related(&self, skew: Nanos) {
        self.path.egress.audio.related(self.source, skew);
    }

    /// Takes one access unit: an H264 or H265 byte stream with its parameter sets, or a frame of VP8 or VP9; `time` is when
    /// it is to be shown, by the publisher's own clock, of any origin. False if nothing can be decoded before the next key frame.
    pub fn video(&mut self, data: Arc<[u8]>, time: Duration, received_at: Instant) -> bool {
        if let Some(time) = self.order.comes_out(time) {
            self.path.egress.audio.picture_came(self.source, time, received_at);
        }
        let counters = &self.path.ingress_counters;
        counters.bytes_received.add(data.len() as u64);
        self.reception.take(data, true, received_at)
    }

    /// Takes one packet of audio; `time` is when it is to be heard, by the publisher's own clock of audio.
    pub fn audio(
        &mut self,
        format: &Arc<AudioFormat>,
        data: Arc<[u8]>,
        time: Duration,
        received_at: Instant,
    ) {
        self.path.ingress_counters.bytes_received.add(data.len() as u64);
        self.path.egress.audio.take(self.source, format, (data, time), received_at);
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.path.session_ended(&self.session);
    }
}
