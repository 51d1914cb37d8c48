//! The frame pool: one region of memory, cut into frames that are owned one by one.
//!
//! A [`Frame`] is a move-only token. Whoever owns it owns its bytes: the app, a ring, a backend, or
//! (through a backend that parked it) the kernel. Nothing else can reach them, so a frame needs no
//! lock and no reference count.

use std::io;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Frames are whole cache lines long.
pub(crate) const LINE: usize = 64;

/// The most cache lines of a frame: twice as many as the longest train needs.
pub(crate) const LINES_MAX: usize = (1 << 11) - 1;

/// A page-aligned, pre-faulted region of frames, in huge pages if available, and locked into
/// memory if the limits allow.
///
/// The memory lives until the pool and every backend that was opened on it are gone, so that a
/// kernel reference to a frame can never outlive the frame.
#[derive(Debug)]
pub struct Pool {
    region: Arc<Region>,
    frame_size: usize,
    frames: usize,
    handed_out: AtomicBool,
    lock_error: Option<io::Error>,
}

impl Pool {
    /// Maps a pool of `frames` frames of `frame_size` bytes each (rounded up to whole cache lines of 64
    /// bytes), writes to every page, and tries to lock it into memory. A refused lock is not an error: see
    /// [`Pool::lock_error`].
    ///
    /// # Errors
    ///
    /// The kernel's error if the region cannot be mapped; `InvalidInput` if its size overflows or is 0.
    pub fn new(frames: usize, frame_size: usize) -> io::Result<Self> {
        let bytes = Self::bytes_for(frames, frame_size)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "pool size out of range"))?;
        let frame_size = frame_size.next_multiple_of(LINE);
        let region = Region::map_huge(bytes)?;
        let lock_error = region.lock().err();
        Ok(Self { region: Arc::new(region), frame_size, frames, handed_out: AtomicBool::new(false), lock_error })
    }

    /// How many bytes such a pool maps, rounded up to whole huge pages; `None` if that is out of range.
    pub fn bytes_for(frames: usize, frame_size: usize) -> Option<usize> {
        let frame_size = frame_size.checked_next_multiple_of(LINE)?;
        let bytes = stride(frame_size).checked_mul(frames)?;
        let fits = bytes > 0 && frame_size > 0 && isize::try_from(bytes).is_ok() && frame_size / LINE <= LINES_MAX;
        fits.then_some(bytes)
    }

    /// Hands out all frames of the pool. They can be handed out only once.
    ///
    /// # Panics
    ///
    /// When called a second time: two owners of one frame would be a data race.
    pub fn frames(&self) -> FreeList<'_> {
        assert!(!self.handed_out.swap(true, Ordering::Relaxed), "the frames of a pool are handed out once");
        let start = self.region.base.as_ptr() as usize;
        let mut frames = Vec::with_capacity(self.frames);
        // The first frame ends on top, so that a short run touches the low addresses only.
        for index in (0..self.frames).rev() {
            // SAFETY: `index < frames` and the region is `frames * stride` bytes long, so the pointer
            // stays inside it.
            let base = unsafe { self.region.base.add(index * stride(self.frame_size)) };
            frames.push(base);
        }
        let (size, bytes) = (self.frame_size, self.region.bytes);
        FreeList { total: frames.len(), frames, size, start, bytes, pool: PhantomData }
    }

    /// Bytes that a frame can hold.
    pub fn frame_size(&self) -> usize {
        self.frame_size
    }

    /// Number of frames.
    pub fn len(&self) -> usize {
        self.frames
    }

    /// Whether the pool has no frames; a pool always has some.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Bytes of memory mapped.
    pub fn bytes(&self) -> usize {
        self.region.bytes
    }

    /// Why the region is not locked into memory, if it is not (`mlock(2)`: RLIMIT_MEMLOCK).
    pub fn lock_error(&self) -> Option<&io::Error> {
        self.lock_error.as_ref()
    }

    /// A shared handle on the region, for a backend whose kernel side may hold addresses of frames.
    pub(crate) fn region(&self) -> Arc<Region> {
        Arc::clone(&self.region)
    }
}

