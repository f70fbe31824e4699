//! Frame memory on the heap, in pools that know their own.

use host_ports::{FramePool, FrameSize, FrameSlot};
use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const SLOTS: usize = 6;

#[derive(Clone)]
pub struct HeapPool {
    size: FrameSize,
    leased: Arc<AtomicUsize>,
}

pub struct HeapSlot {
    pool: HeapPool,
    pixels: Vec<u8>,
}

impl HeapPool {
    pub fn new(size: FrameSize) -> Self {
        Self { size, leased: Arc::default() }
    }

    pub fn owns(&self, slot: &dyn FrameSlot) -> bool {
        let slot = slot.as_any().downcast_ref::<HeapSlot>();
        slot.is_some_and(|slot| Arc::ptr_eq(&slot.pool.leased, &self.leased))
    }
}

impl FramePool for HeapPool {
    fn size(&self) -> FrameSize {
        self.size
    }

    fn lease(&self) -> Option<Box<dyn FrameSlot>> {
        if self.leased.fetch_add(1, Ordering::SeqCst) >= SLOTS {
            self.leased.fetch_sub(1, Ordering::SeqCst);
            return None;
        }
        Some(Box::new(HeapSlot { pool: self.clone(), pixels: vec![0; self.size.bytes()] }))
    }
}

impl Drop for HeapSlot {
    fn drop(&mut self) {
        self.pool.leased.fetch_sub(1, Ordering::SeqCst);
    }
}

impl FrameSlot for HeapSlot {
    fn size(&self) -> FrameSize {
        self.pool.size
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
