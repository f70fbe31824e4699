//! Frame memory that host and worker share: one sealed memfd per stream, a few page-aligned slots each way.
//!
//! Which slot is in use is known in the host alone; the worker is told the two slots of a frame and answers. A worker that
//! writes where it should not spoils its own stream's picture and nothing else: bytes have no invalid values, and the
//! seals keep the file's size.

use super::mapping::Mapping;
use crate::message::{MemoryLayout, SlotLayout};
use host_ports::{Formats, FramePool, FrameSize, FrameSlot};
use plugin_api::{Frame, FrameMut};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use std::any::Any;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Slots for input and for output each: one being written, one waiting, one in the worker, and a few held by encoders.
const SLOTS: u32 = 6;
const PAGE: u64 = 4096;
/// Greatest memory of a stream, in bytes: what six 16:9 pictures of 8K take each way.
const MAX_BYTES: u64 = 2 << 30;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Input,
    Output,
}

/// A stream's frame memory in the host, with the leases of its slots.
pub(crate) struct FrameMemory {
    file: OwnedFd,
    mapping: Mapping,
    layout: MemoryLayout,
    formats: Formats,
    /// Bit n is set while input slot n is leased.
    inputs: AtomicU32,
    outputs: AtomicU32,
}

impl FrameMemory {
    /// Makes memory for these formats.
    pub(crate) fn new(formats: Formats) -> io::Result<Arc<Self>> {
        let layout = lay_out(formats).ok_or_else(|| {
            let Formats { input, output } = formats;
            io::Error::other(format!("frames of {input} and {output} do not fit a stream's memory"))
        })?;
        let length = layout.total_bytes();
        let (file, mapping) = Mapping::of_new_file("sdh-frames", length)?;
        let (inputs, outputs) = (AtomicU32::new(0), AtomicU32::new(0));
        Ok(Arc::new(Self { file, mapping, layout, formats, inputs, outputs }))
    }

    pub(crate) fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    pub(crate) fn layout(&self) -> &MemoryLayout {
        &self.layout
    }

    pub(crate) fn formats(&self) -> Formats {
        self.formats
    }

    pub(crate) fn lease_input(self: &Arc<Self>) -> Option<SharedSlot> {
        self.lease(Direction::Input)
    }

    pub(crate) fn lease_output(self: &Arc<Self>) -> Option<SharedSlot> {
        self.lease(Direction::Output)
    }

    fn lease(self: &Arc<Self>, direction: Direction) -> Option<SharedSlot> {
        let leases = self.leases(direction);
        // Acquire: what the last holder did to the slot is done.
        let taken = leases.fetch_update(Ordering::Acquire, Ordering::Relaxed, |bits| {
            let free = (!bits).trailing_zeros();
            (free < SLOTS).then(|| bits | 1 << free)
        });
        let index = (!taken.ok()?).trailing_zeros();
        Some(SharedSlot { memory: self.clone(), direction, index })
    }

    fn leases(&self, direction: Direction) -> &AtomicU32 {
        match direction {
            Direction::Input => &self.inputs,
            Direction::Output => &self.outputs,
        }
    }

    fn slot_layout(&self, direction: Direction) -> &SlotLayout {
        match direction {
            Direction::Input => &self.layout.input,
            Direction::Output => &self.layout.output,
        }
    }
}

/// The input side of a stream's memory, for the decoder.
pub(crate) struct InputPool(pub(crate) Arc<FrameMemory>);

impl FramePool for InputPool {
    fn size(&self) -> FrameSize {
        self.0.formats.input
    }

    fn lease(&self) -> Option<Box<dyn FrameSlot>> {
        self.0.lease_input().map(|slot| Box::new(slot) as Box<dyn FrameSlot>)
    }
}

/// A leased slot; dropping it gives the lease back.
pub(crate) struct SharedSlot {
    memory: Arc<FrameMemory>,
    direction: Direction,
    index: u32,
}

impl SharedSlot {
    pub(crate) fn index(&self) -> u32 {
        self.index
    }

    /// Whether it is an input slot of this memory.
    pub(crate) fn is_input_of(&self, memory: &Arc<FrameMemory>) -> bool {
        self.direction == Direction::Input && Arc::ptr_eq(&self.memory, memory)
    }

    fn range(&self) -> Range<usize> {
        self.memory.slot_layout(self.direction).range(self.index)
    }
}

impl FrameSlot for SharedSlot {
    fn size(&self) -> FrameSize {
        let layout = self.memory.slot_layout(self.direction);
        FrameSize::new(layout.width, layout.height)
    }

    fn pixels(&self) -> &[u8] {
        // SAFETY: the lease is the only one of this slot, and writing needs `&mut self`.
        unsafe { self.memory.mapping.bytes(self.range()) }
    }