/// The stride of frames of `size` bytes: an odd number of cache lines.
///
/// Frames at a stride of 2 KiB share two sets of a 64-set L1 cache, so that the first cache lines of
/// 32 frames evict each other; an odd number of lines spreads them over all sets.
fn stride(size: usize) -> usize {
    ((size / LINE) | 1) * LINE
}

/// An anonymous private mapping, unmapped when dropped.
#[derive(Debug)]
pub(crate) struct Region {
    base: NonNull<u8>,
    bytes: usize,
    /// The whole mapping, of which the region is an aligned part.
    mapping: (*mut libc::c_void, usize),
}

// SAFETY: the region is plain memory; who may touch which part of it is decided by the frames.
unsafe impl Send for Region {}
// SAFETY: as above: a shared `Region` gives access to no byte of it.
unsafe impl Sync for Region {}

/// The size of a page in bytes: 4 KiB on x86, 16 or 64 on some arm64, 64 on most POWER.
fn page_size() -> usize {
    // SAFETY: the call takes a number.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(size).ok().filter(|size| size.is_power_of_two()).unwrap_or(4096)
}

impl Region {
    /// Maps `bytes` bytes of zeroes, page-aligned, and faults every page in.
    pub(crate) fn map(bytes: usize) -> io::Result<Self> {
        Self::map_aligned(bytes, 1)
    }

    /// The same in transparent huge pages, if the kernel has some.
    ///
    /// Frames lie far apart: 512 of them fill 264 pages of 4 KiB, more than the first-level TLB holds, and
    /// the misses cost an io_uring `drain` 25 ns per datagram here, a sixteenth of its time.
    pub(crate) fn map_huge(bytes: usize) -> io::Result<Self> {
        /// The size of a huge page on x86-64, and on arm64 with pages of 4 KiB.
        const HUGE: usize = 2 << 20;
        Self::map_aligned(bytes.next_multiple_of(HUGE), HUGE)
    }

    fn map_aligned(bytes: usize, align: usize) -> io::Result<Self> {
        let total = bytes.checked_add(align - 1).ok_or(io::ErrorKind::OutOfMemory)?;
        let (access, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: an anonymous mapping at an address that the kernel chooses touches no existing memory.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), total, access, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let skip = (start as usize).next_multiple_of(align) - start as usize;
        let base = NonNull::new(start.cast::<u8>().wrapping_add(skip)).ok_or(io::ErrorKind::OutOfMemory)?;
        if align > 1 {
            // SAFETY: the range lies within the mapping. A refusal leaves ordinary pages.
            unsafe { libc::madvise(base.as_ptr().cast(), bytes, libc::MADV_HUGEPAGE) };
        }
        for offset in (0..bytes).step_by(page_size()) {
            // SAFETY: `skip + offset < total`, and the mapping is ours alone.
            unsafe { base.add(offset).write_volatile(0) };
        }
        Ok(Self { base, bytes, mapping: (start, total) })
    }

    pub(crate) fn as_ptr(&self) -> *mut u8 {
        self.base.as_ptr()
    }

    /// Bytes that are mapped.
    pub(crate) fn len(&self) -> usize {
        self.bytes
    }

    fn lock(&self) -> io::Result<()> {
        // SAFETY: the range is our mapping; locking changes no content.
        match unsafe { libc::mlock(self.base.as_ptr().cast(), self.bytes) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        let (start, total) = self.mapping;
        // SAFETY: the mapping was made in `map_aligned`, and the last owner is going away.
        unsafe { libc::munmap(start, total) };
    }
}

/// One frame of a [`Pool`]: the right to read and write its bytes.
///
/// Its layout is that of the kernel's `struct iovec`.
#[derive(Debug)]
#[must_use = "a dropped frame is lost to its pool"]
#[repr(C)]
pub struct Frame<'p> {
    base: NonNull<u8>,
    size: usize,
    pool: PhantomData<&'p Pool>,
}

