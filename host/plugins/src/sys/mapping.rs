//! Memory that two processes share: files in memory of a fixed size, and their mappings.

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::mm::{MapFlags, ProtFlags};
use std::io;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;

/// A mapping of a whole memfd.
pub(super) struct Mapping {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: the mapping belongs to no thread; who may touch which bytes is said at `bytes` and `bytes_mut`.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    pub(super) fn new(file: BorrowedFd<'_>, length: usize) -> io::Result<Self> {
        if rustix::fs::fstat(file)?.st_size != i64::try_from(length).unwrap_or(i64::MAX) {
            return Err(io::Error::other("the shared memory has an unexpected size"));
        }
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        let anywhere = std::ptr::null_mut();
        // All pages at once: no frame waits for one, and memory does not grow with the slots that happen to be used.
        let flags = MapFlags::SHARED | MapFlags::POPULATE;
        // SAFETY: a new mapping at an address that the kernel chooses; the file's size is sealed, so that no access
        // inside the mapping can fault.
        let start = unsafe { rustix::mm::mmap(anywhere, length, protection, flags, file, 0)? };
        let start = NonNull::new(start.cast()).ok_or_else(|| io::Error::other("mapped at 0"))?;
        Ok(Self { start, length })
    }

    /// A file in memory, whose size nobody can change any more, and its mapping.
    pub(super) fn of_new_file(name: &str, length: u64) -> io::Result<(OwnedFd, Self)> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = rustix::fs::memfd_create(name, flags)?;
        rustix::fs::ftruncate(&file, length)?;
        let seals = SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
        rustix::fs::fcntl_add_seals(&file, seals)?;
        let length = usize::try_from(length).map_err(io::Error::other)?;
        let mapping = Self::new(file.as_fd(), length)?;
        Ok((file, mapping))
    }

    /// Bytes of the mapping.
    ///
    /// # Safety
    /// In this process nobody writes the range while the slice lives.
    pub(super) unsafe fn bytes(&self, range: Range<usize>) -> &[u8] {
        assert!(range.start <= range.end && range.end <= self.length, "slot outside its memory");
        // SAFETY: inside the mapping, which lives as long as `self`; the caller keeps this process from writing. The
        // other process may write against the rules; then the bytes are whatever they are.
        unsafe { std::slice::from_raw_parts(self.start.add(range.start).as_ptr(), range.len()) }
    }

    /// Bytes of the mapping, to be written.
    ///
    /// # Safety
    /// In this process nobody else touches the range while the slice lives.
    #[allow(clippy::mut_from_ref)]
    pub(super) unsafe fn bytes_mut(&self, range: Range<usize>) -> &mut [u8] {
        assert!(range.start <= range.end && range.end <= self.length, "slot outside its memory");
        // SAFETY: as in `bytes`, and the caller keeps everybody else in this process away.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start).as_ptr(), range.len()) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped in `new` with this length; slices of it borrow `self`. Failing means it stays mapped.
        let _ = unsafe { rustix::mm::munmap(self.start.as_ptr().cast(), self.length) };
    }
}

/// A mapping of words that both processes read and write at any time.
pub(super) struct Words(Mapping);

impl Words {
    pub(super) fn of_new_file(name: &str, count: usize) -> io::Result<(OwnedFd, Self)> {
        let (file, mapping) = Mapping::of_new_file(name, Self::bytes(count) as u64)?;
        Ok((file, Self(mapping)))
    }

    pub(super) fn new(file: BorrowedFd<'_>, count: usize) -> io::Result<Self> {
        Mapping::new(file, Self::bytes(count)).map(Self)
    }

    pub(super) fn get(&self, index: usize) -> &AtomicU64 {
        assert!(index < self.0.length / size_of::<AtomicU64>(), "no word");
        // SAFETY: inside the mapping, which lives as long as `self` and is not taken for anything but words; aligned, as
        // mappings begin at pages. Any bits are a valid word.
        unsafe { AtomicU64::from_ptr(self.0.start.as_ptr().cast::<u64>().add(index)) }
    }

    fn bytes(count: usize) -> usize {
        count * size_of::<AtomicU64>()
    }
}
