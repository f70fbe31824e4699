//! A video frame on its way through the host: leased pixels and where they come from.

use std::sync::Arc;
use std::time::Instant;

/// Width and height in pixels. Frames inside the host are packed RGB, 8 bits a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FrameSize {
    pub width: u32,
    pub height: u32,
}

impl FrameSize {
    pub const fn new(width: u32, height: u32) -> Self {
        Self { width, height }
    }

    /// Bytes from one row to the next: a multiple of four, as GStreamer lays RGB out.
    pub const fn stride(self) -> usize {
        (self.width as usize * 3).next_multiple_of(4)
    }

    /// Bytes of a whole frame.
    pub const fn bytes(self) -> usize {
        self.stride() * self.height as usize
    }
}

impl std::fmt::Display for FrameSize {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}

/// Names the captured picture that a frame shows. It survives the pipeline, so that latency is measured end to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameStamp {
    /// Counts the publisher's frames, from 1.
    pub id: u64,
    /// When the frame's last packet reached the host.
    pub captured_at: Instant,
}

/// Leased frame memory. Dropping the lease gives the memory back to its pool.
pub trait FrameSlot: Send + Sync {
    fn size(&self) -> FrameSize;
    /// Exactly `size().bytes()` bytes.
    fn pixels(&self) -> &[u8];
    fn pixels_mut(&mut self) -> &mut [u8];
    /// For the pool's owner, who has to recognise its own slots.
    fn as_any(&self) -> &dyn std::any::Any;
}

/// Where frame memory is leased.
pub trait FramePool: Send + Sync {
    fn size(&self) -> FrameSize;
    /// A slot for one frame; none while all are in use, and then the frame is dropped.
    fn lease(&self) -> Option<Box<dyn FrameSlot>>;
}

/// A finished frame: pixels that no longer change. Clones share one lease.
#[derive(Clone)]
pub struct Frame {
    pub stamp: FrameStamp,
    /// When it was put where the pipeline takes it; none of a frame on its way to there or of an output.
    pub queued_at: Option<Instant>,
    /// When the pipeline gave it; none of a frame that no pipeline made.
    pub made_at: Option<Instant>,
    slot: Arc<Box<dyn FrameSlot>>,
}

impl Frame {
    pub fn new(stamp: FrameStamp, slot: Box<dyn FrameSlot>) -> Self {
        Self { stamp, queued_at: None, made_at: None, slot: Arc::new(slot) }
    }

    pub fn size(&self) -> FrameSize {
        self.slot.size()
    }

    pub fn pixels(&self) -> &[u8] {
        self.slot.pixels()
    }

    pub fn slot(&self) -> &dyn FrameSlot {
        &**self.slot
    }
}

impl std::fmt::Debug for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Frame").field("id", &self.stamp.id).field("size", &self.size()).finish()
    }
}