// SAFETY: a frame is the only way to its bytes, so moving it moves the access to them.
unsafe impl Send for Frame<'_> {}
// SAFETY: a shared frame gives shared, read-only access to its bytes.
unsafe impl Sync for Frame<'_> {}

impl Frame<'_> {
    pub(crate) const BASE_OFFSET: usize = std::mem::offset_of!(Frame<'_>, base);
    pub(crate) const SIZE_OFFSET: usize = std::mem::offset_of!(Frame<'_>, size);

    /// Bytes that the frame can hold.
    #[inline(always)]
    pub fn size(&self) -> usize {
        self.size
    }

    /// All bytes of the frame. They are initialised: with zeroes, or with what was last written.
    #[inline(always)]
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: `base` points to `size()` initialised bytes of a region that outlives `'p`; the frame
        // owns them, and a backend that lends them to the kernel keeps the frame.
        unsafe { std::slice::from_raw_parts(self.base.as_ptr(), self.size()) }
    }

    /// All bytes of the frame, to write to.
    #[inline]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`; `&mut self` makes the access exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.base.as_ptr(), self.size()) }
    }

    /// Prefetches the frame's first bytes: the kernel has evicted them from the nearest cache since it wrote
    /// them, and with a hint they are loaded while other packets are handled.
    #[inline(always)]
    pub(crate) fn prefetch(&self) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a hint reads nothing.
        unsafe {
            std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(self.base.as_ptr().cast());
        };
    }

    /// The frame's address, and its size in whole cache lines, as a packet stores them.
    #[inline(always)]
    pub(crate) fn into_parts(self) -> (NonNull<u8>, usize) {
        (self.base, self.size / LINE)
    }

    /// The frame from its parts.
    ///
    /// # Safety
    ///
    /// The parts must come from one call of [`Frame::into_parts`], and be used only once, within the
    /// lifetime of the frame.
    #[inline(always)]
    pub(crate) unsafe fn from_parts((base, lines): (NonNull<u8>, usize)) -> Self {
        Self { base, size: lines * LINE, pool: PhantomData }
    }

    /// The address that the kernel is given. The caller must keep the frame until the kernel is done.
    #[inline(always)]
    pub(crate) fn as_ptr(&self) -> *mut u8 {
        self.base.as_ptr()
    }
}

/// The free frames, last in, first out: the frame used last is the one still in cache.
#[derive(Debug)]
pub struct FreeList<'p> {
    /// Where each free frame begins: all frames of a pool have the same size.
    frames: Vec<NonNull<u8>>,
    size: usize,
    total: usize,
    start: usize,
    bytes: usize,
    pool: PhantomData<Frame<'p>>,
}

// SAFETY: a list owns its frames, and a frame may be sent.
unsafe impl Send for FreeList<'_> {}

