//! A reader that is no peer connection: HLS, RTSP, RTMP, a recording. It takes encoded units of one video codec and,
//! if it wants, of one audio codec, as they come.

use crate::codecs::Codec;
use crate::path::PathState;
use crate::unit::{AudioCodec, Track, Unit};
use host_ports::SessionId;
use std::sync::Arc;
use tokio::runtime::Handle;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio_util::sync::CancellationToken;

pub(crate) struct Feed {
    pub(crate) path: Arc<PathState>,
    pub(crate) session: SessionId,
    pub(crate) video: Codec,
    pub(crate) audio: Option<AudioCodec>,
    pub(crate) units: broadcast::Receiver<Unit>,
    pub(crate) ended: CancellationToken,
    pub(crate) needs_key_frame: bool,
    pub(crate) runtime: Handle,
    /// Its place among all sessions of the server.
    pub(crate) _ticket: OwnedSemaphorePermit,
}

impl Feed {
    /// The next unit; none once the path is closed. Begins with a key frame, and with another after it fell behind.
    pub async fn next(&mut self) -> Option<Unit> {
        loop {
            let received = tokio::select! {
                () = self.ended.cancelled() => return None,
                received = self.units.recv() => received,
            };
            match received {
                Ok(unit) if self.takes(&unit) => {
                    self.path.egress.counters.bytes_sent.add(unit.data.len() as u64);
                    return Some(unit);
                }
                Ok(_) => {}
                Err(RecvError::Lagged(_)) => self.needs_key_frame = true,
                Err(RecvError::Closed) => return None,
            }
        }
    }

    /// Has a key frame encoded soon.
    pub fn want_key_frame(&self) {
        self.path.egress.want_key_frame(self.video);
    }

    /// Forgets what waits, and goes on with the next key frame.
    pub fn restart(&mut self) {
        self.units = self.units.resubscribe();
        self.needs_key_frame = true;
        self.want_key_frame();
    }

    fn takes(&mut self, unit: &Unit) -> bool {
        match &unit.track {
            Track::Video(codec) if *codec == self.video => {
                if self.needs_key_frame && !unit.is_key_frame {
                    self.want_key_frame();
                }
                self.needs_key_frame &= !unit.is_key_frame;
                !self.needs_key_frame
            }
            Track::Video(_) => false,
            Track::Audio(format) => Some(format.codec) == self.audio && !self.needs_key_frame,
        }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.path.session_ended(&self.session);
        self.path.release((self.video, self.audio), &self.runtime);
    }
}