    fn pixels_mut(&mut self) -> &mut [u8] {
        // SAFETY: the lease is the only one of this slot, and it is borrowed exclusively.
        unsafe { self.memory.mapping.bytes_mut(self.range()) }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Drop for SharedSlot {
    fn drop(&mut self) {
        // Release: what was done to the slot is done before its next holder.
        self.memory.leases(self.direction).fetch_and(!(1 << self.index), Ordering::Release);
    }
}

/// The same memory in the worker.
pub(crate) struct WorkerMemory {
    mapping: Mapping,
    layout: MemoryLayout,
}

impl WorkerMemory {
    pub(crate) fn new(file: OwnedFd, layout: MemoryLayout) -> io::Result<Self> {
        let length = usize::try_from(layout.total_bytes()).map_err(io::Error::other)?;
        Ok(Self { mapping: Mapping::new(file.as_fd(), length)?, layout })
    }

    /// The two pictures of a frame; none for slots that do not exist.
    pub(crate) fn frames(
        &mut self,
        (input, output): (u32, u32),
        (id, captured_ns): (u64, u64),
    ) -> Option<(Frame<'_>, FrameMut<'_>)> {
        let (from, to) = (&self.layout.input, &self.layout.output);
        if input >= from.count || output >= to.count {
            return None;
        }
        // SAFETY: `&mut self` makes this the only user in this process, and the host's lease keeps that of the input.
        let source = unsafe { self.mapping.bytes(from.range(input)) };
        // SAFETY: as above; input and output slots never overlap.
        let target = unsafe { self.mapping.bytes_mut(to.range(output)) };
        let source = Frame {
            id,
            captured_ns,
            width: from.width,
            height: from.height,
            stride: from.stride as usize,
            pixels: source,
        };
        let target = FrameMut {
            id,
            captured_ns,
            width: to.width,
            height: to.height,
            stride: to.stride as usize,
            pixels: target,
        };
        Some((source, target))
    }
}

/// Places the slots one after the other; none when a side or the whole is out of range.
fn lay_out(formats: Formats) -> Option<MemoryLayout> {
    let input = lay_out_slots(formats.input, 0)?;
    let output = lay_out_slots(formats.output, input.end())?;
    let layout = MemoryLayout { input, output };
    (layout.total_bytes() <= MAX_BYTES).then_some(layout)
}

fn lay_out_slots(size: FrameSize, offset: u64) -> Option<SlotLayout> {
    let sides = 1..=plugin_api::MAX_SIDE;
    if !sides.contains(&size.width) || !sides.contains(&size.height) {
        return None;
    }
    Some(SlotLayout {
        count: SLOTS,
        offset,
        distance: (size.bytes() as u64).next_multiple_of(PAGE),
        width: size.width,
        height: size.height,
        stride: size.stride() as u64,
        bytes: size.bytes() as u64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(width: u32, height: u32) -> Arc<FrameMemory> {
        let size = FrameSize::new(width, height);
        FrameMemory::new(Formats { input: size, output: FrameSize::new(8, 8) }).unwrap()
    }

    #[test]
    fn slots_are_leased_until_none_is_left_and_come_back_when_dropped() {
        let memory = memory(10, 4);
        let mut slots: Vec<_> = std::iter::from_fn(|| memory.lease_input()).collect();
        assert_eq!(slots.iter().map(SharedSlot::index).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5]);
        slots.remove(3);
        assert_eq!(memory.lease_input().map(|slot| slot.index()), Some(3));
        assert!(memory.lease_output().is_some(), "outputs are leased apart from inputs");
    }

    #[test]
    fn slots_do_not_overlap_and_have_the_frames_size() {
        let memory = memory(10, 4);
        let mut slots: Vec<_> = std::iter::from_fn(|| memory.lease_input()).collect();
        for (number, slot) in slots.iter_mut().enumerate() {
            slot.pixels_mut().fill(number as u8);
        }
        memory.lease_output().unwrap().pixels_mut().fill(99);
        for (number, slot) in slots.iter().enumerate() {
            assert_eq!(slot.pixels().len(), slot.size().bytes());
            assert!(slot.pixels().iter().all(|byte| *byte == number as u8));
        }
    }

    #[test]
    fn the_worker_sees_what_the_host_wrote_and_only_existing_slots() {
        let memory = memory(10, 4);
        let mut slot = memory.lease_input().unwrap();
        slot.pixels_mut().fill(7);
        let file = memory.file().try_clone_to_owned().unwrap();
        let mut worker = WorkerMemory::new(file, memory.layout().clone()).unwrap();
        let (source, target) = worker.frames((slot.index(), 2), (5, 6)).unwrap();
        assert!(source.rows().all(|row| row == [7; 30]));
        assert_eq!((source.id, target.captured_ns, target.width), (5, 6, 8));
        assert!(worker.frames((SLOTS, 0), (1, 1)).is_none());
        assert!(worker.frames((0, SLOTS), (1, 1)).is_none());
    }

    #[test]
    fn the_memory_cannot_be_cut_off() {
        let memory = memory(10, 4);
        assert!(rustix::fs::ftruncate(memory.file(), 0).is_err());
    }

    #[test]
    fn impossible_sizes_are_refused() {
        for (width, height) in [(0, 8), (8, 0), (16385, 8), (16384, 16384)] {
            let size = FrameSize::new(width, height);
            assert!(FrameMemory::new(Formats { input: size, output: size }).is_err());
        }
    }
}