impl<'p> FreeList<'p> {
    /// Takes the frame that was given back last, or `None` when all are in use.
    #[inline(always)]
    pub fn take(&mut self) -> Option<Frame<'p>> {
        let base = self.frames.pop()?;
        Some(Frame { base, size: self.size, pool: PhantomData })
    }

    /// Moves the frames that were given back last to the end of `slots`, as many as are free and fit.
    /// Returns how many.
    #[inline(always)]
    pub(crate) fn take_last(&mut self, slots: &mut [MaybeUninit<Frame<'p>>]) -> usize {
        let count = slots.len().min(self.frames.len());
        let vacant = slots.len() - count;
        let last = self.frames.drain(self.frames.len() - count..);
        for (slot, base) in slots[vacant..].iter_mut().zip(last) {
            slot.write(Frame { base, size: self.size, pool: PhantomData });
        }
        count
    }

    /// Gives a frame back.
    ///
    /// # Panics
    ///
    /// If the frame belongs to another pool: a backend relies on the memory of its own.
    #[inline(always)]
    pub fn give(&mut self, frame: Frame<'p>) {
        assert!((frame.base.as_ptr() as usize).wrapping_sub(self.start) < self.bytes, "a frame of another pool");
        let len = self.frames.len();
        // SAFETY: the list was made with room for all frames of its pool (`frames`, `split_off`), each frame
        // exists once, and this one is of that pool and not on the list: so there is room, and the
        // elements up to `len` are initialised.
        unsafe {
            self.frames.as_mut_ptr().add(len).write(frame.base);
            self.frames.set_len(len + 1);
        }
    }

    /// Whether the frames belong to this region.
    #[inline(always)]
    pub(crate) fn is_of(&self, region: &Region) -> bool {
        self.begins_at(region.as_ptr() as usize)
    }

    /// Whether the frames belong to the region that begins at this address.
    #[inline(always)]
    pub(crate) fn begins_at(&self, start: usize) -> bool {
        self.start == start
    }

    /// Number of free frames.
    #[inline(always)]
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// Whether no frame is free.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Number of frames that this list had when it was created, or after [`FreeList::split_off`].
    pub fn total(&self) -> usize {
        self.total
    }

    /// Whether every frame has been returned.
    pub fn is_whole(&self) -> bool {
        self.frames.len() == self.total
    }

    /// Moves `count` frames (at most those that are free) to a list of their own, for another thread.
    pub fn split_off(&mut self, count: usize) -> FreeList<'p> {
        let mut frames = Vec::with_capacity(self.frames.capacity());
        frames.extend(self.frames.drain(self.frames.len().saturating_sub(count)..));
        self.total -= frames.len();
        FreeList { total: frames.len(), frames, ..*self }
    }

    /// Takes back a list that was split off, with the frames that it still has.
    pub fn absorb(&mut self, mut other: FreeList<'p>) {
        assert_eq!(self.start, other.start, "a list of another pool");
        self.total += other.total;
        self.frames.append(&mut other.frames);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_do_not_overlap_and_keep_what_was_written() {
        let pool = Pool::new(37, 100).expect("a small pool");
        let mut free = pool.frames();
        let mut taken = Vec::new();
        while let Some(mut frame) = free.take() {
            let tag = taken.len() as u8;
            frame.bytes_mut().fill(tag);
            taken.push(frame);
        }
        assert_eq!(taken.len(), 37);
        for (tag, frame) in taken.iter().enumerate() {
            assert!(frame.bytes().iter().all(|&byte| byte == tag as u8));
            assert_eq!(frame.bytes().len(), 128);
        }
        taken.into_iter().for_each(|frame| free.give(frame));
        assert!(free.is_whole());
    }

    #[test]
    fn the_free_list_is_last_in_first_out() {
        let pool = Pool::new(4, 64).expect("a small pool");
        let mut free = pool.frames();
        let first = free.take().expect("four frames");
        let address = first.as_ptr();
        free.give(first);
        assert_eq!(free.take().map(|frame| frame.as_ptr()), Some(address));
    }

    #[test]
    fn splitting_and_absorbing_conserves_frames() {
        let pool = Pool::new(10, 64).expect("a small pool");
        let mut free = pool.frames();
        let part = free.split_off(4);
        assert_eq!((free.total(), part.total()), (6, 4));
        free.absorb(part);
        assert!(free.is_whole());
        assert_eq!(free.total(), 10);
    }

    #[test]
    #[should_panic(expected = "another pool")]
    fn a_frame_of_another_pool_is_refused() {
        let (one, two) = (Pool::new(1, 64).expect("a pool"), Pool::new(1, 64).expect("a pool"));
        let (mut free, mut other) = (one.frames(), two.frames());
        free.give(other.take().expect("one frame"));
    }

    #[test]
    #[should_panic(expected = "handed out once")]
    fn frames_are_handed_out_once() {
        let pool = Pool::new(1, 64).expect("a pool");
        let _first = pool.frames();
        let _second = pool.frames();
    }

    #[test]
    fn sizes_that_make_no_sense_are_refused() {
        assert!(Pool::new(0, 64).is_err());
        assert!(Pool::new(4, 0).is_err());
        assert!(Pool::new(usize::MAX / 64, 2048).is_err());
    }
}
