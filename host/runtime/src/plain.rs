//! Frame memory of the host's own, for pictures that no pipeline gives memory for.

use host_ports::{FramePool, FrameSize, FrameSlot};
use std::any::Any;
use std::sync::Arc;

/// One being filled, one being shown, and those that codecs hold.
const SLOTS: usize = 6;

pub struct PlainPool {
    size: FrameSize,
    /// Each slot holds a share.
    leases: Arc<()>,
}

pub struct PlainSlot {
    size: FrameSize,
    pixels: Vec<u8>,
    _lease: Option<Arc<()>>,
}

impl PlainPool {
    pub fn new(size: FrameSize) -> Self {
        Self { size, leases: Arc::default() }
    }
}

impl FramePool for PlainPool {
    fn size(&self) -> FrameSize {
        self.size
    }

    fn lease(&self) -> Option<Box<dyn FrameSlot>> {
        let lease = self.leases.clone();
        // Two may each see the other's share: then a frame is dropped that had room.
        let is_free = Arc::strong_count(&lease) <= SLOTS + 1;
        is_free.then(|| -> Box<dyn FrameSlot> {
            Box::new(PlainSlot { _lease: Some(lease), ..PlainSlot::black(self.size) })
        })
    }
}

impl PlainSlot {
    /// A black picture that belongs to no pool.
    pub fn black(size: FrameSize) -> Self {
        Self { size, pixels: vec![0; size.bytes()], _lease: None }
    }
}

impl FrameSlot for PlainSlot {
    fn size(&self) -> FrameSize {
        self.size
    }

    fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    fn pixels_mut(&mut self) -> &mut [u8] {
        &mut self.pixels
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
