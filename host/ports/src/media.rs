//! The media server as the runtime sees it: one path per stream, a publisher's frames in, shown frames out.

use crate::{
    Frame, FrameSlot, HlsError, HlsFile, HlsRequest, LatencyFigures, Pending, RecordError,
    RecordedFile, Recording, Restream, RestreamStats, VideoAbilities, VideoSettings,
};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// A WHIP or WHEP session of a path. URL-safe and not guessable.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SessionId(pub String);

/// What a WHIP or WHEP POST is answered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub session: SessionId,
    pub sdp: String,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OfferError {
    #[error("the body is no usable SDP offer: {reason}")]
    Invalid { reason: String },
    #[error(
        "the offer has no codec that this server can {doing}; it can {doing} {supported}, the offer has {offered}"
    )]
    NoCommonCodec { doing: &'static str, supported: String, offered: String },
    /// Nothing was published to the stream yet.
    #[error("nothing is published to this stream yet; try again once a publisher is connected")]
    NotReady,
    #[error("the path has {limit} readers already, which is its limit")]
    TooManyReaders { limit: usize },
    #[error("the media server cannot serve this now: {reason}")]
    Unavailable { reason: String },
}

/// Where a publisher's decoded frames go. Called on the media server's threads: must not block.
pub trait IngressSink: Send + Sync {
    /// Memory to convert the next frame into, of the size that the picture must be scaled and cropped to; none while
    /// all memory is in use or the stream is being deleted, and then the frame is dropped and counted by the sink.
    fn lease(&self) -> Option<Box<dyn FrameSlot>>;
    /// How a picture of another shape is brought to the slot's size.
    fn fit(&self) -> Fit;
    fn put(&self, frame: Frame);
    fn on(&self, event: IngressEvent);
}

/// How a picture is brought to another shape.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fit {
    /// Keeps the shape, fills the frame, cuts what stands over.
    #[default]
    Crop,
    /// Keeps the shape, shows all of it between black bars.
    Letterbox,
    /// Fills the frame, bends the shape.
    Stretch,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IngressEvent {
    PublisherConnected,
    PublisherGone,
}

/// The embedded media server. `MediaPath`s stay until dropped, whatever happens to the pipeline.
pub trait MediaServer: Send + Sync {
    /// What the encoders of this machine can do.
    fn video_abilities(&self) -> VideoAbilities;
    fn open(&self, stream: &str, ingress: Arc<dyn IngressSink>) -> Arc<dyn MediaPath>;
}

/// One stream's media. Cheap to call from async code: nothing here waits for the network or a codec.
pub trait MediaPath: Send + Sync {
    /// Answers a WHIP offer; the new publisher replaces an older one once it is connected.
    fn publish(&self, offer: &str) -> Result<Answer, OfferError>;
    /// Answers a WHEP offer; `NotReady` until `show` was called once.
    fn play(&self, offer: &str) -> Result<Answer, OfferError>;
    /// Answers a client of HLS, which may take as long as a segment.
    fn hls(&self, request: HlsRequest) -> Pending<Result<HlsFile, HlsError>>;
    /// What is shown now, as JPEG; `NotReady` until `show` was called once.
    fn snapshot(&self) -> Pending<Result<Arc<[u8]>, OfferError>>;
    /// Begins to record what readers see. What is told at last comes when the recording has ended, whatever ended it.
    fn record(&self) -> Pending<Result<(Recording, Pending<Recording>), RecordError>>;
    /// Ends the recording, and tells how it ended once all is written.
    fn stop_recording(&self) -> Pending<Result<Recording, RecordError>>;
    /// The recording that goes on, or the last one.
    fn recording(&self) -> Option<Recording>;
    /// Files of ended recordings, also of earlier runs, oldest first.
    fn recordings(&self) -> Pending<Result<Vec<RecordedFile>, RecordError>>;
    /// Where one of these files is.
    fn recorded_file(&self, name: &str) -> Option<PathBuf>;
    /// Takes one of these files away; whoever reads it may do so to its end.
    fn delete_recording(&self, name: &str) -> Pending<Result<(), RecordError>>;
    /// Whether there is a session of that id on this path.
    fn has_session(&self, session: &SessionId) -> bool;
    /// Ends a session. False if there is none of that id on this path.
    fn hang_up(&self, session: &SessionId) -> bool;
    /// Shows a frame to all readers, newest wins. From the first call on the output never stops: the last frame is
    /// repeated while no newer one comes.
    fn show(&self, frame: Frame);
    /// Sends what is shown to an RTMP server too, from the first frame on and whatever becomes of the connection, instead
    /// of to the one before; none ends that.
    fn restream(&self, wanted: Option<Restream>);
    /// How the output is encoded from now on.
    fn set_video(&self, settings: VideoSettings);
    fn ingress_stats(&self) -> IngressStats;
    fn egress_stats(&self) -> EgressStats;
    /// None if the stream goes to no other server.
    fn restream_stats(&self) -> Option<RestreamStats>;
    /// Ends all sessions. The path takes no more.
    fn close(&self);
}

/// Who may publish where, for the doors that are told a key by whoever comes.
pub trait StreamKeys: Send + Sync {
    /// The stream that is published to with this key.
    fn stream_of(&self, stream_key: &str) -> Option<String>;
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct IngressStats {
    pub is_publishing: bool,
    pub codec: Option<&'static str>,
    pub frames_decoded: u64,
    /// Thrown away before the input mailbox: no memory free, or the decoder refused them.
    pub frames_dropped: u64,
    pub bytes_received: u64,
    pub packets_received: u64,
    pub packets_lost: u64,
    /// Of the publisher that is there or was last; none if it sent no audio.
    pub audio_codec: Option<&'static str>,
    pub audio_packets: u64,
    /// Thrown away: no packets of their codec, or more than may wait.
    pub audio_dropped: u64,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct EgressStats {
    pub readers: usize,
    /// Codecs that are being encoded now.
    pub codecs: Vec<&'static str>,
    /// What they are encoded for together, in kbit/s.
    pub bitrate_kbps: u32,
    pub frames_encoded: u64,
    /// Displaced by a newer frame before they were encoded.
    pub frames_dropped: u64,
    pub bytes_sent: u64,
    pub key_frames: u64,
    /// From a frame that the pipeline made to its encoded form.
    pub encode_latency: LatencyFigures,
    /// Of the same frames, from the last packet of what was captured to the encoded form.
    pub end_to_end_latency: LatencyFigures,
    /// How much later than it came audio is heard, so that it is heard with the pictures of its moment.
    pub audio_delay: Option<Duration>,
    /// What the publisher's audio is transcoded to, while readers want another codec.
    pub audio_transcoded: Option<&'static str>,
}
