//! Single pictures of what a path shows: JPEG, made when somebody asks, one at a time, and kept as long as the frame is.

use host_ports::{Frame, OfferError, Pending};
use image::ExtendedColorType;
use image::codecs::jpeg::JpegEncoder;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::Mutex;

const QUALITY: u8 = 90;

/// A path's last picture.
#[derive(Clone, Default)]
pub(crate) struct Snapshots(Arc<Mutex<Option<Snapshot>>>);

struct Snapshot {
    of: Which,
    jpeg: Arc<[u8]>,
}

/// Tells frames apart, without keeping their memory.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Which {
    memory: usize,
    id: u64,
    captured_at: Instant,
    made_at: Option<Instant>,
}

impl Snapshots {
    /// The picture of what is `shown` when it is made.
    pub fn take(
        &self,
        shown: impl FnOnce() -> Option<Frame> + Send + 'static,
    ) -> Pending<Result<Arc<[u8]>, OfferError>> {
        let last = self.0.clone();
        Box::pin(async move {
            // Whoever waits here finds the picture made, unless there is a newer one.
            let mut last = last.lock_owned().await;
            let frame = shown().ok_or(OfferError::NotReady)?;
            let which = Which::of(&frame);
            if let Some(snapshot) = last.as_ref().filter(|snapshot| snapshot.of == which) {
                return Ok(snapshot.jpeg.clone());
            }
            let encoded = tokio::task::spawn_blocking(move || encode(&frame)).await;
            let encoded = encoded.map_err(|error| error.to_string()).flatten();
            let jpeg: Arc<[u8]> =
                encoded.map_err(|reason| OfferError::Unavailable { reason })?.into();
            *last = Some(Snapshot { of: which, jpeg: jpeg.clone() });
            Ok(jpeg)
        })
    }
}

impl Which {
    fn of(frame: &Frame) -> Self {
        let (stamp, made_at) = (frame.stamp, frame.made_at);
        let memory = frame.pixels().as_ptr().addr();
        Self { memory, id: stamp.id, captured_at: stamp.captured_at, made_at }
    }
}

fn encode(frame: &Frame) -> Result<Vec<u8>, String> {
    let size = frame.size();
    let rows = frame.pixels().chunks(size.stride());
    let packed: Vec<u8> = rows.flat_map(|row| &row[..size.width as usize * 3]).copied().collect();
    let mut jpeg = Vec::new();
    JpegEncoder::new_with_quality(&mut jpeg, QUALITY)
        .encode(&packed, size.width, size.height, ExtendedColorType::Rgb8)
        .map_err(|error| format!("the picture cannot be encoded: {error}"))?;
    Ok(jpeg)
}
